//! The bytes of an image: `/v2/images/{id}/file` and `/v2/images/{id}/stage`.

use super::image_id;
use super::range::{self, Part};
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Answer, Problem};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use corten_model::refusal::Refusal;
use corten_operations::image::{self, Download, Incoming, STORE};
use corten_store::Failure;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

/// A download is read from the disk in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/images/{id}/file", get(download).put(upload))
        .route("/images/{id}/stage", put(stage))
}

async fn upload(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer<StatusCode> {
    let (id, incoming) = (image_id(&id)?, incoming(request)?);
    image::upload(app.cx.clone(), actor, id, incoming).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stage(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer<StatusCode> {
    let (id, incoming) = (image_id(&id)?, incoming(request)?);
    image::stage(app.cx.clone(), actor, id, incoming).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn incoming(request: Request) -> Result<Incoming<axum::body::BodyDataStream>, Refusal> {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let content_type = text(CONTENT_TYPE.as_str()).unwrap_or_default();
    if content_type.split(';').next().unwrap_or_default().trim() != "application/octet-stream" {
        return Err(Refusal::unsupported_media(format!(
            "The data's Content-Type is '{content_type}'; this call takes application/octet-stream."
        )));
    }
    if let Some(store) = text("x-image-meta-store")
        && store != STORE
    {
        return Err(Refusal::invalid(format!(
            "Store '{store}' is not available; the stores are: {STORE}."
        )));
    }
    let promised = text("x-openstack-image-size").or_else(|| text(CONTENT_LENGTH.as_str()));
    let expected_bytes = match promised {
        None => None,
        Some(promised) => Some(promised.parse().map_err(|_| {
            Refusal::invalid(format!(
                "Invalid image size in request headers: '{promised}' is not a number of bytes."
            ))
        })?),
    };
    Ok(Incoming {
        expected_bytes,
        body: request.into_body().into_data_stream(),
    })
}

async fn download(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let Some(download) = image::download(&app.cx, &actor, image_id(&id)?).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let size = u64::try_from(download.content.size_bytes).unwrap_or_default();
    match headers.get(RANGE) {
        None => whole(download, size),
        Some(wanted) => match range::parse(wanted.to_str().unwrap_or_default(), size) {
            Ok(part) => piece(download, part, size).await,
            Err(()) => Ok(not_satisfiable(size)),
        },
    }
}

fn whole(download: Download, size: u64) -> Answer {
    let Download { file, content } = download;
    let headers = [
        (CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (CONTENT_LENGTH.as_str(), size.to_string()),
        (ACCEPT_RANGES.as_str(), "bytes".to_owned()),
        ("content-md5", content.md5),
    ];
    Ok((
        headers,
        Body::from_stream(ReaderStream::with_capacity(file, PIECE_BYTES)),
    )
        .into_response())
}

async fn piece(download: Download, part: Part, size: u64) -> Answer {
    let Download { mut file, content } = download;
    file.seek(SeekFrom::Start(part.first))
        .await
        .map_err(|error| Failure::outside("reading an image file", error))?;
    let headers = [
        (CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (CONTENT_LENGTH.as_str(), part.length().to_string()),
        (
            CONTENT_RANGE.as_str(),
            format!("bytes {}-{}/{size}", part.first, part.last),
        ),
        ("content-md5", content.md5),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(
        file.take(part.length()),
        PIECE_BYTES,
    ));
    Ok((StatusCode::PARTIAL_CONTENT, headers, body).into_response())
}

fn not_satisfiable(size: u64) -> Response {
    let refusal = Refusal::range_not_satisfiable(format!(
        "The Range header names no single part of the image, which has {size} bytes: ask for one as bytes=FIRST-LAST."
    ));
    let mut response = Problem::from(refusal).into_response();
    if let Ok(value) = format!("bytes */{size}").parse() {
        response.headers_mut().insert(CONTENT_RANGE, value);
    }
    response
}
