//! `/consoles/…`: the guest's serial line and screen over WebSocket, each opened once with a token.
//!
//! The socket carries the console's own bytes in binary frames: a terminal's for `serial`, RFB (RFC 6143) for `vnc`, as
//! noVNC and other clients of `ws://` expect.

use crate::app::App;
use crate::params::Params;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use corten_model::refusal::Refusal;
use corten_operations::Context;
use corten_operations::instance::console::{self, Granted};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/consoles/serial", get(socket))
        .route("/consoles/vnc", get(page))
        .route("/consoles/vnc/socket", get(socket))
}

/// The address that `remote-consoles` answers for a screen: a viewer that opens the socket its `path` names.
async fn page() -> Html<&'static str> {
    Html(include_str!("consoles/viewer.html"))
}

/// Opens the console that `?token=…` is for. Without a good token the connection is closed without a word, as clients
/// of websockets expect it.
async fn socket(State(app): State<App>, params: Params, upgrade: WebSocketUpgrade) -> Response {
    let opened = match params.get("token") {
        Some(token) => console::redeem(&app.cx, token).await,
        None => Err(Refusal::forbidden(
            "A console is opened with ?token=…, as remote-consoles answers it.",
        )
        .into()),
    };
    let granted = match opened {
        Ok(granted) => granted,
        Err(error) => {
            tracing::info!(%error, "a console was not opened");
            return (StatusCode::FORBIDDEN, [(CONNECTION, "close")]).into_response();
        }
    };
    upgrade
        .protocols(["binary"])
        .on_upgrade(move |socket| async move {
            if let Err(error) = relay(&app.cx, socket, &granted).await {
                tracing::debug!(%error, "a console ended");
            }
        })
}

/// Opens the console and carries bytes both ways until either side ends.
async fn relay(
    cx: &Context,
    socket: WebSocket,
    granted: &Granted,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut from_guest, mut to_guest) = tokio::io::split(granted.open(cx).await?);
    let (mut to_client, mut from_client) = socket.split();
    let outward = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_guest.read(&mut buffer).await?;
            if count == 0 {
                let _ = to_client.send(Message::Close(None)).await;
                return Ok(());
            }
            to_client
                .send(Message::Binary(Bytes::copy_from_slice(&buffer[..count])))
                .await?;
        }
    };
    let inward = async {
        while let Some(message) = from_client.next().await {
            match message? {
                Message::Binary(bytes) => to_guest.write_all(&bytes).await?,
                Message::Text(text) => to_guest.write_all(text.as_bytes()).await?,
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        Ok(())
    };
    tokio::select! {
        end = outward => end,
        end = inward => end,
    }
}
