//! Unknown paths: a client is told whether it asks for something that this version does not support, has a wrong base
//! URL, or uses a method that the path does not have; and it is told so in the form that it reads.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::gateway::Gateway;

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

async fn asked(client: &Client, method: Method, path: &str) -> Reply {
    client.send(method, path, "{}").await.expect("an answer")
}

/// Returns an error in OpenAI's form.
fn openai_error(reply: &Reply) -> Value {
    let body = reply.json();
    assert_eq!(fields(&body), BTreeSet::from(["error"]), "{body}");
    assert!(fields(&body["error"]).is_superset(&BTreeSet::from(["code", "message", "param", "type"])), "{body}");
    body["error"].clone()
}

/// Returns an error in Anthropic's form.
fn anthropic_error(reply: &Reply) -> Value {
    let body = reply.json();
    assert_eq!(fields(&body), BTreeSet::from(["error", "request_id", "type"]), "{body}");
    assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!(reply.request_id())), "{body}");
    assert_eq!(reply.header("request-id"), reply.request_id());
    body["error"].clone()
}

fn message(error: &Value) -> &str {
    error["message"].as_str().expect("a message")
}

/// Holds: http.unsupported
#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_a_vendors_api_that_is_not_supported_says_so_and_what_is() {
    let gateway = Gateway::start();
    let document = gateway.client(None).get("/openapi.json").await.must(200).json();
    let operator = gateway.operator();
    for (path, name) in [
        ("responses/resp_1", "stored responses"),
        ("chat/completions/chatcmpl-1", "stored Chat Completions"),
        ("images/generations", "images"),
        ("audio/speech", "speech"),
        ("files", "Files API"),
        ("batches", "Batch API"),
        ("fine_tuning/jobs", "fine-tuning"),
        ("assistants", "Assistants API"),
        ("threads/t/runs", "Assistants API"),
        ("moderations", "moderations"),
        ("realtime", "Realtime API"),
        ("rerank", "reranking"),
    ] {
        for root in ["/v1/", "/oai/v1/"] {
            let reply = asked(operator, Method::POST, &format!("{root}{path}")).await.must(404);
            let error = openai_error(&reply);
            assert!(message(&error).contains("does not support") && message(&error).contains(name), "{error}");
            let supported = error["details"]["supported"].as_array().expect("a list");
            assert!(!supported.is_empty());
            for one in supported {
                let (method, path) = one.as_str().and_then(|one| one.split_once(' ')).expect("a method and a path");
                assert!(document["paths"][path][method.to_lowercase()].is_object(), "{one} is not there");
                assert!(message(&error).contains(path), "{error} does not name {path}");
            }
        }
    }
    for (path, name) in [("/v1/messages/batches", "Message Batches"), ("/v1/complete", "Text Completions")] {
        for method in [Method::POST, Method::GET] {
            let reply = asked(operator, method, path).await.must(404);
            let error = anthropic_error(&reply);
            assert_eq!(error["type"], "not_found_error");
            assert!(message(&error).contains("does not support") && message(&error).contains(name), "{error}");
            assert!(message(&error).contains("/v1/messages"), "{error}");
        }
    }
    let nobody = anthropic_error(&asked(&gateway.client(None), Method::POST, "/v1/messages").await.must(401));
    assert_eq!(nobody["type"], "authentication_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_url_is_said_to_be_one() {
    let gateway = Gateway::start();
    for (path, says) in [
        ("/chat/completions", "ends in /v1"),
        ("/v1/nothing", "ends in /v1"),
        ("/v1/v1/chat/completions", "has /v1 twice"),
        ("/oai/v1/v1/models", "has /v1 twice"),
        ("/v1/chat/completions/", "ends in a slash"),
    ] {
        let error = asked(gateway.operator(), Method::POST, path).await.must(404).json()["error"].clone();
        assert!(message(&error).contains(says), "{path}: {error}");
        assert!(!message(&error).contains("not support"), "{path}: {error}");
    }
    let twice = anthropic_error(&asked(gateway.operator(), Method::POST, "/v1/v1/messages").await.must(404));
    assert!(message(&twice).contains("has /v1 twice"), "{twice}");
}

/// Holds: http.methods
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has() {
    let gateway = Gateway::start();
    for (method, path, allowed) in [
        (Method::GET, "/v1/chat/completions", vec!["POST"]),
        (Method::GET, "/oai/v1/chat/completions", vec!["POST"]),
        (Method::DELETE, "/v1/models", vec!["GET", "HEAD"]),
        (Method::PUT, "/v1/admin/keys", vec!["GET", "HEAD", "POST"]),
        (Method::POST, "/v1/log/head", vec!["GET", "HEAD"]),
    ] {
        let reply = asked(gateway.operator(), method.clone(), path).await.must(405);
        let mut named: Vec<String> = reply.header("allow").split(',').map(|name| name.trim().to_owned()).collect();
        named.sort();
        assert_eq!(named, allowed, "{method} {path}");
        let error = reply.json()["error"].clone();
        let mut said: Vec<String> = serde_json::from_value(error["details"]["allowed"].clone()).expect("a list");
        said.sort();
        assert_eq!(said, allowed, "{error}");
        assert!(message(&error).contains(method.as_str()), "{error}");
        assert!(allowed.iter().all(|name| message(&error).contains(name)), "{error}");
    }
}
