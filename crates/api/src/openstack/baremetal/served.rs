//! What the handlers of all resources share: the call that they are given, and how it is shown one, a page and a change.

use super::kit::{SortKeys, ident, ident_since, page, wanted};
use super::patch::Patch;
use super::schema::{Schema, Wanted};
use super::version::Version;
use crate::app::App;
use crate::auth::Caller;
use crate::params::{BaseUrl, Params};
use crate::problem::Problem;
use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use corten_iam::actor::Actor;
use corten_model::refusal::Refusal;
use corten_operations::Context;
use corten_operations::metal::{Ident, Page};
use corten_store::metal::Resource;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Who asks, in which version, for what.
pub struct Call {
    pub app: App,
    pub actor: Actor,
    pub version: Version,
    /// Where this cloud was asked: `http://127.0.0.1:8774`.
    pub base: String,
    pub params: Params,
}

impl FromRequestParts<App> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Caller(actor) = Caller::from_request_parts(parts, app).await?;
        let BaseUrl(base) = BaseUrl::from_request_parts(parts, app).await?;
        let Ok(version) = Version::from_request_parts(parts, app).await;
        let Ok(params) = Params::from_request_parts(parts, app).await;
        Ok(Self {
            app: app.clone(),
            actor,
            version,
            base,
            params,
        })
    }
}

/// A resource as this service serves it.
pub trait Served: Resource {
    const SCHEMA: Schema;
    const SORT_KEYS: SortKeys;

    /// All that can be said of it.
    fn document(&self, base: &str) -> Map<String, Value>;

    /// It with what a document says of it.
    fn edited(&self, document: Map<String, Value>) -> Result<Self, Refusal>;
}

/// A list: its page, and how much is shown of each.
pub struct Listing {
    pub page: Page,
    pub wanted: Wanted,
}

impl Call {
    pub fn cx(&self) -> &Arc<Context> {
        &self.app.cx
    }

    /// What a path or a parameter names.
    pub fn ident(&self, text: &str) -> Ident {
        ident(self.version, text)
    }

    /// The same where names came with a version of their own.
    pub fn ident_since(&self, minor: u16, text: &str) -> Ident {
        ident_since(self.version, minor, text)
    }

    /// What the parameters ask for. `detailed`: everything is shown unless they say otherwise.
    pub fn listing(
        &self,
        schema: &Schema,
        sort_keys: SortKeys,
        detailed: bool,
    ) -> Result<Listing, Refusal> {
        let sort_key = self.params.get("sort_key");
        if let Some(since) = sort_key.and_then(|key| schema.since(key)) {
            self.version
                .acceptable_from(since, "The attribute that 'sort_key' names")?;
        }
        Ok(Listing {
            page: page(&self.params, sort_keys)?,
            wanted: wanted(self.version, &self.params, schema, detailed)?,
        })
    }

    pub fn listing_of<T: Served>(&self, detailed: bool) -> Result<Listing, Refusal> {
        self.listing(&T::SCHEMA, T::SORT_KEYS, detailed)
    }

    /// A page of views, with the way to the next one. `path` is that of the list.
    pub fn page(
        &self,
        (collection, path): (&str, &str),
        page: &Page,
        views: Vec<Map<String, Value>>,
        last: Option<String>,
    ) -> Json<Value> {
        let full = views.len() == page.limit;
        let mut answer = json!({ collection: views });
        if let Some(last) = last.filter(|_| full) {
            let limit = page.limit.to_string();
            let next = [("limit", Some(limit.as_str())), ("marker", Some(&last))];
            let query = self.params.with(&next);
            answer["next"] = format!("{}/baremetal/v1/{path}?{query}", self.base).into();
        }
        Json(answer)
    }

    pub fn page_of<T: Served>(
        &self,
        place: (&str, &str),
        listing: &Listing,
        found: &[T],
    ) -> Json<Value> {
        let view =
            |one: &T| T::SCHEMA.view(self.version, one.document(&self.base), &listing.wanted);
        let last = found.last().map(T::id);
        self.page(place, &listing.page, found.iter().map(view).collect(), last)
    }

    /// One resource, or what the parameters want of it.
    pub fn shown(
        &self,
        schema: &Schema,
        document: Map<String, Value>,
    ) -> Result<Json<Value>, Refusal> {
        let wanted = match self.params.get("fields") {
            Some(fields) => schema.wanted(self.version, fields)?,
            None => Wanted::All,
        };
        let view = schema.view(self.version, document, &wanted);
        Ok(Json(Value::Object(view)))
    }

    pub fn shown_of<T: Served>(&self, found: &T) -> Result<Json<Value>, Refusal> {
        self.shown(&T::SCHEMA, found.document(&self.base))
    }

    /// What was changed, whole.
    pub fn whole<T: Served>(&self, changed: &T) -> Json<Value> {
        let document = changed.document(&self.base);
        let view = T::SCHEMA.view(self.version, document, &Wanted::All);
        Json(Value::Object(view))
    }

    /// What was made, whole.
    pub fn made<T: Served>(&self, made: &T) -> (StatusCode, Json<Value>) {
        (StatusCode::CREATED, self.whole(made))
    }

    /// The document of a new resource: the usual values with those of the request over them.
    pub fn requested<T: Served>(
        &self,
        usual: &T,
        body: Map<String, Value>,
    ) -> Result<Map<String, Value>, Refusal> {
        T::SCHEMA.new_document(self.version, usual.document(&self.base), body)
    }

    /// A resource after the patch that a request is.
    pub fn patched<T: Served>(&self, before: &T, body: Value) -> Result<T, Refusal> {
        let patch = Patch::read(body)?;
        let document = before.document(&self.base);
        before.edited(T::SCHEMA.patched_document(self.version, document, &patch)?)
    }
}
