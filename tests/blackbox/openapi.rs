//! `/openapi.json`: all that the gateway answers, and nothing else.

mod compatibility;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use http::Method;
use serde_json::Value;

use crate::client::{Client, Reply};
use crate::gateway::Gateway;

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

async fn document(gateway: &Gateway) -> Value {
    gateway.client(None).get("/openapi.json").await.must(200).json()
}

/// A path that nothing is at, but that a route answers for.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nothing" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn asked(client: &Client, method: &str, path: &str) -> Reply {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let body = if method == Method::GET { "" } else { "{}" };
    client.send(method, &filled(path), body).await.expect("an answer")
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("a path");
        item.iter().map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    methods.collect()
}

/// Holds: query.openapi
#[tokio::test(flavor = "multi_thread")]
async fn every_described_method_is_answered_and_no_other_is() {
    let gateway = Gateway::start();
    let document = document(&gateway).await;
    let described: BTreeSet<(String, String)> =
        operations(&document).iter().map(|(path, method, _)| ((*path).to_owned(), method.to_uppercase())).collect();
    assert!(described.len() > 50, "{}", described.len());
    let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
    for path in paths {
        for method in METHODS {
            let reply = asked(gateway.operator(), method, path).await;
            let is_described = described.contains(&(path.clone(), method.to_owned()));
            assert_eq!(reply.status != 405, is_described, "{method} {path}: {}", reply.status);
            let no_such_path = String::from_utf8_lossy(&reply.body).contains("there is no such path");
            assert!(!no_such_path, "{method} {path}");
        }
    }
}

/// Holds: query.openapi
#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole_and_the_same_after_a_restart() {
    let mut gateway = Gateway::start();
    let reply = gateway.client(None).get("/openapi.json").await;
    assert_eq!(reply.headers["content-type"], "application/json");
    let document: Value = serde_json::from_slice(&reply.body).expect("JSON");
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1."));
    for reference in references(&document) {
        let pointer = reference.strip_prefix('#').expect("a place in the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let ids: Vec<&str> =
        operations(&document).iter().map(|(.., operation)| operation["operationId"].as_str().expect("an id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    gateway.kill();
    gateway.start_again();
    let again = gateway.client(None).get("/openapi.json").await;
    assert!(again.body == reply.body, "it differs");
}

/// Holds: query.openapi
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_exactly_where_the_document_says_so() {
    let gateway = Gateway::start();
    let document = document(&gateway).await;
    for (path, method, operation) in operations(&document) {
        let reply = asked(&gateway.client(None), &method.to_uppercase(), path).await;
        assert_eq!(reply.status == 401, operation.get("security").is_some(), "{method} {path}: {}", reply.status);
        let status = reply.status.to_string();
        assert!(operation["responses"].get(&status).is_some(), "{method} {path}: {status} is not described");
    }
}

/// Whatever is under `$ref`.
fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// `releases/{version}/openapi.json`: what a release was described as. The next one adds a folder.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_made_for_a_release_still_works() {
    let gateway = Gateway::start();
    let present = document(&gateway).await;
    let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("releases");
    let mut compared = 0;
    for release in fs::read_dir(releases).expect("releases") {
        let folder = release.expect("a release").path();
        if !folder.is_dir() {
            continue;
        }
        let path = folder.join("openapi.json");
        let text = fs::read(&path).expect("its description");
        let released: Value = serde_json::from_slice(&text).expect("JSON");
        let broken = compatibility::broken(&released, &present);
        assert!(broken.is_empty(), "{}: {broken:#?}", path.display());
        compared += 1;
    }
    assert!(compared > 0);
}
