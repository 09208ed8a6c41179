//! Every kind of operation there is: what a worker registers.

use crate::apply_network::ApplyNetwork;
use crate::attach_interface::AttachInterface;
use crate::command_instance::CommandInstance;
use crate::confirm_resize::ConfirmResize;
use crate::context::Context;
use crate::create_instance::CreateInstance;
use crate::delete_instance::DeleteInstance;
use crate::detach_interface::DetachInterface;
use crate::import_image::ImportImage;
use crate::metal::adopt_node::AdoptNode;
use crate::metal::allocate_node::AllocateNode;
use crate::metal::clean_node::CleanNode;
use crate::metal::deploy_node::DeployNode;
use crate::metal::inspect_node::InspectNode;
use crate::metal::power_node::PowerNode;
use crate::metal::rescue_node::RescueNode;
use crate::metal::service_node::ServiceNode;
use crate::metal::verify_node::VerifyNode;
use crate::metal_instance::command::CommandMetalInstance;
use crate::metal_instance::create::CreateMetalInstance;
use crate::metal_instance::delete::DeleteMetalInstance;
use crate::metal_instance::rebuild::RebuildMetalInstance;
use crate::offload_instance::OffloadInstance;
use crate::rebuild_instance::RebuildInstance;
use crate::rescue_instance::RescueInstance;
use crate::resize_instance::ResizeInstance;
use crate::revert_resize::RevertResize;
use crate::shelve_instance::ShelveInstance;
use crate::snapshot_instance::SnapshotInstance;
use crate::unshelve_instance::UnshelveInstance;
use corten_engine::Registry;
use std::sync::Arc;

/// The workflows over one context.
pub fn registry(cx: &Arc<Context>) -> Registry {
    let registry = Registry::default()
        .with(CreateInstance(cx.clone()))
        .with(RebuildInstance(cx.clone()))
        .with(RescueInstance(cx.clone()))
        .with(DeleteInstance(cx.clone()))
        .with(ResizeInstance(cx.clone()))
        .with(ConfirmResize(cx.clone()))
        .with(RevertResize(cx.clone()))
        .with(ShelveInstance(cx.clone()))
        .with(OffloadInstance(cx.clone()))
        .with(UnshelveInstance(cx.clone()))
        .with(AttachInterface(cx.clone()))
        .with(DetachInterface(cx.clone()))
        .with(ImportImage(cx.clone()))
        .with(ApplyNetwork(cx.clone()))
        .with(VerifyNode(cx.clone()))
        .with(InspectNode(cx.clone()))
        .with(CleanNode(cx.clone()))
        .with(DeployNode(cx.clone()))
        .with(AdoptNode(cx.clone()))
        .with(RescueNode(cx.clone()))
        .with(ServiceNode(cx.clone()))
        .with(PowerNode(cx.clone()))
        .with(AllocateNode(cx.clone()))
        .with(CreateMetalInstance(cx.clone()))
        .with(RebuildMetalInstance(cx.clone()))
        .with(DeleteMetalInstance(cx.clone()));
    let registry =
        CommandMetalInstance::COMMANDS
            .into_iter()
            .fold(registry, |registry, command| {
                registry.with(CommandMetalInstance {
                    cx: cx.clone(),
                    command,
                })
            });
    let registry = SnapshotInstance::COMMANDS
        .into_iter()
        .fold(registry, |registry, command| {
            registry.with(SnapshotInstance {
                cx: cx.clone(),
                command,
            })
        });
    CommandInstance::COMMANDS
        .into_iter()
        .fold(registry, |registry, command| {
            registry.with(CommandInstance {
                cx: cx.clone(),
                command,
            })
        })
}
