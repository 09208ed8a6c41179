//! Every kind of operation there is: what a worker registers.

use crate::command_instance::CommandInstance;
use crate::context::Context;
use crate::create_instance::CreateInstance;
use crate::delete_instance::DeleteInstance;
use crate::import_image::ImportImage;
use crate::rebuild_instance::RebuildInstance;
use crate::rescue_instance::RescueInstance;
use corten_engine::Registry;
use std::sync::Arc;

/// The workflows over one context.
pub fn registry(cx: &Arc<Context>) -> Registry {
    let registry = Registry::default()
        .with(CreateInstance(cx.clone()))
        .with(RebuildInstance(cx.clone()))
        .with(RescueInstance(cx.clone()))
        .with(DeleteInstance(cx.clone()))
        .with(ImportImage(cx.clone()));
    CommandInstance::COMMANDS
        .into_iter()
        .fold(registry, |registry, command| registry.with(CommandInstance { cx: cx.clone(), command }))
}
