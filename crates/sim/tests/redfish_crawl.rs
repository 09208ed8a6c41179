//! The simulated Redfish service from end to end: each link leads somewhere, and no odd request is an error of the service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bmcs;

use bmcs::Rack;
use bmcs::asker::{Asker, header, json_of};
use corten_sim::redfish::Shape;
use serde_json::{Value, json};

/// Each path that a document leads to: links, and where actions are described.
fn links_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(path)
                        if matches!(
                            key.as_str(),
                            "@odata.id" | "Uri" | "@Redfish.ActionInfo" | "TaskMonitor"
                        ) =>
                    {
                        found.push(
                            path.split('#')
                                .next()
                                .unwrap()
                                .trim_end_matches('/')
                                .to_owned(),
                        );
                    }
                    other => links_in(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| links_in(item, found)),
        _ => {}
    }
}

/// Values that no property has, and what a JSON document can hold besides.
fn odd() -> Vec<Value> {
    vec![
        json!(null),
        json!(-7.5),
        json!("\u{0}?"),
        json!([[{}]]),
        json!({"?": [null]}),
        json!(true),
        json!(u64::MAX),
    ]
}

#[tokio::test]
async fn each_link_leads_somewhere_and_no_oddity_is_an_error_of_the_service() {
    let shapes: Vec<&str> = Shape::all().map(Shape::name).collect();
    let rack = Rack::start(&shapes).await;
    let admin = Asker::of(&rack);
    let update = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let image =
        json!({"ImageURI": "http://10.0.0.9/bmc-2.0.bin", "Targets": ["/redfish/v1/Managers/1"]});
    assert_eq!(admin.post(update, image).await.status(), 202);
    // Another account than the one that asks, which would lock itself out with a new name.
    let accounts = "/redfish/v1/AccountService/Accounts";
    let own = format!("{accounts}/1");
    let other = json!({"UserName": "other", "Password": "correct-horse", "RoleId": "ReadOnly"});
    assert_eq!(admin.post(accounts, other).await.status(), 201);
    let mut next = vec!["/redfish/v1".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    let mut targets = 0;
    while let Some(path) = next.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = admin.get(&path).await;
        assert!(answer.status().is_success(), "{path}: {answer:?}");
        let is_set = header(&answer, "allow").contains("PATCH");
        let document = json_of(answer).await;
        links_in(&document, &mut next);
        for (key, value) in document.as_object().unwrap() {
            for odd in odd().into_iter().filter(|_| is_set && path != own) {
                let answer = admin.patch(&path, json!({key: odd})).await;
                assert!(
                    answer.status().as_u16() < 500,
                    "{path} {key} {odd}: {answer:?}"
                );
                if value.is_object() {
                    let inner = value
                        .as_object()
                        .unwrap()
                        .keys()
                        .next()
                        .cloned()
                        .unwrap_or_default();
                    let answer = admin.patch(&path, json!({key: {inner: odd}})).await;
                    assert!(
                        answer.status().as_u16() < 500,
                        "{path} {key} {odd}: {answer:?}"
                    );
                }
            }
        }
        for action in document["Actions"].as_object().into_iter().flatten() {
            let target = action.1["target"].as_str().unwrap();
            targets += 1;
            for odd in odd() {
                for key in ["ResetType", "Image", "ImageURI", "Targets"] {
                    let answer = admin.post(target, json!({key: odd})).await;
                    let code = answer.status().as_u16();
                    assert!(code < 500, "{target} {key} {odd}: {answer:?}");
                }
            }
        }
    }
    assert!(
        seen.len() > 200 && targets > 30,
        "{} documents, {targets} actions",
        seen.len()
    );
}
