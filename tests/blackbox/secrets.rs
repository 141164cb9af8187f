//! What must never be written down.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::gateway::{Gateway, OPERATOR_KEY};
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Tenant};
use crate::upstream::{MockUpstream, TEXT};

const PROMPT: &str = "the-canary-prompt-5e0d";
const PERSON: &str = "Canary Q. Person";

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_file_or_output_and_no_prompt_in_any_event() {
    let (mut gateway, upstream) = (Gateway::start_with(&[("RUST_LOG", "trace")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "leaky", "e500"]).await;
    let person = json!({ "tenant_id": tenant.id, "name": PERSON, "email": "canary.person@example.com" });
    gateway.operator().post("/v1/admin/users", &person).await.must(201);
    let rotated = gateway.operator().post(&format!("/v1/admin/keys/{}/rotate", tenant.key), &json!({})).await.json();
    let rotated = rotated["secret"].as_str().expect("a secret").to_owned();
    let app = gateway.client(Some(&rotated));
    for model in ["ok", "leaky", "e500"] {
        let mut body = tenant.ask(model);
        body["messages"][0]["content"] = json!(PROMPT);
        app.post(NATIVE, &body).await;
        app.post(OPENAI, &body).await;
        body["stream"] = json!(true);
        app.stream(OPENAI, &body).await.expect("a stream").rest().await;
    }
    gateway.client(Some("sgk_canary_garbage_0123456789")).get("/v1/models").await.must(401);
    let events = serde_json::to_string(&gateway.events().await).expect("JSON");
    let metrics = gateway.client(None).get("/metrics").await;
    let resources = [
        gateway.operator().get(&format!("/v1/admin/keys/{}", tenant.key)).await,
        gateway.operator().get(&format!("/v1/admin/providers/{}", tenant.provider)).await,
        metrics,
    ];
    gateway.stop();

    let mut places: Vec<(String, Vec<u8>)> =
        vec![("events".into(), events.clone().into()), ("stdout".into(), gateway.stdout().into())];
    places.push(("stderr".into(), gateway.stderr().into()));
    places.extend(resources.into_iter().map(|reply| ("an answer".to_owned(), reply.body.to_vec())));
    collect(&gateway.data(), &mut places);
    let secrets = [tenant.secret.as_str(), &rotated, PROVIDER_SECRET, OPERATOR_KEY];
    for (place, bytes) in &places {
        for secret in secrets {
            assert!(!contains(bytes, secret), "the secret {}… is in {place}", &secret[..8]);
        }
    }
    for words in [PROMPT, TEXT, PERSON, "canary.person@example.com"] {
        assert!(!events.contains(words), "{words:?} is in an event");
        assert!(!gateway.stderr().contains(words), "{words:?} is in the log of the process");
    }
}

fn collect(folder: &Path, places: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("the data folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, places);
        } else {
            places.push((path.display().to_string(), fs::read(&path).expect("a readable file")));
        }
    }
}

fn contains(bytes: &[u8], words: &str) -> bool {
    bytes.windows(words.len()).any(|window| window == words.as_bytes())
}
