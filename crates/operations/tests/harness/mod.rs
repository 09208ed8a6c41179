//! The fault harness: runs an operation once undisturbed, then again and again with one disturbance at each point of
//! each step, and holds the ends against each other. Nothing may leak: no row, allocation, guest, disk, process, port, address or tap.

#![allow(dead_code)]

pub mod metal;
pub mod network;
pub mod ramdisks;

use corten_engine::{Clock, Fault, Faults, ManualClock, Place, Point, Worker, WorkerConfig};
use corten_host::Hands;
use corten_iam::actor::{Actor, Scope};
use corten_iam::policy::Policy;
use corten_model::ids::{
    DomainId, FlavorId, HostId, ImageId, InstanceId, ProjectId, RequestId, UserId,
};
use corten_model::lifecycle::{Command, InstanceClass, find, image::ImageStatus};
use corten_model::time::Timestamp;
use corten_operations::context::Hosts;
use corten_operations::instance::public_ip::{self, Wanted};
use corten_operations::instance::{command, new, query};
use corten_operations::metal::{Metal, Simulator};
use corten_operations::{Context, Settings, flavor, host, placement, watch, workflows};
use corten_sim::{SimConfig, SimFabric, SimHost, SimMachines};
use corten_store::hosts::Allocation;
use corten_store::images::{Content, Image, Visibility};
use corten_store::instances::{self, Instance};
use corten_store::operations::{self, Filter, Operation};
use corten_store::testing::{self, TestStore};
use corten_store::{Query, record, transitions};
use ramdisks::Ramdisks;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| Arc::new(Policy::shipped().unwrap()));

/// One moment in an operation: its kind, its step and the point in the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub kind: String,
    pub step: String,
    pub point: Point,
}

impl Moment {
    /// What can befall the worker here.
    pub fn ways(&self) -> &'static [Disturbance] {
        use Disturbance::{Delay, Failure, Kill, Trouble};
        match self.point {
            Point::BeforeStep => &[Kill, Trouble, Delay, Failure],
            // Inside a commit SQLite's only writer is taken: nobody else could take over.
            Point::BeforeCommit => &[Kill, Trouble, Failure],
            Point::AfterCommit => &[Kill],
        }
    }
}

/// What is done to the worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disturbance {
    /// The worker is gone; its lease runs out.
    Kill,
    /// Trouble that passes.
    Trouble,
    /// The worker is held so long that another takes over and finishes; then it goes on.
    Delay,
    /// Trouble that does not pass.
    Failure,
}

/// Notes every moment of an operation, and disturbs one.
#[derive(Default)]
pub struct Saboteur {
    pub seen: Mutex<Vec<Moment>>,
    plan: Mutex<Option<(usize, Disturbance)>>,
    rescuer: Mutex<Option<Rescuer>>,
}

/// A worker that takes over from one that is held.
struct Rescuer {
    worker: Worker,
    clock: Arc<ManualClock>,
    ramdisks: Arc<Ramdisks>,
}

impl Faults for Saboteur {
    fn at<'a>(
        &'a self,
        operation: &'a Operation,
        point: Point,
    ) -> Pin<Box<dyn Future<Output = Fault> + Send + 'a>> {
        Box::pin(async move {
            let index = {
                let mut seen = self.seen.lock().unwrap();
                seen.push(Moment {
                    kind: operation.kind.clone(),
                    step: operation.step.clone(),
                    point,
                });
                seen.len() - 1
            };
            let due = {
                let mut plan = self.plan.lock().unwrap();
                if plan.as_ref().is_some_and(|(at, _)| *at == index) {
                    plan.take().map(|(_, what)| what)
                } else {
                    None
                }
            };
            match due {
                None => Fault::None,
                Some(Disturbance::Kill) => Fault::Kill,
                Some(Disturbance::Trouble) => Fault::Retry("the harness makes trouble".to_owned()),
                Some(Disturbance::Failure) => Fault::Fail("the harness breaks it".to_owned()),
                Some(Disturbance::Delay) => {
                    let rescuer = self.rescuer.lock().unwrap().take();
                    if let Some(Rescuer {
                        worker,
                        clock,
                        ramdisks,
                    }) = rescuer
                    {
                        clock.advance(Duration::from_secs(10));
                        drain(&worker, &clock, &ramdisks).await;
                    }
                    Fault::None
                }
            }
        })
    }
}

/// Runs everything that is runnable, moving the clock over pauses and leases.
async fn drain(worker: &Worker, clock: &ManualClock, ramdisks: &Ramdisks) {
    for _ in 0..300 {
        // A worker inside another's commit cannot write on SQLite; it is not inside one at any point but before a
        // commit, where the harness does not hold it.
        Box::pin(worker.run_once()).await.unwrap();
        if ramdisks.call().await {
            continue;
        }
        match worker.next_due().await.unwrap() {
            Some(due) => clock.advance_to(due),
            None => return,
        }
    }
    panic!("the operations do not come to an end");
}

/// A cloud of two simulated hosts.
pub struct Cloud {
    pub store: TestStore,
    pub cx: Arc<Context>,
    pub clock: Arc<ManualClock>,
    pub hosts: Vec<(HostId, Arc<SimHost>)>,
    pub fabric: Arc<SimFabric>,
    pub machines: Arc<SimMachines>,
    /// What calls home from simulated servers that are booted for it.
    pub ramdisks: Arc<Ramdisks>,
    pub saboteur: Arc<Saboteur>,
    worker: Worker,
    _images: tempfile::TempDir,
}

pub const IMAGE_SHA512: &str = "5d0d";

impl Cloud {
    pub async fn open() -> Self {
        let mut settings = Settings::default();
        // Images are fetched from the test itself.
        settings.images.web_download_hosts = vec!["127.0.0.1".to_owned()];
        Self::with(settings).await
    }

    pub async fn with(settings: Settings) -> Self {
        Self::of(settings, |machines| {
            Arc::new(move |id| machines.machine(&id.to_string()))
        })
        .await
    }

    /// Whose simulated servers are reached in this way.
    pub async fn of(
        mut settings: Settings,
        reach: impl FnOnce(Arc<SimMachines>) -> Simulator,
    ) -> Self {
        // The harness runs one operation after the other: who waited for the fabric would keep it from being told.
        settings.network.patience_millis = 0;
        let store = testing::sqlite().await;
        let clock = Arc::new(ManualClock::starting_at(
            Timestamp::parse_iso8601("2026-01-01T00:00:00Z").unwrap(),
        ));
        let images = tempfile::tempdir().unwrap();
        let fabric = Arc::new(SimFabric::default());
        let machines = Arc::new(SimMachines::default());
        let simulator = reach(machines.clone());
        let cx = Arc::new(Context {
            store: (*store).clone(),
            policy: POLICY.clone(),
            settings,
            clock: clock.clone(),
            hosts: Hosts::default(),
            fabric: fabric.clone(),
            image_dir: images.path().to_owned(),
            metal: Metal::forgetful(Some(simulator)).unwrap(),
        });
        flavor::seed(&cx).await.unwrap();
        let mut hosts = Vec::new();
        let mut places = vec![Place::Control.to_string()];
        for name in ["sim-1", "sim-2"] {
            let id = HostId::random();
            let sim = Arc::new(SimHost::new(SimConfig::named(name)));
            let capacity = sim.capacity().await.unwrap();
            let registered =
                host::register_capacity(&cx, id, Ipv4Addr::LOCALHOST.into(), &capacity)
                    .await
                    .unwrap();
            host::heartbeat(&cx, &[registered.service_id])
                .await
                .unwrap();
            cx.hosts.add(id, sim.clone());
            places.push(Place::Host(id.to_string()).to_string());
            hosts.push((id, sim));
        }
        let saboteur = Arc::new(Saboteur::default());
        let worker = |name: &str, faults: Arc<dyn Faults>| {
            let registry = Arc::new(workflows::registry(&cx));
            let config = WorkerConfig::new(name, places.clone());
            Worker::new(
                cx.store.clone(),
                registry,
                clock.clone() as Arc<dyn Clock>,
                faults,
                config,
            )
        };
        let rescuer = worker("rescuer", Arc::new(corten_engine::NoFaults));
        let ramdisks = Arc::new(Ramdisks {
            cx: cx.clone(),
            machines: machines.clone(),
            dead: Mutex::default(),
        });
        *saboteur.rescuer.lock().unwrap() = Some(Rescuer {
            worker: rescuer,
            clock: clock.clone(),
            ramdisks: ramdisks.clone(),
        });
        let worker = worker("worker", saboteur.clone());
        let cloud = Self {
            store,
            cx,
            clock,
            hosts,
            fabric,
            machines,
            ramdisks,
            saboteur,
            worker,
            _images: images,
        };
        cloud.add_image().await;
        network::make(&cloud).await;
        cloud
    }

    async fn add_image(&self) {
        let now = self.cx.now();
        let image = Image {
            id: image_id(),
            name: Some("tiny".to_owned()),
            status: ImageStatus::Active,
            visibility: Visibility::Public,
            owner: None,
            protected: false,
            hidden: false,
            disk_format: Some("qcow2".to_owned()),
            container_format: Some("bare".to_owned()),
            content: Some(Content {
                size_bytes: 1,
                virtual_size_bytes: Some(1),
                md5: "00".to_owned(),
                sha512: IMAGE_SHA512.repeat(32),
            }),
            min_disk_gib: 0,
            min_ram_mib: 0,
            tags: BTreeSet::new(),
            properties: BTreeMap::new(),
            incoming: None,
            staged: None,
            import: None,
            created_at: now,
            updated_at: now,
            status_since: now,
        };
        let mut tx = self.store.write().await.unwrap();
        record::insert(&mut tx, &image).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Accepts a create.
    pub async fn create(&self) -> InstanceId {
        self.create_with(&member(), None).await
    }

    /// Accepts a create by this actor, with this public IP.
    pub async fn create_with(&self, actor: &Actor, public_ip: Option<Wanted>) -> InstanceId {
        let request = new::NewInstances {
            name: "guest".to_owned(),
            flavor_id: Some(FlavorId::from("1")),
            image_id: Some(image_id()),
            networks: network::two_cards(&self.cx).await,
            public_ip,
            min_count: 1,
            max_count: 1,
            ..new::NewInstances::default()
        };
        new::create(&self.cx, actor, request)
            .await
            .unwrap()
            .instances[0]
            .id
    }

    /// An instance that is up, made without disturbance.
    pub async fn running(&self) -> InstanceId {
        let id = self.create().await;
        self.drain().await;
        id
    }

    pub async fn simple(&self, id: InstanceId, command: Command) {
        command::simple(&self.cx, &member(), id, command)
            .await
            .unwrap();
    }

    /// Runs what is runnable now, without moving the clock: a killed worker's operation stays where it is.
    pub async fn run_until_killed(&self) {
        while self.worker.run_once().await.unwrap() > 0 {}
    }

    /// Runs everything to its end, then lets the watch look at the hosts, as it does once a minute.
    /// Runs one thing after the other until this holds.
    pub async fn step_until(&self, holds: impl AsyncFn() -> bool) {
        for _ in 0..100 {
            if holds().await {
                return;
            }
            Box::pin(self.worker.run_once()).await.unwrap();
        }
        panic!("it never comes to that");
    }

    pub async fn drain(&self) {
        drain(&self.worker, &self.clock, &self.ramdisks).await;
        if network::tell_again(self).await {
            drain(&self.worker, &self.clock, &self.ramdisks).await;
        }
        for (id, sim) in &self.hosts {
            watch::look_at_all(&self.cx, *id, sim.as_ref()).await;
        }
    }

    pub fn plan(&self, at: usize, what: Disturbance) {
        self.saboteur.seen.lock().unwrap().clear();
        *self.saboteur.plan.lock().unwrap() = Some((at, what));
    }

    pub fn forget_moments(&self) {
        self.saboteur.seen.lock().unwrap().clear();
    }

    pub fn moments(&self) -> Vec<Moment> {
        self.saboteur.seen.lock().unwrap().clone()
    }

    pub async fn instance(&self, id: InstanceId) -> Instance {
        let mut tx = self.store.read().await.unwrap();
        record::get::<Instance>(&mut tx, id).await.unwrap().unwrap()
    }

    /// What a user and an operator would see, apart from times and ids.
    pub async fn end(&self, id: InstanceId) -> End {
        let instance = self.instance(id).await;
        let host = self
            .hosts
            .iter()
            .find(|(host, _)| Some(*host) == instance.host_id);
        let seen = match host {
            Some((_, sim)) => sim.observe(id).await.unwrap(),
            None => None,
        };
        End {
            state: instance.display(),
            power: instance.state.power.code(),
            on_a_host: instance.host_id.is_some() && !instance.deleted,
            guest: seen.map(|seen| format!("{:?}, rescued {}", seen.power, seen.rescued)),
            fault: instance.fault.is_some(),
            flavor: instance.intent.flavor.name.clone(),
            cards: network::cards(self, &instance).await,
            described_cards: host.map_or(0, |(_, sim)| described_cards(sim, id)),
            ephemeral_ips: self.ephemeral_ips(instance).await,
        }
    }

    /// Whether each public IP of an instance is ephemeral.
    async fn ephemeral_ips(&self, instance: Instance) -> Vec<bool> {
        let leading = public_ip::of(&self.cx, &[instance]).await.unwrap();
        let leading = leading.into_values().flatten();
        leading.map(|floating| floating.ephemeral).collect()
    }

    /// Nothing is left over, and nothing is missing.
    pub async fn assert_nothing_leaked(&self, context: &str) {
        let mut tx = self.store.read().await.unwrap();
        let running = operations::list(
            &mut tx,
            Filter {
                running: true,
                ..Filter::default()
            },
        )
        .await
        .unwrap();
        assert_eq!(running, [], "{context}: an operation is left");
        let all: Vec<Instance> = Query::new().all(&mut tx).await.unwrap();
        let allocations: Vec<Allocation> = Query::new().all(&mut tx).await.unwrap();
        let held: BTreeSet<_> = allocations
            .iter()
            .map(|row| (row.instance_id, row.host_id))
            .collect();
        let wanted: BTreeSet<_> = all
            .iter()
            .filter(|instance| !instance.deleted)
            .filter_map(|instance| Some((instance.id, instance.host_id?)))
            .collect();
        assert_eq!(held, wanted, "{context}: allocations and instances differ");
        for (host, sim) in &self.hosts {
            let guests: BTreeSet<_> = sim.leaks().guests.into_iter().collect();
            let wanted: BTreeSet<_> = wanted
                .iter()
                .filter(|(_, on)| on == host)
                .map(|(id, _)| *id)
                .collect();
            assert_eq!(
                guests,
                wanted,
                "{context}: guests on {} differ",
                sim.hostname()
            );
        }
        self.assert_no_image_leaked(&mut tx, &all, context).await;
        network::assert_nothing_leaked(self, &mut tx, &all, context).await;
        for instance in &all {
            assert_eq!(
                instance.state.task, None,
                "{context}: the instance is stuck"
            );
            let held = allocations
                .iter()
                .find(|row| row.instance_id == instance.id);
            if let (Some(held), None) = (held, &instance.resize) {
                let flavor = placement::resources(&instance.intent.flavor);
                assert_eq!(held.resources, flavor, "{context}: it holds another amount");
            }
            self.assert_lawful(&mut tx, instance, context).await;
        }
    }

    /// No image waits for bytes that never come, none holds the disk of nobody, and no file belongs to none.
    async fn assert_no_image_leaked(
        &self,
        tx: &mut corten_store::Tx,
        all: &[Instance],
        context: &str,
    ) {
        let images: Vec<Image> = Query::new().all(tx).await.unwrap();
        let living = all.iter().filter(|instance| !instance.deleted);
        let shelved: BTreeSet<_> = living
            .filter_map(|instance| instance.shelved_image_id)
            .collect();
        for image in &images {
            let name = image.name.clone().unwrap_or_default();
            assert_eq!(image.status, ImageStatus::Active, "{context}: image {name}");
            let wanted = !name.ends_with("-shelved") || shelved.contains(&image.id);
            assert!(wanted, "{context}: image {name} is left");
        }
        let rows: BTreeSet<_> = images.iter().map(|image| image.id.to_string()).collect();
        for entry in std::fs::read_dir(&self.cx.image_dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(rows.contains(&name), "{context}: file {name} is left");
        }
    }

    /// Every transition in the log is one that the life cycle's table allows, and each starts where the last ended.
    async fn assert_lawful(&self, tx: &mut corten_store::Tx, instance: &Instance, context: &str) {
        let log = transitions::of_subject(tx, instances::SUBJECT, &instance.id.to_string())
            .await
            .unwrap();
        let mut state: Option<String> = None;
        for transition in log {
            assert_eq!(transition.from, state, "{context}: the log has a gap");
            if let Some(from) = &transition.from {
                let (from, to) = (from.parse().unwrap(), transition.to.parse().unwrap());
                let row = find(InstanceClass::Vm, from).unwrap();
                assert!(row.may_become(to), "{context}: {from} must not become {to}");
            }
            state = Some(transition.to);
        }
    }
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub state: &'static str,
    pub power: u8,
    pub on_a_host: bool,
    pub guest: Option<String>,
    pub fault: bool,
    pub flavor: String,
    pub cards: Vec<network::CardEnd>,
    /// How many its config drive tells of.
    pub described_cards: usize,
    pub ephemeral_ips: Vec<bool>,
}

fn described_cards(sim: &SimHost, id: InstanceId) -> usize {
    let Some(document) = sim.network_data(id) else {
        return 0;
    };
    let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
    document["links"].as_array().unwrap().len()
}

pub fn image_id() -> ImageId {
    "11111111-1111-4111-8111-111111111111".parse().unwrap()
}

/// A member of the project `p`.
pub fn member() -> Actor {
    Actor {
        user_id: UserId::from("u"),
        user_domain_id: DomainId::from("default"),
        scope: Scope::Project {
            id: ProjectId::from("p"),
            domain_id: DomainId::from("default"),
        },
        roles: ["member", "reader"].map(str::to_owned).into(),
        expires_at: Timestamp(i64::MAX),
        request_id: RequestId::random(),
    }
}

/// Runs `prepare` undisturbed and `ask` disturbed at every moment in every way. The end must be that of the
/// undisturbed run; with trouble that does not pass it may be another, but nothing may be stuck or leak.
pub async fn survive_everything<P, A>(prepare: P, ask: A)
where
    P: AsyncFn(&Cloud) -> InstanceId,
    A: AsyncFn(&Cloud, InstanceId),
{
    let cloud = Cloud::open().await;
    let id = prepare(&cloud).await;
    cloud.forget_moments();
    ask(&cloud, id).await;
    cloud.drain().await;
    cloud.assert_nothing_leaked("undisturbed").await;
    let wanted = cloud.end(id).await;
    assert!(
        !wanted.fault,
        "undisturbed: {:?}",
        cloud.instance(id).await.fault
    );
    let moments = cloud.moments();
    assert!(moments.len() >= 3, "the harness saw no step");
    for (index, moment) in moments.iter().enumerate() {
        for way in moment.ways() {
            let context = format!("{way:?} at {moment:?}");
            let cloud = Cloud::open().await;
            let id = prepare(&cloud).await;
            cloud.plan(index, way.clone());
            ask(&cloud, id).await;
            cloud.drain().await;
            cloud.assert_nothing_leaked(&context).await;
            if *way != Disturbance::Failure {
                assert_eq!(cloud.end(id).await, wanted, "{context}");
            }
        }
    }
}

/// The instance as its owner sees it through the rules, not the row.
pub async fn visible(cloud: &Cloud, id: InstanceId) -> bool {
    query::show(&cloud.cx, &member(), id).await.is_ok()
}
