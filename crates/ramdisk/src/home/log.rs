//! Sends the log home, a few lines at a time, each line until it has arrived.

use super::{Failed, Home, Known, answer};
use crate::journal::Journal;
use crate::protocol::AGENT_TOKEN_HEADER;
use reqwest::StatusCode;
use std::time::Duration;

const LINES: usize = 200;
const PAUSE: Duration = Duration::from_secs(5);

/// Sends until the control plane says that it takes no log (Ironic's own does not) or refuses the token.
pub async fn send_log(home: &Home, known: &Known, journal: &Journal) {
    let url = format!("{}/v1/ramdisk_log/{}", known.url, known.answer.node.uuid);
    loop {
        let lines = journal.next(LINES).await;
        let request = home
            .headers(home.client.post(&url))
            .header(AGENT_TOKEN_HEADER, &known.agent_token)
            .json(&lines);
        let good = [
            StatusCode::NO_CONTENT,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
        ];
        match answer(request, &good).await {
            Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                if let Some(last) = lines.last() {
                    journal.sent(last.number);
                }
            }
            Ok(_) | Err(Failed::Ended(_)) => return,
            // A warning here would be one more line to send.
            Err(Failed::Retry(_)) => tokio::time::sleep(PAUSE).await,
        }
    }
}
