//! Secrets that must never be written down or told: every file of the data folder, both outputs at their most
//! talkative, and every answer are gone through for every secret, as it is, in hexadecimal and in base64.

pub mod forms;

use std::fs;
use std::path::Path;

use serde_json::json;
use testing::upstream::{MockUpstream, TEXT};

use crate::client::Reply;
use crate::gateway::{Gateway, OPERATOR_KEY};
use crate::tenant::{NATIVE, OPENAI, PROVIDER_SECRET, Tenant};
use forms::Wanted;

const PROMPT: &str = "the-canary-prompt-5e0d";
const PERSON: &str = "Canary Q. Person";
const EMAIL: &str = "canary.person@example.com";
const HEADER_SECRET: &str = "canary-header-value-93a1c4";
const HEADER_KEY: &str = "sk-canary-41d8c07be95f2a63";
const SEALED_HEADER: &str = "canary-sealed-header-60bd17e2";
const URL_SECRET: &str = "canary-url-password-77f0";
const NEVER_A_KEY: &str = "sgk_canary_garbage_0123456789";

/// Where something may have been written, and what.
pub struct Place {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Everything that the gateway has written and said until now.
fn places(gateway: &Gateway) -> Vec<Place> {
    let mut places = vec![
        Place { name: "stdout".to_owned(), bytes: gateway.stdout().into() },
        Place { name: "stderr".to_owned(), bytes: gateway.stderr().into() },
        Place { name: "answers".to_owned(), bytes: gateway.heard().so_far() },
    ];
    collect(&gateway.data(), &mut places);
    places
}

pub fn collect(folder: &Path, places: &mut Vec<Place>) {
    for entry in fs::read_dir(folder).expect("the data folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, places);
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            places.push(Place { name, bytes: fs::read(&path).expect("a readable file") });
        }
    }
}

/// That it stands nowhere but where it belongs.
fn must_be_nowhere_but(places: &[Place], secret: &str, home: &[&str]) {
    let wanted = Wanted::new(secret);
    for place in places.iter().filter(|place| !home.contains(&place.name.as_str())) {
        if let Some(form) = wanted.form_in(&place.bytes) {
            panic!("{}… is in {} ({form})", &secret[..secret.len().min(10)], place.name);
        }
    }
}

/// The reply that gives a key, once; what it gives, and the part of it that nobody could guess.
fn given(gateway: &Gateway, reply: &Reply, keys: &mut Vec<String>) -> String {
    let secret = reply.json()["secret"].as_str().expect("a secret").to_owned();
    let told = Wanted::new(&secret).times_as_it_is(&gateway.heard().so_far());
    assert_eq!(told, 1, "told more than once");
    keys.push(secret.clone());
    keys.push(secret.rsplit('_').next().expect("a last part").to_owned());
    secret
}

/// Holds: event.nothing-personal, http.key-shown-once, http.upstream-words, admin.headers, admin.sealed, query.audit-origin
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_file_output_or_answer_and_no_prompt_or_person_where_it_does_not_belong() {
    let (mut gateway, upstream) = (Gateway::start_with(&[("RUST_LOG", "trace")]), MockUpstream::start().await);
    gateway.heard().begin();
    let tenant = Tenant::new(&gateway, &upstream, &["ok", "leaky", "e500", "cut"]).await;
    let mut keys = vec![tenant.secret.clone(), tenant.secret.rsplit('_').next().expect("a last part").to_owned()];
    let rotate = format!("/v1/admin/keys/{}/rotate", tenant.key);
    let rotated = given(&gateway, &gateway.operator().post(&rotate, &json!({})).await.must(200), &mut keys);
    let again = gateway.operator().clone().with("idempotency-key", "canary-1");
    let key = json!({ "user_id": tenant.user, "name": "retried", "permissions": ["models:use", "usage:read"] });
    given(&gateway, &again.post("/v1/admin/keys", &key).await.must(201), &mut keys);
    assert!(again.post("/v1/admin/keys", &key).await.must(201).json()["secret"].is_null(), "a retry gave it again");

    administer(&gateway, &tenant).await;
    ask(&gateway, &tenant, &rotated).await;
    read_everything(&gateway, &tenant).await;

    let served = places(&gateway);
    gateway.stop();
    let node_key = fs::read_to_string(gateway.data().join("node.key")).expect("the node's key").trim().to_owned();
    for places in [served, places(&gateway)] {
        for given in [OPERATOR_KEY, PROVIDER_SECRET, HEADER_SECRET, HEADER_KEY, SEALED_HEADER, URL_SECRET, NEVER_A_KEY]
        {
            must_be_nowhere_but(&places, given, &[]);
        }
        must_be_nowhere_but(&places, &node_key, &["node.key"]);
        for key in &keys {
            // Each was told once, in the answer that made it.
            must_be_nowhere_but(&places, key, &["answers"]);
        }
        must_be_nowhere_but(&places, PROMPT, &[]);
        must_be_nowhere_but(&places, TEXT, &["answers"]);
        for personal in [PERSON, EMAIL] {
            must_be_nowhere_but(&places, personal, &["answers", "ledger.db", "ledger.db-wal"]);
        }
    }
    for key in &keys {
        assert_eq!(Wanted::new(key).times_as_it_is(&gateway.heard().so_far()), 1, "a key was told again");
    }
}

async fn administer(gateway: &Gateway, tenant: &Tenant) {
    let operator = gateway.operator();
    let person = json!({ "tenant_id": tenant.id, "name": PERSON, "email": EMAIL });
    operator.post("/v1/admin/users", &person).await.must(201);
    let provider = |fields: serde_json::Value| {
        let mut body = json!({ "name": "leaks", "kind": "openai", "base_url": "https://example.com/v1" });
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        body
    };
    let refused = [
        provider(json!({ "api_key": PROVIDER_SECRET, "headers": { "x-secret-thing": HEADER_SECRET } })),
        provider(json!({ "api_key": PROVIDER_SECRET, "headers": { "authorization": HEADER_SECRET } })),
        provider(
            json!({ "base_url": format!("https://user:{URL_SECRET}@example.com/v1"), "api_key": PROVIDER_SECRET }),
        ),
        provider(json!({ "base_url": format!("https://example.com/v1?key={URL_SECRET}"), "api_key": PROVIDER_SECRET })),
        provider(json!({ "api_key": [PROVIDER_SECRET] })),
        provider(json!({ "headers": { "x-auth": HEADER_SECRET } })),
        provider(json!({ "headers": { "x-functions-key": HEADER_SECRET } })),
        provider(json!({ "headers": { "ocp-apim-subscription-key": HEADER_SECRET } })),
        provider(json!({ "headers": { "x-team": HEADER_KEY } })),
        provider(json!({ "headers": { "x-team": format!("Bearer {HEADER_SECRET}") } })),
        provider(json!({ "headers": { "x-auth": "a" }, "secret_headers": { "x-auth": SEALED_HEADER } })),
        provider(json!({ "secret_headers": { "host": SEALED_HEADER } })),
        provider(json!({ "base_url": format!("https://example.com/{HEADER_KEY}/v1") })),
        provider(json!({ "labels": { "team": HEADER_KEY } })),
    ];
    for body in refused {
        operator.post("/v1/admin/providers", &body).await.must(400);
    }
    let changed = json!({
        "api_key": format!("{PROVIDER_SECRET}-second"), "headers": { "openai-organization": "org-AbCdEf0123456789abcdefgh" },
        "secret_headers": { "X-Gateway-Auth": SEALED_HEADER },
    });
    operator.patch(&format!("/v1/admin/providers/{}", tenant.provider), &changed).await.must(200);
}

/// Holds: admin.headers
#[tokio::test(flavor = "multi_thread")]
async fn secret_headers_go_to_the_address_that_they_were_given_for_and_are_shown_to_nobody() {
    let mut gateway = Gateway::start();
    let (upstream, other) = (MockUpstream::start().await, MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (operator, path) = (gateway.operator().clone(), format!("/v1/admin/providers/{}", tenant.provider));
    let change = async |body: serde_json::Value| operator.patch(&path, &body).await;
    let sent_to = |upstream: &MockUpstream| {
        let seen = upstream.seen().pop().expect("a request");
        let header = seen.headers.get("x-gateway-auth").map(|value| value.to_str().expect("text").to_owned());
        (seen.key().map(str::to_owned), header)
    };
    let key = Some(PROVIDER_SECRET.to_owned());
    let changed = change(json!({ "secret_headers": { "X-Gateway-Auth": SEALED_HEADER } })).await.must(200).json();
    assert_eq!(changed["secret_header_names"], json!(["x-gateway-auth"]));
    tenant.chat("ok").await.must(200);
    assert_eq!(sent_to(&upstream), (key.clone(), Some(SEALED_HEADER.to_owned())));
    for reply in [operator.get(&path).await, operator.get("/v1/admin/providers").await] {
        let shown = reply.must(200).json().to_string();
        assert!(shown.contains("x-gateway-auth") && !shown.contains(SEALED_HEADER), "{shown}");
    }

    // Each change counts from the next request on, also after a restart.
    change(json!({ "secret_headers": { "x-gateway-auth": "second" } })).await.must(200);
    tenant.chat("ok").await.must(200);
    assert_eq!(sent_to(&upstream), (key.clone(), Some("second".to_owned())));
    gateway.stop();
    gateway.start_again();
    let (operator, app) = (gateway.operator().clone(), gateway.client(Some(&tenant.secret)));
    let change = async |body: serde_json::Value| operator.patch(&path, &body).await;
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert_eq!(sent_to(&upstream), (key.clone(), Some("second".to_owned())));

    let moved = json!({ "base_url": other.base_url("openai"), "api_key": PROVIDER_SECRET });
    let refused = change(moved.clone()).await.must(400).json();
    assert_eq!(refused["error"]["details"]["field"], "secret_headers", "{refused}");
    let mut without = moved.clone();
    without["secret_headers"] = json!(null);
    let changed = change(without).await.must(200).json();
    assert_eq!(changed["secret_header_names"], json!([]));
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert_eq!(sent_to(&other), (key.clone(), None));
    let mut back = moved;
    back["base_url"] = json!(upstream.base_url("openai"));
    back["secret_headers"] = json!({ "x-gateway-auth": "third" });
    change(back).await.must(200);
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    assert_eq!(sent_to(&upstream), (key, Some("third".to_owned())));
    let events = json!(gateway.events().await).to_string();
    assert!(!events.contains(SEALED_HEADER) && !events.contains("\"third\""), "{events}");
}

async fn ask(gateway: &Gateway, tenant: &Tenant, key: &str) {
    let app = gateway.client(Some(key));
    for model in ["ok", "leaky", "e500", "cut"] {
        let mut body = tenant.ask(model);
        body["messages"][0]["content"] = json!(PROMPT);
        app.post(NATIVE, &body).await;
        app.clone().over_http2().post(OPENAI, &body).await;
        body["stream"] = json!(true);
        app.stream(OPENAI, &body).await.expect("a stream").rest().await;
        body["unknown"] = json!(PROMPT);
        app.post(NATIVE, &body).await.must(400);
    }
    for stranger in [gateway.client(Some(NEVER_A_KEY)), gateway.client(None).with("x-api-key", NEVER_A_KEY)] {
        stranger.get("/v1/models").await.must(401);
        stranger.over_http2().post(NATIVE, &tenant.ask("ok")).await.must(401);
    }
    // Where it does not belong, and some put it all the same.
    gateway.client(None).get(&format!("/v1/models?api_key={key}")).await.must(401);
}

async fn read_everything(gateway: &Gateway, tenant: &Tenant) {
    let head = gateway.head().await;
    gateway.events().await;
    for path in [
        "/v1/admin/partners", "/v1/admin/tenants", "/v1/admin/users", "/v1/admin/keys", "/v1/admin/providers",
        "/v1/admin/models", "/v1/admin/prices", "/v1/admin/budgets", "/v1/audit", "/v1/inferences", "/v1/usage",
        "/v1/budgets", "/v1/projections", "/v1/models", "/v1/me", "/health/ready", "/metrics",
    ] {
        gateway.operator().get(&format!("{path}?min_position={head}")).await;
        gateway.operator().get(path).await;
    }
    for path in [format!("/v1/admin/keys/{}", tenant.key), format!("/v1/admin/providers/{}", tenant.provider)] {
        gateway.operator().get(&path).await.must(200);
    }
}

/// The two keys that the gateway writes down are in their files, for their owner alone, and nowhere else.
/// Holds: bin.dev-key, bin.operator-key-made
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_its_own_making_are_in_their_files_alone() {
    use std::os::unix::fs::PermissionsExt;
    let env = [("RUST_LOG", "trace"), ("LEDGERWAY_DEV", "true"), ("LEDGERWAY_ADMIN_KEY", "")];
    let mut gateway = Gateway::start_with(&env);
    gateway.heard().begin();
    let files = ["admin.key", "dev.key"];
    let keys = files.map(|file| fs::read_to_string(gateway.data().join(file)).expect("a key").trim().to_owned());
    for key in &keys {
        gateway.client(Some(key)).get("/v1/models").await.must(200);
        gateway.client(Some(key)).get("/v1/me").await;
    }
    gateway.stop();
    gateway.start_again();
    gateway.stop();
    let places = places(&gateway);
    for (file, key) in files.iter().zip(&keys) {
        must_be_nowhere_but(&places, key, &[file]);
        let mode = fs::metadata(gateway.data().join(file)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
