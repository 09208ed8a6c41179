//! `/os-keypairs`.

use super::input;
use super::microversion::Microversion;
use super::paging::{MAX_LIMIT, Page, only};
use crate::app::App;
use crate::auth::Caller;
use crate::body::Body;
use crate::params::{BaseUrl, Params};
use crate::problem::Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corten_model::ids::UserId;
use corten_model::refusal::Refusal;
use corten_operations::keypair::{self, NewKeyPair};
use corten_store::keypairs::{KeyKind, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/os-keypairs", get(index).post(create))
        .route("/os-keypairs/{name}", get(show).delete(delete))
}

/// The fields that every answer has.
fn view(key_pair: &KeyPair, mv: Microversion) -> Value {
    let mut view = json!({
        "name": key_pair.name,
        "public_key": key_pair.public_key,
        "fingerprint": key_pair.fingerprint,
    });
    if mv.at_least(2) {
        view["type"] = json!(key_pair.kind.as_str());
    }
    view
}

/// The user that an administrator asks about, from 2.10 on.
fn user_of(params: &Params, mv: Microversion) -> Option<UserId> {
    let user = params
        .0
        .iter()
        .find(|(name, _)| name == "user_id" && mv.at_least(10));
    user.map(|(_, id)| UserId(id.clone()))
}

async fn index(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    base: BaseUrl,
    params: Params,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(&params, &["user_id", "limit", "marker"])?;
    }
    let page = if mv.at_least(35) {
        Page::of(&params)?
    } else {
        Page {
            limit: MAX_LIMIT,
            marker: None,
        }
    };
    let user = user_of(&params, mv);
    let found = keypair::list(&app.cx, &actor, user, page.marker.as_deref(), page.limit).await?;
    let views: Vec<_> = found
        .iter()
        .map(|key_pair| json!({"keypair": view(key_pair, mv)}))
        .collect();
    let mut body = json!({"keypairs": views});
    let last = found.last().map(|key_pair| key_pair.name.clone());
    if mv.at_least(35)
        && let Some(next) = page.next(&base.0, "os-keypairs", &params, found.len(), last)
    {
        body["keypairs_links"] = next;
    }
    Ok(Json(body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    keypair: CreateKeyPair,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateKeyPair {
    name: String,
    #[serde(rename = "type")]
    kind: Option<KeyKind>,
    public_key: Option<String>,
    user_id: Option<UserId>,
}

impl CreateKeyPair {
    fn checked(self, mv: Microversion) -> Result<NewKeyPair, Refusal> {
        let Self {
            name,
            kind,
            public_key,
            user_id,
        } = self;
        mv.takes_from(2, "type", kind.is_some())?;
        mv.takes_from(10, "user_id", user_id.is_some())?;
        if mv.at_least(92) && public_key.is_none() {
            return Err(Refusal::invalid(
                "Invalid input for field/attribute keypair. 'public_key' is a required property: from 2.92 on key \
                 pairs are made by their users and only imported here (ssh-keygen -t ed25519).",
            ));
        }
        Ok(NewKeyPair {
            user_id,
            name: key_name(&name, mv)?,
            kind: kind.unwrap_or(KeyKind::Ssh),
            public_key,
        })
    }
}

/// Letters, digits, spaces, dashes and underscores; dots and at signs from 2.92.
fn key_name(text: &str, mv: Microversion) -> Result<String, Refusal> {
    let name = input::name("name", text)?;
    let legal = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, ' ' | '-' | '_')
            || (mv.at_least(92) && matches!(c, '.' | '@'))
    };
    if let Some(wrong) = name.chars().find(|c| !legal(*c)) {
        return Err(Refusal::invalid(format!(
            "Invalid input for field/attribute name. Value: {name}. Keypair name contains unsafe characters: '{wrong}'"
        )));
    }
    Ok(name)
}

async fn create(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    Body(body): Body<CreateBody>,
) -> Answer<(StatusCode, Json<Value>)> {
    let created = keypair::create(&app.cx, &actor, body.keypair.checked(mv)?).await?;
    let mut view = view(&created.key_pair, mv);
    view["user_id"] = json!(created.key_pair.user_id);
    if let Some(private_key) = created.private_key {
        view["private_key"] = json!(private_key);
    }
    let status = if mv.at_least(2) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(json!({"keypair": view}))))
}

async fn show(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    if mv.at_least(75) {
        only(&params, &["user_id"])?;
    }
    let key_pair = keypair::show(&app.cx, &actor, user_of(&params, mv), &name).await?;
    let mut view = view(&key_pair, mv);
    view["user_id"] = json!(key_pair.user_id);
    view["id"] = json!(key_pair.number);
    view["created_at"] = json!(key_pair.created_at.micros_bare());
    view["deleted"] = json!(false);
    view["deleted_at"] = Value::Null;
    view["updated_at"] = Value::Null;
    Ok(Json(json!({"keypair": view})))
}

async fn delete(
    State(app): State<App>,
    Caller(actor): Caller,
    mv: Microversion,
    params: Params,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    if mv.at_least(75) {
        only(&params, &["user_id"])?;
    }
    keypair::delete(&app.cx, &actor, user_of(&params, mv), &name).await?;
    Ok(if mv.at_least(2) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::ACCEPTED
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, minor: u16) -> Result<NewKeyPair, Refusal> {
        crate::body::parse::<CreateBody>(text.as_bytes())?
            .keypair
            .checked(Microversion::of(minor))
    }

    #[test]
    fn keys_are_made_below_2_92_and_only_imported_from_then_on() {
        // K73
        let generate = r#"{"keypair": {"name": "k"}}"#;
        assert!(parse(generate, 91).unwrap().public_key.is_none());
        assert!(
            parse(generate, 92)
                .unwrap_err()
                .message
                .contains("public_key")
        );
        assert!(
            parse(
                r#"{"keypair": {"name": "k", "public_key": "ssh-rsa A"}}"#,
                92
            )
            .is_ok()
        );
    }

    #[test]
    fn fields_and_characters_come_with_their_versions() {
        assert!(parse(r#"{"keypair": {"name": "k", "type": "x509"}}"#, 1).is_err());
        assert_eq!(
            parse(r#"{"keypair": {"name": "k", "type": "x509"}}"#, 2)
                .unwrap()
                .kind,
            KeyKind::X509
        );
        assert!(parse(r#"{"keypair": {"name": "k", "user_id": "u"}}"#, 9).is_err());
        assert!(parse(r#"{"keypair": {"name": "k", "type": "dsa"}}"#, 2).is_err());
        assert!(parse(r#"{"keypair": {"name": "me@home", "public_key": "x"}}"#, 91).is_err());
        assert!(parse(r#"{"keypair": {"name": "me@home", "public_key": "x"}}"#, 92).is_ok());
        assert!(
            parse(
                r#"{"keypair": {"name": "key\\/.@:", "public_key": "x"}}"#,
                1
            )
            .is_err()
        );
    }
}
