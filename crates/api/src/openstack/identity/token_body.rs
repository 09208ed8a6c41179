//! A token and its catalog as Keystone shows them.

use corten_iam::catalog::CatalogEntry;
use corten_iam::{ScopeView, TokenView};
use corten_model::ids::DomainId;
use serde_json::{Value, json};

pub fn catalog(entries: &[CatalogEntry]) -> Value {
    entries
        .iter()
        .map(|entry| {
            let endpoints: Vec<Value> = entry
                .endpoints
                .iter()
                .map(|endpoint| {
                    json!({
                        "id": endpoint.id,
                        "interface": endpoint.interface,
                        "region_id": endpoint.region_id,
                        "region": endpoint.region_id,
                        "url": endpoint.url,
                    })
                })
                .collect();
            json!({"id": entry.id, "type": entry.kind, "name": entry.name, "endpoints": endpoints})
        })
        .collect()
}

fn reference(reference: &corten_iam::Reference<DomainId>) -> Value {
    json!({"id": reference.id, "name": reference.name})
}

/// The body of a token; `entries` is `None` where the caller asked for none (`?nocatalog`).
pub fn token(view: &TokenView, entries: Option<&[CatalogEntry]>) -> Value {
    let user = &view.user;
    let mut token = json!({
        "methods": view.methods,
        "user": {
            "id": user.id,
            "name": user.name,
            "domain": reference(&user.domain),
            "password_expires_at": user.password_expires_at.map(|moment| moment.micros_bare()),
        },
        "audit_ids": view.audit_ids,
        "issued_at": view.issued_at.micros_z(),
        "expires_at": view.expires_at.micros_z(),
    });
    match &view.scope {
        ScopeView::Unscoped => {}
        ScopeView::Project(project) => {
            token["project"] = json!({"id": project.id, "name": project.name, "domain": reference(&project.domain)});
            token["is_domain"] = json!(false);
        }
        ScopeView::Domain(domain) => token["domain"] = reference(domain),
        ScopeView::System => token["system"] = json!({"all": true}),
    }
    if !view.is_unscoped() {
        token["roles"] = view
            .roles
            .iter()
            .map(|role| json!({"id": role.id, "name": role.name}))
            .collect();
        if let Some(entries) = entries {
            token["catalog"] = catalog(entries);
        }
    }
    if let Some(credential) = &view.application_credential {
        token["application_credential"] = json!({"id": credential.id, "name": credential.name, "restricted": credential.restricted});
        if let Some(rules) = &credential.access_rules {
            token["application_credential"]["access_rules"] = rules
                .iter()
                .map(|rule| json!({"id": rule.id, "service": rule.service, "method": rule.method, "path": rule.path}))
                .collect();
        }
    }
    if let Some(trust) = &view.trust {
        token["OS-TRUST:trust"] = json!({
            "id": trust.id,
            "impersonation": trust.impersonation,
            "trustor_user": {"id": trust.trustor_user_id},
            "trustee_user": {"id": trust.trustee_user_id},
        });
    }
    json!({"token": token})
}
