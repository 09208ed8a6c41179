//! Network cards: their taps in the host's switch, and cards that come and go while a guest runs.
//!
//! A tap is there from the guest's first start to its end, also while the guest is off: its addresses stay wired.

use super::Inner;
use super::attach::{has_device, release_device};
use super::launch::{assign_ports, nic_key};
use crate::error::HostError;
use crate::guest::Guest;
use crate::guest_dir::{GuestDir, GuestState};
use crate::machine::Machine;
use crate::qemu::command_line::BootNic;
use crate::qemu::process::Process;
use crate::spec::{GuestSpec, NicSpec};
use crate::task::Report;
use corten_model::ids::PortId;
use corten_network::chassis::HostSwitch;
use corten_network::daemons::Datapath;
use serde_json::json;
use std::sync::Arc;

impl Inner {
    pub(super) async fn attach_nic(
        &self,
        guest: &Arc<Guest>,
        nic: NicSpec,
    ) -> Result<Report, HostError> {
        let spec = guest.spec()?;
        let known = spec.nics.contains(&nic);
        let mut nics: Vec<NicSpec> = spec.nics.clone();
        nics.retain(|other| other.port != nic.port);
        nics.push(nic);
        let ports = assign_ports(&spec.disks, &nics, &guest.state().ports)?;
        guest.update_state(|state| state.ports = ports)?;
        let process = self.live(guest).await?;
        if let Some(process) = &process {
            let nic = self.boot_nic(&nic, &guest.state())?;
            if has_device(process, &nic.device_id()).await? {
                self.remember_nics(guest, &spec, nics)?;
                return Ok(Report::Already);
            }
            self.plug(&nic.spec).await?;
            add_card(process, &nic, Machine::parse(&spec.machine_properties)?).await?;
        }
        self.remember_nics(guest, &spec, nics)?;
        Ok(match (known, process) {
            (true, None) => Report::Already,
            _ => Report::Done,
        })
    }

    /// The tap goes even if the guest knows nothing of it: an attachment may have been broken off.
    pub(super) async fn detach_nic(
        &self,
        guest: &Arc<Guest>,
        port: PortId,
    ) -> Result<Report, HostError> {
        let spec = guest.spec()?;
        let known = spec.nics.iter().find(|nic| nic.port == port);
        if let Some(process) = self.live(guest).await? {
            remove_card(&process, port).await?;
        }
        if let Some(switch) = &self.switch {
            switch.unplug(port).await?;
        }
        let mut nics = spec.nics.clone();
        nics.retain(|nic| nic.port != port);
        self.remember_nics(guest, &spec, nics)?;
        guest.update_state(|state| {
            state.ports.remove(&nic_key(port));
        })?;
        Ok(match known {
            Some(_) => Report::Done,
            None => Report::Already,
        })
    }

    fn remember_nics(
        &self,
        guest: &Guest,
        spec: &GuestSpec,
        nics: Vec<NicSpec>,
    ) -> Result<(), HostError> {
        let spec = GuestSpec {
            nics,
            ..spec.clone()
        };
        GuestDir::write_spec(guest.dir.path(), &spec)?;
        guest.set_spec(spec);
        Ok(())
    }

    fn switch(&self) -> Result<&HostSwitch, HostError> {
        self.switch.as_deref().ok_or_else(|| HostError::Switch {
            reason: "this host was started without one, so its guests have no network cards"
                .to_owned(),
            transient: false,
        })
    }

    /// Has the tap of each card in the switch.
    pub(super) async fn plug_all(&self, nics: &[NicSpec]) -> Result<(), HostError> {
        for nic in nics {
            self.plug(nic).await?;
        }
        Ok(())
    }

    async fn plug(&self, nic: &NicSpec) -> Result<(), HostError> {
        self.switch()?.plug(nic.port, nic.mtu).await?;
        Ok(())
    }

    /// Takes the taps of these cards away.
    pub(super) async fn unplug_all(&self, nics: &[NicSpec]) -> Result<(), HostError> {
        let Some(switch) = &self.switch else {
            return Ok(());
        };
        for nic in nics {
            switch.unplug(nic.port).await?;
        }
        Ok(())
    }

    /// The guest's cards in the order that it sees them.
    pub(super) fn boot_nics(
        &self,
        spec: &GuestSpec,
        state: &GuestState,
    ) -> Result<Vec<BootNic>, HostError> {
        spec.nics
            .iter()
            .map(|nic| self.boot_nic(nic, state))
            .collect()
    }

    fn boot_nic(&self, nic: &NicSpec, state: &GuestState) -> Result<BootNic, HostError> {
        let switch = self.switch()?;
        Ok(BootNic {
            spec: *nic,
            tap: switch.tap(nic.port),
            // The userspace datapath takes frames as they are, so they must be complete.
            offloads: switch.datapath() == Datapath::Kernel,
            port: state
                .ports
                .get(&nic_key(nic.port))
                .copied()
                .unwrap_or_default(),
        })
    }
}

async fn add_card(process: &Process, nic: &BootNic, machine: Machine) -> Result<(), HostError> {
    let forget_netdev = || process.execute("netdev_del", json!({"id": nic.netdev_id()}));
    // An earlier attempt may have left the tap's end without its card.
    let _ = forget_netdev().await;
    process.execute("netdev_add", nic.netdev()).await?;
    if let Err(error) = process.execute("device_add", nic.device(machine)).await {
        let _ = forget_netdev().await;
        return Err(error);
    }
    Ok(())
}

async fn remove_card(process: &Process, port: PortId) -> Result<(), HostError> {
    let what = "let go of the network card; take it down in the guest, or stop the guest,";
    release_device(process, &format!("nic-{port}"), what).await?;
    // A refusal means that it is gone already.
    let _ = process
        .execute("netdev_del", json!({"id": format!("net-{port}")}))
        .await;
    Ok(())
}
