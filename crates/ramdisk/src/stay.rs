//! A ramdisk's stay on its server: from the first call home until the work is over.

use crate::boot::BootOptions;
use crate::commands::{self, Agent, Commands, Ending};
use crate::home::{self, Home, HomeError, Known};
use crate::journal::Journal;
use crate::protocol::{AGENT_PORT, Inspection};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The server that the ramdisk stays on.
pub struct Server<C> {
    /// Where it is reached.
    pub address: Ipv4Addr,
    pub inspection: Inspection,
    pub commands: C,
}

/// Calls home and does what is asked, until the work is over. Returns how it ends.
pub async fn stay<C: Commands>(
    options: &BootOptions,
    server: Server<C>,
    journal: Option<&Journal>,
) -> Result<Ending, HomeError> {
    let home = Home::new(options)?;
    let Server {
        address,
        inspection,
        commands,
    } = server;
    let mut node = options.node;
    if options.discover {
        let node = home.offer(&inspection).await?;
        tracing::info!(
            "this server is offered for enrolment as the node {node}; it is switched off now"
        );
        return Ok(Ending::PowerOff);
    }
    if options.inspect {
        let url = options.inspection_url.as_deref();
        node = home.inspected(url, &inspection).await?.or(node);
    }
    let macs: Vec<String> = inspection
        .inventory
        .interfaces
        .iter()
        .map(|card| card.mac_address.clone())
        .collect();
    let known = home
        .look_up(&macs, node, options.agent_token.as_deref())
        .await?;
    tracing::info!("this is the node {}", known.answer.node.uuid);

    let beat = Arc::new(Notify::new());
    let agent = Arc::new(Agent::new(
        known.agent_token.clone(),
        home::client(options.pin, None)?,
        known.answer.node.properties.clone(),
        Arc::clone(&beat),
        commands,
    ));
    let (tls, certificate) =
        home::tls::own(IpAddr::V4(address)).map_err(HomeError::OwnCertificate)?;
    let listener = TcpListener::bind((address, AGENT_PORT))
        .await
        .map_err(HomeError::Listen)?;
    let callback_url = format!("https://{address}:{AGENT_PORT}");

    let mut ending = agent.ending();
    let ended = async move {
        ending.wait_for(Option::is_some).await.ok();
    };
    let server = commands::serve(Arc::clone(&agent), listener, tls, ended);
    tokio::select! {
        refused = home::beat(&home, &known, &callback_url, Some(&certificate), &beat) => Err(refused),
        served = server => {
            served.map_err(HomeError::Listen)?;
            let ending = *agent.ending().borrow();
            Ok(ending.unwrap_or(Ending::Rescue))
        }
        never = log_for_ever(&home, &known, journal) => match never {},
    }
}

/// A control plane that takes no log is no reason to end.
async fn log_for_ever(home: &Home, known: &Known, journal: Option<&Journal>) -> Infallible {
    if let Some(journal) = journal {
        home::send_log(home, known, journal).await;
    }
    std::future::pending().await
}
