//! `corten up`, `down` and `destroy`.

use crate::cli::Place;
use crate::client::{self, Client};
use crate::cloud::{self, Passwords};
use crate::config::{self, Config};
use crate::ssh::WayIn;
use crate::{first_network, networks, process, ssh};
use anyhow::{Context as _, bail};
use corten::images::{self, ConsoleProgress, TinyOptions};
use corten_host::{Fence, Hands as _, QemuHost, Task};
use corten_model::ids::OperationId;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the tiny guest prints when it has reached userland.
const USERLAND: &str = "reached userland";

/// Stands in the data directory once the first instance was there, whatever became of it since.
const FINISHED: &str = "first-instance";

/// Where the instance is found that the first `up` makes.
const FIRST: &str = "/compute/v2.1/servers?name=^first$";

/// The steps of `up` and how long each took.
struct Report(Vec<(&'static str, Duration)>);

impl Report {
    async fn step<T>(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        say!("· {name}");
        let started = Instant::now();
        let outcome = work.await;
        self.0.push((name, started.elapsed()));
        outcome
    }

    fn print(&self) {
        say!("\nTime of each step:");
        for (name, span) in &self.0 {
            say!("  {:>8.2} s  {name}", span.as_secs_f64());
        }
    }
}

/// Starts the cloud and boots a first instance. Where there was one already, whatever became of it, none is made again.
pub async fn up(place: &Place, bare: bool) -> anyhow::Result<()> {
    let config = config::load(place)?;
    let finished = config.data.join(FINISHED);
    let first_is_due = !bare && !finished.exists();
    let running = process::running(&config.data);
    let mut report = Report(Vec::new());
    match running {
        Some(pid) => say!(
            "The cloud is running already (pid {}); {}.",
            pid.as_raw_nonzero(),
            if first_is_due {
                "going on with its first instance"
            } else {
                "nothing was changed"
            }
        ),
        None => {
            cloud::private_dir(&config.data)?;
            let starting = start(&config, place.config.as_deref());
            report.step("Starting the control plane", starting).await?;
        }
    }
    if first_is_due {
        let first = first_instance(&config, &mut report).await;
        first.with_context(|| {
            format!(
                "the control plane runs, but the instance 'first' is not finished: mend what is said here and run \
                 `{} up` again",
                process::called()
            )
        })?;
        std::fs::write(&finished, "").context("cannot note that the first instance is there")?;
    } else if !bare && let Err(error) = tell_first(&config).await {
        // An administrator may have removed it, or changed the password.
        say!("There is nothing to tell of the instance 'first': {error:#}.");
    }
    if running.is_none() || first_is_due {
        report.print();
    }
    hints(&config);
    Ok(())
}

async fn start(config: &Config, settings: Option<&Path>) -> anyhow::Result<()> {
    process::start(config, settings)?;
    let patience = Instant::now() + Duration::from_secs(60);
    while !client::is_healthy(&config.public_url()).await {
        if process::running(&config.data).is_none() || Instant::now() > patience {
            let log = std::fs::read_to_string(config.data.join("corten.log")).unwrap_or_default();
            let end: Vec<_> = log.lines().rev().take(12).collect();
            let end = end.into_iter().rev().collect::<Vec<_>>().join("\n  ");
            bail!("the control plane did not start; the end of its log:\n  {end}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn first_instance(config: &Config, report: &mut Report) -> anyhow::Result<()> {
    let passwords = Passwords::load_or_make(&config.data)?;
    let base = config.public_url();
    let image = config.data.join("cache/tiny.qcow2");
    if !image.exists() {
        report
            .step(
                "Building the guest image 'tiny'",
                build_tiny(config, &image),
            )
            .await?;
    }
    let admin = Client::log_in(&base, "admin", &passwords.admin, "admin").await?;
    if find(&admin, "/image/v2/images?name=tiny", "images")
        .await?
        .is_none()
    {
        report.step("Uploading it", upload(&admin, &image)).await?;
    }
    let demo = Client::log_in(&base, "demo", &passwords.demo, "demo").await?;
    report
        .step("Making the key pair 'demo'", make_key(&demo, config))
        .await?;
    let network = if networks::possible(config) {
        let made = first_network::ensure(&admin, &demo, &config.settings.network);
        Some(
            report
                .step("Making the networks 'public' and 'demo'", made)
                .await?,
        )
    } else {
        None
    };
    let id = match find(&demo, FIRST, "servers").await? {
        Some(server) => {
            say!("  The instance 'first' is there already.");
            let id = id_of(&server)?;
            until_active(&demo, &id).await?;
            id
        }
        None => {
            let created = create(&demo, network.as_deref());
            report
                .step("Creating the instance 'first'", created)
                .await?
        }
    };
    let log = report
        .step(
            "Waiting for its guest to reach userland",
            userland(&demo, &id),
        )
        .await?;
    say!("\nThe end of its console log:");
    let lines: Vec<_> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(12)..] {
        say!("  │ {line}");
    }
    if network.is_some() {
        let published = first_network::publish(&admin, &id);
        let address = report.step("Giving it a public IP", published).await?;
        let way = WayIn::new(id.clone(), address);
        report
            .step("Logging in by SSH", log_in(config, &way))
            .await?;
    }
    say!("\nInstance 'first' of project 'demo': {id}");
    tell_public_ip(&demo).await
}

/// What is known of the first instance of a cloud that runs.
async fn tell_first(config: &Config) -> anyhow::Result<()> {
    let passwords = Passwords::load_or_make(&config.data)?;
    let demo = Client::log_in(&config.public_url(), "demo", &passwords.demo, "demo").await?;
    let first = find(&demo, FIRST, "servers").await?;
    let id = id_of(&first.context("it is not there")?)?;
    say!("\nInstance 'first' of project 'demo': {id}");
    tell_public_ip(&demo).await
}

/// How to log in to the first instance, if it has a public IP.
async fn tell_public_ip(demo: &Client) -> anyhow::Result<()> {
    if let Ok(way) = ssh::way_in(demo, "first").await? {
        let corten = process::called();
        say!(
            "Its public IP is {}; log in with: {corten} ssh demo/first",
            way.address()
        );
    }
    Ok(())
}

async fn build_tiny(config: &Config, image: &Path) -> anyhow::Result<()> {
    let cache = config.data.join("cache/packages");
    let partial = image.with_file_name("tiny.partial.qcow2");
    std::fs::create_dir_all(&cache).context("cannot make the package cache")?;
    images::build_tiny(
        &TinyOptions {
            output: partial.clone(),
            cache,
        },
        &ConsoleProgress::new(),
    )
    .await?;
    std::fs::rename(&partial, image).context("cannot keep the image")?;
    Ok(())
}

async fn find(client: &Client, path: &str, list: &str) -> anyhow::Result<Option<Value>> {
    Ok(client.get(path).await?[list]
        .as_array()
        .and_then(|found| found.first())
        .cloned())
}

fn id_of(value: &Value) -> anyhow::Result<String> {
    Ok(value["id"]
        .as_str()
        .context("the answer has no id")?
        .to_owned())
}

async fn upload(admin: &Client, image: &Path) -> anyhow::Result<()> {
    let body = json!({
        "name": "tiny", "disk_format": "qcow2", "container_format": "bare", "visibility": "public",
        "min_ram": 96, "os_distro": "busybox",
    });
    let created = admin.post("/image/v2/images", body).await?;
    admin.upload(&id_of(&created)?, image).await
}

/// The key pair 'demo', whose private half is a file here before anything is told of it.
async fn make_key(demo: &Client, config: &Config) -> anyhow::Result<()> {
    let path = cloud::key_path(config);
    let is_known = find_key(demo).await?;
    if !path.exists() {
        if is_known {
            bail!(
                "there is a key pair 'demo', but not its private key {}: put it back, or delete the key pair with \
                 `openstack --os-cloud demo keypair delete demo`",
                path.display()
            );
        }
        keygen(
            &["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f"],
            &path,
        )
        .await?;
    }
    if is_known {
        return Ok(());
    }
    let public = keygen(&["-y", "-f"], &path).await?;
    let pair = json!({"keypair": {"name": "demo", "public_key": public.trim()}});
    demo.post("/compute/v2.1/os-keypairs", pair).await?;
    Ok(())
}

async fn keygen(arguments: &[&str], key: &Path) -> anyhow::Result<String> {
    let output = tokio::process::Command::new("ssh-keygen")
        .args(arguments)
        .arg(key)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .context("cannot run ssh-keygen: install the Debian package openssh-client")?;
    if !output.status.success() {
        bail!(
            "ssh-keygen does not take {}: {}",
            key.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

async fn find_key(demo: &Client) -> anyhow::Result<bool> {
    let pairs = demo.get("/compute/v2.1/os-keypairs").await?;
    Ok(pairs["keypairs"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|pair| pair["keypair"]["name"] == "demo"))
}

/// Waits until the guest's SSH server lets us in with the key.
async fn log_in(config: &Config, way: &WayIn) -> anyhow::Result<()> {
    let patience = Instant::now() + Duration::from_secs(60);
    let words = ["true".to_owned()];
    loop {
        let mut command = tokio::process::Command::from(ssh::ssh(config, way, &words));
        let output = command
            .output()
            .await
            .context("cannot run ssh: install the Debian package openssh-client")?;
        if output.status.success() {
            return Ok(());
        }
        if Instant::now() > patience {
            bail!(
                "cannot log in at {}: {}",
                way.address(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

const NO_FLAVOR: &str = "there is no flavor 'm1.tiny': make it with `openstack --os-cloud corten flavor create --vcpus 1 \
                         --ram 128 --disk 1 m1.tiny`";

async fn create(demo: &Client, network: Option<&str>) -> anyhow::Result<String> {
    let image = find(demo, "/image/v2/images?name=tiny", "images")
        .await?
        .context("there is no image 'tiny'")?;
    let flavors = demo.get("/compute/v2.1/flavors").await?;
    let flavor = flavors["flavors"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|flavor| flavor["name"] == "m1.tiny");
    let body = json!({"server": {
        "name": "first",
        "imageRef": id_of(&image)?,
        "flavorRef": id_of(flavor.context(NO_FLAVOR)?)?,
        "key_name": "demo",
        "config_drive": true,
        "networks": network.map_or(json!("none"), |id| json!([{"uuid": id}])),
    }});
    let created = demo.post("/compute/v2.1/servers", body).await?;
    let id = id_of(&created["server"])?;
    until_active(demo, &id).await?;
    Ok(id)
}

async fn until_active(demo: &Client, id: &str) -> anyhow::Result<()> {
    loop {
        let server = demo.get(&format!("/compute/v2.1/servers/{id}")).await?;
        match server["server"]["status"].as_str() {
            Some("BUILD") => tokio::time::sleep(Duration::from_millis(20)).await,
            Some("ACTIVE") => return Ok(()),
            status => bail!(
                "the instance 'first' is {}: {}; delete it with `openstack --os-cloud demo server delete first`",
                status.unwrap_or("in no state"),
                server["server"]["fault"]["message"]
                    .as_str()
                    .unwrap_or("it was changed by somebody")
            ),
        }
    }
}

/// Waits until the guest says on its console that it is up.
async fn userland(demo: &Client, id: &str) -> anyhow::Result<String> {
    let patience = Instant::now() + Duration::from_secs(180);
    loop {
        let body = json!({"os-getConsoleOutput": {}});
        let path = format!("/compute/v2.1/servers/{id}/action");
        let answer = match demo.post(&path, body).await {
            Ok(answer) => answer,
            // Right after a start its host is not connected yet.
            Err(_) if Instant::now() < patience => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let log = answer["output"].as_str().unwrap_or_default();
        if log.contains(USERLAND) {
            return Ok(log.to_owned());
        }
        if Instant::now() > patience {
            bail!(
                "the guest did not reach userland within 3 minutes; the end of its console log:\n{log}"
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn hints(config: &Config) {
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    let data = data.display();
    let corten = process::called();
    say!(
        "\nThe cloud answers at {}.\n\nNext, with the stock client (`source scripts/client` in the source tree, or python-openstackclient from PyPI):\n  \
         export OS_CLIENT_CONFIG_FILE={data}/clouds.yaml\n  \
         openstack --os-cloud demo server list\n  \
         openstack --os-cloud demo console log show first\n  \
         openstack --os-cloud demo server create --image tiny --flavor m1.tiny --network demo --key-name demo --wait second\n  \
         openstack --os-cloud corten hypervisor list\n\n\
         `{corten} down` stops the control plane and leaves guests running; `{corten} destroy` removes everything.",
        config.public_url()
    );
}

/// Stops the control plane and leaves guests running.
pub async fn down(place: &Place) -> anyhow::Result<()> {
    let config = config::load(place)?;
    if process::stop(&config.data).await? {
        let corten = process::called();
        say!("The control plane is stopped. Guests go on running; `{corten} up` adopts them.");
    } else {
        say!("The control plane does not run; nothing was changed.");
    }
    Ok(())
}

/// Stops everything and removes all data.
pub async fn destroy(place: &Place, yes: bool) -> anyhow::Result<()> {
    let config = config::load(place)?;
    if !config.data.exists() {
        say!("There is nothing at {}.", config.data.display());
        return Ok(());
    }
    if !yes && !confirmed(&config)? {
        bail!("nothing was removed: 'destroy' was not typed, and --yes was not given");
    }
    process::stop(&config.data).await?;
    remove_guests(&config)
        .await
        .context("cannot remove the guests")?;
    networks::destroy(&config)
        .await
        .context("cannot remove the networks")?;
    std::fs::remove_dir_all(&config.data)
        .with_context(|| format!("cannot remove {}", config.data.display()))?;
    say!("The cloud at {} is gone.", config.data.display());
    Ok(())
}

/// Ends every guest of this machine's host.
async fn remove_guests(config: &Config) -> anyhow::Result<()> {
    let host = QemuHost::open(config.host_config()?, None).await?;
    for guest in host.observe_all().await? {
        let fence = Fence {
            operation: OperationId::random(),
            epoch: i64::MAX,
        };
        host.perform(fence, Task::DeleteGuest { id: guest.id })
            .await?;
    }
    Ok(())
}

fn confirmed(config: &Config) -> anyhow::Result<bool> {
    print!(
        "This ends all guests and removes every instance, image and user of the cloud at {}.\nType 'destroy' to go on: ",
        config.data.display()
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "destroy")
}
