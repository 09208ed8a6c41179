//! A BMC that speaks Redfish (DMTF DSP0266): JSON documents that link to each other, over HTTPS.
//!
//! A file here is one subject: its documents, and what is odd about them. `transport` carries the requests, `login` lets them in,
//! `answer` says what comes of them, `document` reads what they bring, `quirks` knows the vendors.

mod answer;
mod bios;
mod boot;
mod client;
mod document;
mod event_log;
mod event_stream;
mod events;
mod firmware;
mod indicator;
mod inventory;
mod login;
mod media;
mod power;
mod quirks;
mod secure_boot;
mod sensors;
mod transport;

pub use quirks::{BootModeAttribute, ClearJobs, InsertKeys, Quirks};

use crate::address::{Credentials, Limits, RedfishAddress};
use crate::bios::{Attributes, BiosSettings};
use crate::bmc::{Bmc, Indicator, SecureBoot};
use crate::boot::{Boot, BootMode, Effect, Lasting};
use crate::capability::{Capabilities, Capability};
use crate::error::BmcError;
use crate::event::EventStream;
use crate::event_log::LogEntry;
use crate::firmware::{FirmwareItem, FirmwareUpdate, TaskProgress, TaskRef, TaskSeen};
use crate::inventory::Inventory;
use crate::media::{Media, MediaKind, MediaSlot};
use crate::oddity::{Oddities, Oddity};
use crate::power::{PowerAction, PowerState};
use crate::sensors::Sensors;
use crate::settle::Settle;
use async_trait::async_trait;
use document::Document;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use transport::Transport;
use url::Url;

const ROOT: &str = "/redfish/v1/";
/// A log of a BMC has at most some thousand entries, with fifty or more to a page.
const PAGES_MAX: usize = 200;

pub struct Redfish {
    address: RedfishAddress,
    transport: Arc<Transport>,
    layout: OnceCell<Layout>,
}

impl Drop for Redfish {
    /// Logs out behind the caller who forgot to.
    fn drop(&mut self) {
        if let Ok(runtime) = Handle::try_current() {
            let transport = Arc::clone(&self.transport);
            runtime.spawn(async move { transport.login.log_out(&transport).await });
        }
    }
}

/// Where things are; it stays so while the BMC has the same firmware.
struct Layout {
    root: Document,
    system: String,
    managers: Vec<String>,
    chassis: Vec<String>,
    quirks: Quirks,
}

impl Redfish {
    pub fn new(
        address: RedfishAddress,
        credentials: Credentials,
        limits: Limits,
    ) -> Result<Self, BmcError> {
        Ok(Self {
            transport: Arc::new(Transport::new(
                &address,
                credentials,
                limits,
                Oddities::default(),
            )?),
            address,
            layout: OnceCell::new(),
        })
    }

    /// The paths of all servers of the service, whichever this was opened for.
    pub async fn systems(&self) -> Result<Vec<String>, BmcError> {
        let root = self.transport.get(ROOT).await?;
        self.members_of(&root, "Systems").await
    }

    async fn layout(&self) -> Result<&Layout, BmcError> {
        self.layout.get_or_try_init(|| self.find_layout()).await
    }

    async fn find_layout(&self) -> Result<Layout, BmcError> {
        let root = self.transport.get(ROOT).await?;
        let system = match &self.address.system {
            Some(path) => path.clone(),
            None => self.only_system(&root).await?,
        };
        let document = self.transport.get(&system).await?;
        let mut managers = document.links("Links/ManagedBy");
        if managers.is_empty() {
            managers = self.members_of(&root, "Managers").await?;
        }
        let mut chassis = document.links("Links/Chassis");
        if chassis.is_empty() {
            chassis = self.members_of(&root, "Chassis").await?;
        }
        let manager = match managers.first() {
            Some(path) => self.transport.get_part(path).await?,
            None => None,
        };
        let mut makers = vec![&root, &document];
        makers.extend(manager.as_ref());
        let quirks = Quirks::of(&makers);
        Ok(Layout {
            root,
            system,
            managers,
            chassis,
            quirks,
        })
    }

    async fn only_system(&self, root: &Document) -> Result<String, BmcError> {
        let systems = self.members_of(root, "Systems").await?;
        match <[String; 1]>::try_from(systems) {
            Ok([system]) => Ok(system),
            Err(systems) if systems.is_empty() => {
                Err(root.without(self.name(), "Systems", "a collection with a system"))
            }
            Err(systems) => Err(BmcError::Invalid {
                rule: "a service of several systems is told which one is meant",
                value: self.name().to_owned(),
                fix: format!("give the path of the system, one of {}", systems.join(", ")),
            }),
        }
    }

    /// The paths in a collection that a document links to; empty if there is none.
    async fn members_of(&self, document: &Document, key: &str) -> Result<Vec<String>, BmcError> {
        let Some(path) = document.link(key) else {
            return Ok(Vec::new());
        };
        let pages = self.pages(&path, usize::MAX).await?;
        Ok(pages
            .iter()
            .flat_map(|page| page.links("Members"))
            .collect())
    }

    /// The members of a collection that a document links to. Those that the BMC fails to tell are left out.
    async fn collection(&self, document: &Document, key: &str) -> Result<Vec<Document>, BmcError> {
        match document.link(key) {
            Some(path) => self.collection_at(&path, usize::MAX).await,
            None => Ok(Vec::new()),
        }
    }

    async fn collection_at(&self, path: &str, most: usize) -> Result<Vec<Document>, BmcError> {
        let pages = self.pages(path, most).await?;
        let members: Vec<Document> = pages
            .iter()
            .flat_map(|page| page.list("Members"))
            .take(most)
            .collect();
        let read = members.into_iter().map(|member| async move {
            // A member may be there whole.
            if member.has("Id") || !member.has("@odata.id") {
                Ok(Some(member))
            } else {
                self.transport.get_part(&member.path).await
            }
        });
        let read: Vec<Option<Document>> = stream::iter(read)
            .buffered(self.transport.limits.connections.max(1))
            .try_collect()
            .await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn pages(&self, path: &str, most: usize) -> Result<Vec<Document>, BmcError> {
        let mut pages: Vec<Document> = Vec::new();
        let mut next = Some(path.to_owned());
        let mut members = 0;
        while let Some(path) = next.take() {
            let Some(page) = self.transport.get_part(&path).await? else {
                break;
            };
            let count = page.list("Members").len();
            members += count;
            // A BMC that links a page to itself must not keep us for ever.
            if count > 0 && members < most && pages.len() < PAGES_MAX {
                next = page
                    .text("Members@odata.nextLink")
                    .filter(|link| *link != path);
            }
            pages.push(page);
        }
        Ok(pages)
    }

    async fn system(&self) -> Result<Document, BmcError> {
        let layout = self.layout().await?;
        self.transport.get(&layout.system).await
    }

    /// A document that the system links to.
    async fn of_system(&self, key: &str) -> Result<Option<Document>, BmcError> {
        match self.system().await?.link(key) {
            Some(path) => self.transport.get_if_there(&path).await,
            None => Ok(None),
        }
    }

    /// For looking until what was set shows.
    fn settle(&self, what: &'static str, asked: impl Into<String>) -> Settle {
        Settle::new(
            self.name(),
            what,
            asked.into(),
            self.transport.limits.settle,
        )
    }
}

#[async_trait]
impl Bmc for Redfish {
    fn name(&self) -> &str {
        &self.transport.name
    }

    async fn capabilities(&self) -> Result<Capabilities, BmcError> {
        let system = self.system().await?;
        let layout = self.layout().await?;
        let mut found = Capabilities::default();
        self.power_capabilities(&system, &mut found).await?;
        self.boot_capabilities(&system, &mut found);
        let bios = match system.link("Bios") {
            Some(path) => self.transport.get_part(&path).await?,
            None => None,
        };
        found.add_if(bios.is_some(), Capability::BiosSettings);
        let resets = bios.is_some_and(|bios| bios.action("Bios.ResetBios").is_some());
        found.add_if(resets, Capability::BiosReset);
        found.add_if(system.has("SecureBoot"), Capability::SecureBoot);
        found.add_if(
            !self.media_documents().await?.is_empty(),
            Capability::VirtualMedia,
        );
        found.add_if(!layout.chassis.is_empty(), Capability::Sensors);
        found.add_if(self.log_service().await?.is_some(), Capability::EventLog);
        let tells = self.event_source().await?.is_some();
        found.add_if(tells, Capability::EventStream);
        let jobs = layout.quirks.clear_jobs.is_some() || layout.root.has("Tasks");
        found.add_if(jobs, Capability::ClearJobs);
        self.firmware_capabilities(&mut found).await?;
        let light = self.indicator_document().await?;
        found.add_if(light.is_some(), Capability::Indicator);
        Ok(found)
    }

    fn oddities(&self) -> Vec<Oddity> {
        self.transport.oddities.list()
    }

    async fn power(&self) -> Result<PowerState, BmcError> {
        self.read_power().await
    }

    async fn set_power(&self, action: PowerAction) -> Result<(), BmcError> {
        self.ask_power(action).await
    }

    async fn boot(&self) -> Result<Boot, BmcError> {
        Ok(self.boot_in(&self.system().await?))
    }

    async fn set_boot(&self, wanted: Boot) -> Result<Boot, BmcError> {
        self.write_boot(wanted).await
    }

    async fn set_boot_url(&self, url: &Url, lasting: Lasting) -> Result<Boot, BmcError> {
        self.write_boot_url(url, lasting).await
    }

    async fn set_boot_mode(&self, mode: BootMode) -> Result<Effect, BmcError> {
        self.write_boot_mode(mode).await
    }

    async fn secure_boot(&self) -> Result<SecureBoot, BmcError> {
        self.read_secure_boot().await
    }

    async fn set_secure_boot(&self, enabled: bool) -> Result<(), BmcError> {
        self.write_secure_boot(enabled).await
    }

    async fn media(&self) -> Result<Vec<MediaSlot>, BmcError> {
        self.read_media().await
    }

    async fn insert_media(&self, kind: MediaKind, media: &Media) -> Result<MediaSlot, BmcError> {
        self.insert(kind, media).await
    }

    async fn eject_media(&self, kind: MediaKind) -> Result<(), BmcError> {
        self.eject(kind).await
    }

    async fn bios(&self) -> Result<BiosSettings, BmcError> {
        self.read_bios().await
    }

    async fn set_bios(&self, wanted: &Attributes) -> Result<Effect, BmcError> {
        self.write_bios(wanted).await
    }

    async fn reset_bios(&self) -> Result<(), BmcError> {
        self.ask_bios_reset().await
    }

    async fn clear_jobs(&self) -> Result<(), BmcError> {
        self.forget_jobs().await
    }

    async fn inventory(&self) -> Result<Inventory, BmcError> {
        self.read_inventory().await
    }

    async fn sensors(&self) -> Result<Sensors, BmcError> {
        self.read_sensors().await
    }

    async fn event_log(&self) -> Result<Vec<LogEntry>, BmcError> {
        self.read_event_log().await
    }

    async fn events(&self) -> Result<EventStream, BmcError> {
        self.open_events().await
    }

    async fn clear_event_log(&self) -> Result<(), BmcError> {
        self.empty_event_log().await
    }

    async fn firmware(&self) -> Result<Vec<FirmwareItem>, BmcError> {
        self.read_firmware().await
    }

    async fn check_update(&self, update: &FirmwareUpdate) -> Result<(), BmcError> {
        self.update_request(update).await.map(drop)
    }

    async fn update_firmware(&self, update: &FirmwareUpdate) -> Result<Option<TaskRef>, BmcError> {
        self.start_update(update).await
    }

    async fn task(&self, task: &TaskRef) -> Result<TaskProgress, BmcError> {
        self.read_task(task).await
    }

    async fn tasks(&self) -> Result<Option<Vec<TaskSeen>>, BmcError> {
        self.list_tasks().await
    }

    async fn indicator(&self) -> Result<Indicator, BmcError> {
        self.read_indicator().await
    }

    async fn set_indicator(&self, indicator: Indicator) -> Result<(), BmcError> {
        self.write_indicator(indicator).await
    }

    async fn close(&self) {
        self.transport.login.log_out(&self.transport).await;
    }
}
