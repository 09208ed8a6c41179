//! A host and a control plane over a real connection: who is let in, and what passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use corten_agent::{
    Admitted, AgentError, Arrival, Authority, Dialer, Door, FarHost, Holds, Identity, Invitation,
    JoinRequest, Near, Peer, join,
};
use corten_host::{
    ConsoleKind, ConsoleSockets, Diagnostics, DiskFormat, Fence, Firmware, GuestChange, GuestEvent,
    GuestSpec, Hands, HostCapacity, HostError, ImageRef, Observation, Report, Task,
};
use corten_model::ids::{HostId, ImageId, InstanceId, OperationId};
use corten_network::chassis::HostSide;
use corten_sim::{SimConfig, SimHost};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(30);

/// A control plane that admits whoever knows the secret.
struct Site {
    dir: TempDir,
    invitation: Invitation,
    arrivals: mpsc::Receiver<Arrival>,
}

impl Site {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Arc::new(Authority::open(&dir.path().join("authority")).unwrap());
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let listen = SocketAddr::from(([127, 0, 0, 1], port));
        let invitation = Invitation::new(listen.to_string(), authority.fingerprint().unwrap());
        let door = Door::open(listen, &authority).await.unwrap();
        let secret = invitation.secret.clone();
        let admit = async move |Json(request): Json<JoinRequest>| {
            if request.secret != secret {
                return Err(axum::http::StatusCode::FORBIDDEN);
            }
            let (certificate, _) = authority.admit(&request.request, "host-1").unwrap();
            Ok(Json(Admitted {
                host_id: HostId::random(),
                name: "host-1".to_owned(),
                certificate,
                authority: authority.certificate().to_owned(),
                southbound_port: None,
            }))
        };
        let who = async |Extension(peer): Extension<Peer>| {
            peer.certificate
                .map(|print| print.as_str().to_owned())
                .unwrap_or_default()
        };
        let routes = Router::new()
            .route("/join", post(admit))
            .route("/who", get(who));
        let (arrive, arrivals) = mpsc::channel(8);
        tokio::spawn(door.serve(routes, arrive));
        Self {
            dir,
            invitation,
            arrivals,
        }
    }

    fn identity(&self) -> Identity {
        Identity::new(self.dir.path().join("agent"))
    }

    async fn joined(&self) -> Dialer {
        join(&self.invitation, &self.identity()).await.unwrap();
        Dialer::new(self.invitation.address.clone(), self.identity())
    }

    async fn arrival(&mut self) -> Arrival {
        tokio::time::timeout(LIMIT, self.arrivals.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

#[derive(Default)]
struct Held(Mutex<Vec<HostSide>>);

#[async_trait::async_trait]
impl Holds for Held {
    async fn hold(&self, side: HostSide) -> Result<(), HostError> {
        self.0.lock().unwrap().push(side);
        Ok(())
    }
}

/// A host at the far end, and what it is made of.
struct Pair {
    far: FarHost,
    sim: Arc<SimHost>,
    held: Arc<Held>,
    answering: JoinHandle<()>,
}

async fn connect(site: &mut Site) -> Pair {
    let sim = Arc::new(SimHost::new(SimConfig::named("host-1".to_owned())));
    connect_to(site, sim.clone(), sim).await
}

async fn connect_to(site: &mut Site, hands: Arc<dyn Hands>, sim: Arc<SimHost>) -> Pair {
    let dialer = site.joined().await;
    let held = Arc::new(Held::default());
    let spool = site.dir.path().join("spool");
    let near = Near::new(hands, Some(held.clone()), spool).await.unwrap();
    let answering = tokio::spawn(async move {
        // How it ends is the other end's business.
        let _ = near.answer(dialer.dial().await.unwrap()).await;
    });
    Pair {
        far: site.arrival().await.host,
        sim,
        held,
        answering,
    }
}

fn fence() -> Fence {
    Fence {
        operation: OperationId::random(),
        epoch: 1,
    }
}

fn guest(image: &ImageRef) -> GuestSpec {
    GuestSpec {
        id: InstanceId::random(),
        name: "guest".to_owned(),
        vcpus: 1,
        memory_mib: 64,
        root_gib: 1,
        ephemeral_gib: 0,
        swap_mib: 0,
        image: Some(image.clone()),
        firmware: Firmware::Bios,
        nics: Vec::new(),
        disks: Vec::new(),
        config_drive: None,
        machine_properties: BTreeMap::new(),
    }
}

#[tokio::test]
async fn hands_work_the_same_over_a_connection() {
    let mut site = Site::open().await;
    let Pair { far, sim, held, .. } = connect(&mut site).await;
    assert_eq!(far.capacity().await.unwrap(), sim.capacity().await.unwrap());
    let mut events = far.subscribe();

    let path = site.dir.path().join("image");
    std::fs::write(&path, vec![7; 3 << 20]).unwrap();
    let image = ImageRef {
        id: ImageId::random(),
        sha512: "ab".repeat(64),
        format: DiskFormat::Raw,
        path,
    };
    let ensure = Task::EnsureImage {
        image: image.clone(),
    };
    far.perform(fence(), ensure).await.unwrap();
    assert_eq!(
        far.cached_images().await.unwrap(),
        vec![image.sha512.clone()]
    );
    let spec = guest(&image);
    let id = spec.id;
    far.perform(fence(), Task::CreateGuest { spec })
        .await
        .unwrap();
    far.perform(fence(), Task::Start { id }).await.unwrap();
    assert_eq!(
        far.observe(id).await.unwrap(),
        sim.observe(id).await.unwrap()
    );
    let started = tokio::time::timeout(LIMIT, events.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(started.id, id);
    assert!(
        matches!(started.change, GuestChange::Started { .. }),
        "{started:?}"
    );
    assert_eq!(
        far.console_log(id, None).await.unwrap(),
        sim.console_log(id, None).await.unwrap()
    );
    let nobody = InstanceId::random();
    let refused = far.perform(fence(), Task::Start { id: nobody }).await;
    assert_eq!(refused, Err(HostError::NoSuchGuest { id: nobody }));

    let side = HostSide {
        external: BTreeMap::from([("public".to_owned(), vec!["198.18.0.1/24".parse().unwrap()])]),
        ..HostSide::default()
    };
    far.hold(side.clone()).await.unwrap();
    assert_eq!(*held.0.lock().unwrap(), vec![side]);
}

#[tokio::test]
async fn a_capture_comes_back_to_where_it_was_asked_for() {
    let mut site = Site::open().await;
    let pair = connect(&mut site).await;
    let spec = GuestSpec {
        image: None,
        ..guest(&ImageRef {
            id: ImageId::random(),
            sha512: String::new(),
            format: DiskFormat::Raw,
            path: "none".into(),
        })
    };
    let id = spec.id;
    pair.far
        .perform(fence(), Task::CreateGuest { spec })
        .await
        .unwrap();
    let target = site.dir.path().join("captured");
    let snapshot = Task::Snapshot {
        id,
        target: target.clone(),
        format: DiskFormat::Qcow2,
    };
    let report = pair.far.perform(fence(), snapshot).await.unwrap();
    let Report::Snapshot { size_bytes, .. } = report else {
        panic!("{report:?}")
    };
    assert_eq!(std::fs::metadata(&target).unwrap().len(), size_bytes);
    let spool: Vec<_> = std::fs::read_dir(site.dir.path().join("spool"))
        .unwrap()
        .collect();
    assert!(spool.is_empty(), "{spool:?}");
}

#[tokio::test]
async fn a_host_that_goes_is_away_and_its_events_end() {
    let mut site = Site::open().await;
    let pair = connect(&mut site).await;
    let mut events = pair.far.subscribe();
    pair.answering.abort();
    tokio::time::timeout(LIMIT, pair.far.ended()).await.unwrap();
    let asked = pair.far.observe_all().await;
    assert!(matches!(asked, Err(HostError::Away { .. })), "{asked:?}");
    assert!(asked.unwrap_err().is_transient());
    let ended = tokio::time::timeout(LIMIT, events.recv()).await.unwrap();
    assert!(ended.is_err());
}

#[tokio::test]
async fn who_lets_go_of_a_host_closes_its_connection() {
    let mut site = Site::open().await;
    let Pair { far, answering, .. } = connect(&mut site).await;
    drop(far);
    tokio::time::timeout(LIMIT, answering)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn only_who_knows_the_secret_joins_and_only_the_right_authority_is_believed() {
    let site = Site::open().await;
    let wrong = Invitation {
        secret: "0".repeat(64),
        ..site.invitation.clone()
    };
    let refused = join(&wrong, &site.identity()).await;
    assert!(
        matches!(refused, Err(AgentError::Refused { status: 403, .. })),
        "{refused:?}"
    );
    let other: Invitation = Invitation::new(
        site.invitation.address.clone(),
        Authority::open(&site.dir.path().join("another"))
            .unwrap()
            .fingerprint()
            .unwrap(),
    );
    let refused = join(&other, &site.identity()).await;
    assert!(
        matches!(refused, Err(AgentError::Unreached { .. })),
        "{refused:?}"
    );
    assert!(!site.identity().exists());
}

#[tokio::test]
async fn a_request_bears_the_certificate_of_its_host() {
    let site = Site::open().await;
    let dialer = site.joined().await;
    let (client, base) = dialer.requests().await.unwrap();
    let said = client.get(format!("{base}/who")).send().await.unwrap();
    let print = said.text().await.unwrap();
    assert_eq!(print.len(), 64, "{print}");
    // A certificate of another authority is refused before anything is said.
    let elsewhere = Site::open().await;
    let stranger = Dialer::new(site.invitation.address.clone(), {
        join(&elsewhere.invitation, &elsewhere.identity())
            .await
            .unwrap();
        elsewhere.identity()
    });
    let refused = stranger.dial().await;
    assert!(matches!(refused, Err(AgentError::Unreached { .. })));
}

#[test]
fn two_processes_that_open_a_new_authority_have_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let prints: Vec<_> = std::thread::scope(|scope| {
        let open = || {
            let authority = Authority::open(&dir.path().join("authority")).unwrap();
            authority.fingerprint().unwrap()
        };
        let opening: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        opening
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(prints.iter().all(|print| *print == prints[0]));
}

/// A simulated host whose guests all have one console.
struct WithConsole {
    sim: Arc<SimHost>,
    socket: PathBuf,
}

#[async_trait::async_trait]
impl Hands for WithConsole {
    async fn perform(&self, fence: Fence, task: Task) -> Result<Report, HostError> {
        self.sim.perform(fence, task).await
    }

    async fn console_log(&self, id: InstanceId, tail: Option<usize>) -> Result<Vec<u8>, HostError> {
        self.sim.console_log(id, tail).await
    }

    async fn observe(&self, id: InstanceId) -> Result<Option<Observation>, HostError> {
        self.sim.observe(id).await
    }

    async fn observe_all(&self) -> Result<Vec<Observation>, HostError> {
        self.sim.observe_all().await
    }

    async fn cached_images(&self) -> Result<Vec<String>, HostError> {
        self.sim.cached_images().await
    }

    async fn diagnostics(&self, id: InstanceId) -> Result<Diagnostics, HostError> {
        self.sim.diagnostics(id).await
    }

    async fn consoles(&self, _: InstanceId) -> Result<ConsoleSockets, HostError> {
        Ok(ConsoleSockets {
            serial: self.socket.clone(),
            vnc: self.socket.clone(),
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<GuestEvent> {
        self.sim.subscribe()
    }

    async fn capacity(&self) -> Result<HostCapacity, HostError> {
        self.sim.capacity().await
    }
}

#[tokio::test]
async fn a_console_carries_bytes_both_ways_until_either_side_ends() {
    let mut site = Site::open().await;
    let sim = Arc::new(SimHost::new(SimConfig::named("host-1".to_owned())));
    let socket = site.dir.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let hands = WithConsole {
        sim: sim.clone(),
        socket,
    };
    let pair = connect_to(&mut site, Arc::new(hands), sim).await;
    let id = InstanceId::random();
    let opening = pair.far.open_console(id, ConsoleKind::Serial);
    let (opened, accepted) = tokio::join!(opening, listener.accept());
    let (mut client, (mut guest, _)) = (opened.unwrap(), accepted.unwrap());

    guest.write_all(b"login: ").await.unwrap();
    let mut shown = [0; 7];
    client.read_exact(&mut shown).await.unwrap();
    assert_eq!(&shown, b"login: ");
    client.write_all(b"root").await.unwrap();
    let mut typed = [0; 4];
    guest.read_exact(&mut typed).await.unwrap();
    assert_eq!(&typed, b"root");
    drop(client);
    let closed = tokio::time::timeout(LIMIT, guest.read(&mut typed)).await;
    assert_eq!(closed.unwrap().unwrap(), 0);

    let opening = pair.far.open_console(id, ConsoleKind::Vnc);
    let (opened, accepted) = tokio::join!(opening, listener.accept());
    let mut client = opened.unwrap();
    drop(accepted);
    let ended = tokio::time::timeout(LIMIT, client.read(&mut shown)).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}
