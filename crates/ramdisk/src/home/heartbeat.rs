//! Heartbeats: "I am here", often enough, and at once when a command has ended.

use super::{Failed, Home, HomeError, Known, answer};
use crate::protocol::Heartbeat;
use rand::Rng;
use reqwest::StatusCode;
use std::time::Duration;
use tokio::sync::Notify;

/// After a failure, at least so long; at most twice that. Many servers fail together.
const PAUSE_SECS: f64 = 5.0;

/// Beats until the token is refused, and returns why.
pub async fn beat(
    home: &Home,
    known: &Known,
    callback_url: &str,
    certificate: Option<&str>,
    now: &Notify,
) -> HomeError {
    let body = Heartbeat {
        callback_url: callback_url.to_owned(),
        agent_token: Some(known.agent_token.clone()),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_verify_ca: certificate.map(str::to_owned),
    };
    let url = format!("{}/v1/heartbeat/{}", known.url, known.answer.node.uuid);
    let timeout_secs = known.answer.config.heartbeat_timeout as f64;
    loop {
        let request = home.headers(home.client.post(&url)).json(&body);
        let pause_secs = match answer(request, &[StatusCode::ACCEPTED]).await {
            // So often that one lost heartbeat does not count as a lost server.
            Ok(_) => timeout_secs * rand::rng().random_range(0.3..0.6),
            Err(Failed::Ended(error)) => return error,
            Err(Failed::Retry(why)) => {
                tracing::warn!("the heartbeat failed: {why}");
                PAUSE_SECS * rand::rng().random_range(1.0..2.0)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(pause_secs)) => {}
            () = now.notified() => {}
        }
    }
}
