//! Which resource lies at a path.

use super::resource::{Resource, collection};
use super::sessions::Who;
use super::{
    RedfishNode, Service, accounts, chassis, events, managers, registries, root, sessions, systems,
    tasks, update,
};
use axum::http::Method;
use std::sync::Arc;

/// Who asks, and for what.
pub(super) struct Asked<'a> {
    pub(super) service: &'a Arc<Service>,
    /// `None`: somebody who did not log in; only what is open is shown then.
    pub(super) who: Option<&'a Who>,
    pub(super) method: &'a Method,
}

impl Asked<'_> {
    /// Whether the document is to be shown; a POST needs it not, and a list may be long.
    pub(super) fn shows(&self) -> bool {
        *self.method != Method::POST
    }
}

/// The resource at these parts of a path below `/redfish/v1`.
pub(super) fn find(asked: &Asked<'_>, parts: &[&str]) -> Option<Resource> {
    let service = asked.service;
    let all =
        |of: fn(&RedfishNode) -> String| service.nodes().into_iter().map(move |node| of(&node));
    Some(match parts {
        [] => root::root(service).open(),
        ["SessionService", rest @ ..] => sessions::find(asked, rest)?,
        ["AccountService", rest @ ..] => accounts::find(asked, rest)?,
        ["UpdateService", rest @ ..] => update::find(asked, rest)?,
        ["TaskService", rest @ ..] => tasks::find(asked, rest)?,
        ["EventService", rest @ ..] => events::find(asked, rest)?,
        ["Registries", rest @ ..] => registries::find(asked, rest)?,
        ["Systems"] => Resource::of(collection(
            "/redfish/v1/Systems",
            "ComputerSystem",
            all(RedfishNode::system_path),
        )),
        ["Managers"] => Resource::of(collection(
            "/redfish/v1/Managers",
            "Manager",
            all(RedfishNode::manager_path),
        )),
        ["Chassis"] => Resource::of(collection(
            "/redfish/v1/Chassis",
            "Chassis",
            all(RedfishNode::chassis_path),
        )),
        [kind, name, rest @ ..] => {
            let node = service.node_at(kind, name)?;
            let mut found = match *kind {
                "Systems" => systems::find(service, &node, rest)?,
                "Managers" => managers::find(service, &node, rest)?,
                "Chassis" => chassis::find(&node, rest)?,
                _ => return None,
            };
            if let Some(document) = &mut found.document {
                node.shape.bend(document);
            }
            found
        }
        _ => return None,
    })
}
