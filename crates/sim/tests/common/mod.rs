//! A simulated host with an image in its cache, and short words for tasks.
#![allow(dead_code, clippy::unwrap_used)]

use corten_host::{
    ConfigDrive, DiskFormat, DiskSpec, Fence, Firmware, GuestSpec, Hands, HostError, ImageRef,
    NicSpec, Power, Report, Task,
};
use corten_model::ids::{ImageId, InstanceId, OperationId, PortId};
use corten_network::plan::Mac;
use corten_sim::{SimConfig, SimHost};
use std::collections::BTreeMap;

pub struct Lab {
    pub host: SimHost,
    pub operation: OperationId,
    pub image: ImageRef,
}

impl Lab {
    /// A host that has the image.
    pub async fn new() -> Self {
        Self::with(SimConfig::default()).await
    }

    pub async fn with(config: SimConfig) -> Self {
        let image = ImageRef {
            id: ImageId::random(),
            sha512: "a5".repeat(64),
            format: DiskFormat::Qcow2,
            path: "/images/tiny".into(),
        };
        let lab = Self {
            host: SimHost::new(config),
            operation: OperationId::random(),
            image,
        };
        let image = lab.image.clone();
        lab.perform(Task::EnsureImage { image }).await.unwrap();
        lab
    }

    pub async fn perform(&self, task: Task) -> Result<Report, HostError> {
        self.perform_as(self.operation, 1, task).await
    }

    pub async fn perform_as(
        &self,
        operation: OperationId,
        epoch: i64,
        task: Task,
    ) -> Result<Report, HostError> {
        self.host.perform(Fence { operation, epoch }, task).await
    }

    pub fn spec(&self) -> GuestSpec {
        GuestSpec {
            id: InstanceId::random(),
            name: "web".to_owned(),
            vcpus: 2,
            memory_mib: 512,
            root_gib: 1,
            ephemeral_gib: 0,
            swap_mib: 0,
            image: Some(self.image.clone()),
            firmware: Firmware::Bios,
            nics: Vec::new(),
            disks: Vec::new(),
            config_drive: Some(ConfigDrive::default()),
            machine_properties: BTreeMap::new(),
        }
    }

    /// A guest that is there but does not run.
    pub async fn created(&self) -> InstanceId {
        let spec = self.spec();
        let id = spec.id;
        self.perform(Task::CreateGuest { spec }).await.unwrap();
        id
    }

    pub async fn running(&self) -> InstanceId {
        let id = self.created().await;
        self.perform(Task::Start { id }).await.unwrap();
        id
    }

    pub async fn power(&self, id: InstanceId) -> Power {
        self.host.observe(id).await.unwrap().unwrap().power
    }

    pub async fn console(&self, id: InstanceId) -> String {
        String::from_utf8(self.host.console_log(id, None).await.unwrap()).unwrap()
    }
}

pub fn volume(id: &str) -> DiskSpec {
    DiskSpec {
        id: id.to_owned(),
        path: format!("/volumes/{id}").into(),
        format: DiskFormat::Raw,
        read_only: false,
    }
}

pub fn nic() -> NicSpec {
    NicSpec {
        port: PortId::random(),
        mac: Mac([0xfa, 0x16, 0x3e, 0, 0, 1]),
        mtu: 1442,
    }
}
