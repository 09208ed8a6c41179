//! What was sent: a JSON body, read strictly, with an error that says where it is wrong.

use crate::problem::Problem;
use crate::strict::Strict;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use corten_model::refusal::Refusal;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// No request body that is not an image is larger than this.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A JSON request body.
pub struct Body<T>(pub T);

impl<T, S> FromRequest<S> for Body<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        if let Some(content_type) = content_type
            && !content_type.to_ascii_lowercase().contains("json")
        {
            return Err(Refusal::unsupported_media(format!(
                "The body's Content-Type is '{content_type}'; this call takes application/json."
            ))
            .into());
        }
        let bytes = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES)
            .await
            .map_err(|_| {
                Refusal::too_large(format!(
                    "The request body is larger than {MAX_BODY_BYTES} bytes."
                ))
            })?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads JSON; the refusal names the place and what was expected there.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::invalid(
            "The request body is empty; a JSON object is expected.",
        ));
    }
    if bytes.windows(6).any(|part| part == br"\u0000") {
        return Err(Refusal::invalid(
            "Malformed request body: no text of this API may hold the character U+0000.",
        ));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|cause| {
        Refusal::invalid(format!("Malformed request body: not valid JSON: {cause}"))
    })?;
    read(value)
}

/// Reads a JSON value; the refusal names the place and what was expected there.
pub fn read<T: DeserializeOwned>(value: Value) -> Result<T, Refusal> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let place = error.path().to_string();
        let field = if place == "." {
            "the body".to_owned()
        } else {
            format!("field/attribute {place}")
        };
        Refusal::invalid(format!("Invalid input for {field}. {}", error.into_inner()))
    })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Server {
        #[allow(dead_code)]
        name: String,
    }

    #[derive(Debug, Deserialize)]
    struct Create {
        #[allow(dead_code)]
        server: Server,
    }

    fn refused(text: &str) -> String {
        parse::<Create>(text.as_bytes()).unwrap_err().message
    }

    #[test]
    fn a_wrong_body_is_refused_with_the_place_and_the_rule() {
        assert!(refused("").contains("empty"));
        assert!(refused(r#"{"server": {"name": "a\u0000"}}"#).contains("U+0000"));
        assert!(refused("{").contains("not valid JSON"));
        assert!(refused(r#"[{"name": "a"}]"#).starts_with("Invalid input for the body. "));
        let listed = refused(r#"{"server": ["a"]}"#);
        assert!(
            listed.starts_with("Invalid input for field/attribute server. "),
            "{listed}"
        );
        assert!(listed.contains("an object is expected"), "{listed}");
        assert!(
            refused(r#"{"server": {"name": 7}}"#)
                .starts_with("Invalid input for field/attribute server.name.")
        );
        assert!(
            refused(r#"{"server": {"name": "a", "colour": 1}}"#).contains("unknown field `colour`")
        );
        assert!(refused(r#"{"server": {"name": "a"}} x"#).contains("not valid JSON"));
    }
}
