//! Bodies that arrive after something has changed: who may do what is decided when the body is complete.

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use testing::wire::{Response, Wire};

use crate::client::Client;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant, made, text};

/// A request whose head was let in, and whose body the gateway is waiting for.
pub struct Unfinished {
    wire: Wire,
    body: String,
}

impl Unfinished {
    /// `more` are further headers, each ended by `\r\n`.
    pub async fn begin(gateway: &Gateway, secret: &str, request: (&str, &str), more: &str, body: &Value) -> Self {
        let ((method, path), body) = (request, body.to_string());
        let mut wire = gateway.wire().await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n{more}\
             content-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        wire.send(head).await;
        // The gateway asks for the body once it has nothing else left to do.
        let interim = wire.head().await.expect("an interim answer");
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        Self { wire, body }
    }

    pub async fn finish(mut self) -> Response {
        self.wire.send(&self.body).await;
        self.wire.response().await.expect("an answer")
    }
}

/// A key, its user and its tenant, with all that a test may take away from them.
struct Holder {
    tenant: Tenant,
    sister: String,
    user: String,
    key: String,
    secret: String,
}

impl Holder {
    async fn new(gateway: &Gateway, upstream: &MockUpstream) -> Self {
        let operator = gateway.operator();
        let tenant = Tenant::new(gateway, upstream, &["ok"]).await;
        let sister = json!({ "partner_id": tenant.partner, "name": "sister" });
        let sister = made(operator, "/tenants", sister).await;
        let roles = json!([{ "role": "partner_admin", "scope": { "partner_id": tenant.partner } }]);
        let user = json!({ "tenant_id": tenant.id, "name": "holder", "roles": roles });
        let user = made(operator, "/users", user).await;
        let key = json!({ "user_id": user, "name": "holder", "permissions": ["admin:access", "models:use"] });
        let key = operator.post("/v1/admin/keys", &key).await.must(201).json();
        Self { tenant, sister, user, key: text(&key["id"]), secret: text(&key["secret"]) }
    }

    async fn loses(&self, operator: &Client, what: &str) {
        let (key, user) = (format!("/v1/admin/keys/{}", self.key), format!("/v1/admin/users/{}", self.user));
        let reply = match what {
            "its key" => operator.delete(&key).await,
            "its secret" => operator.post(&format!("{key}/rotate"), &json!({ "overlap_seconds": 0 })).await,
            "its user" => operator.delete(&user).await,
            "its tenant" => operator.delete(&format!("/v1/admin/tenants/{}", self.tenant.id)).await,
            "its partner" => operator.delete(&format!("/v1/admin/partners/{}", self.tenant.partner)).await,
            "administration" => operator.patch(&key, &json!({ "permissions": ["models:use"] })).await,
            "inference" => operator.patch(&key, &json!({ "permissions": ["admin:access"] })).await,
            "the model" => operator.patch(&key, &json!({ "models": ["another"] })).await,
            "its role" => operator.patch(&user, &json!({ "roles": [] })).await,
            other => unreachable!("{other}"),
        };
        reply.must(200);
    }
}

fn code(answer: &Response) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["error"]["code"].as_str().unwrap_or_default().to_owned()
}

/// Holds: http.caller-when-complete
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_lost_its_right_while_its_body_was_on_the_way_changes_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for (lost, status, wanted) in [
        ("its key", 401, "UNAUTHENTICATED"),
        ("its secret", 401, "UNAUTHENTICATED"),
        ("its user", 401, "UNAUTHENTICATED"),
        ("its tenant", 401, "UNAUTHENTICATED"),
        ("its partner", 401, "UNAUTHENTICATED"),
        ("administration", 403, "FORBIDDEN"),
        ("its role", 404, "NOT_FOUND"),
    ] {
        let holder = Holder::new(&gateway, &upstream).await;
        let user = made(gateway.operator(), "/users", json!({ "tenant_id": holder.sister, "name": "theirs" })).await;
        let rename = format!("/v1/admin/users/{user}");
        let create = json!({ "user_id": user, "name": "late", "permissions": ["admin:access"] });
        let begin = async |request, body: &Value| Unfinished::begin(&gateway, &holder.secret, request, "", body).await;
        let unfinished = [
            begin(("POST", "/v1/admin/keys"), &create).await,
            begin(("PATCH", &rename), &json!({ "name": "late" })).await,
            begin(("DELETE", &rename), &json!({})).await,
        ];
        holder.loses(gateway.operator(), lost).await;
        let before = gateway.head().await;
        for unfinished in unfinished {
            let answer = unfinished.finish().await;
            assert_eq!((answer.status, code(&answer).as_str()), (status, wanted), "{lost}: {answer:?}");
        }
        let after = gateway.facts().await;
        let changed =
            |event: &&Value| event["position"].as_u64() > Some(before) && !type_of(event).starts_with("access.");
        assert_eq!(after.iter().find(changed), None, "{lost}");
    }
}

/// Holds: http.caller-when-complete
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_dispatched_for_who_lost_its_right_while_its_body_was_on_the_way() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    for (lost, status, native, openai) in [
        ("its key", 401, "UNAUTHENTICATED", "invalid_api_key"),
        ("its secret", 401, "UNAUTHENTICATED", "invalid_api_key"),
        ("its user", 401, "UNAUTHENTICATED", "invalid_api_key"),
        ("its tenant", 401, "UNAUTHENTICATED", "invalid_api_key"),
        ("inference", 403, "FORBIDDEN", "forbidden"),
        ("the model", 403, "MODEL_NOT_ALLOWED", "model_not_allowed"),
    ] {
        let holder = Holder::new(&gateway, &upstream).await;
        let body = holder.tenant.ask("ok");
        let begin = async |path| Unfinished::begin(&gateway, &holder.secret, ("POST", path), "", &body).await;
        let unfinished = [(begin(NATIVE).await, native), (begin(OPENAI).await, openai)];
        holder.loses(gateway.operator(), lost).await;
        for (unfinished, wanted) in unfinished {
            let answer = unfinished.finish().await;
            assert_eq!((answer.status, code(&answer).as_str()), (status, wanted), "{lost}: {answer:?}");
        }
    }
    // The tenant that was chosen is out of reach without the role.
    let holder = Holder::new(&gateway, &upstream).await;
    let chosen = format!("x-tenant-id: {}\r\n", holder.sister);
    let body = holder.tenant.ask("ok");
    let unfinished = Unfinished::begin(&gateway, &holder.secret, ("POST", NATIVE), &chosen, &body).await;
    holder.loses(gateway.operator(), "its role").await;
    let answer = unfinished.finish().await;
    assert_eq!((answer.status, code(&answer).as_str()), (403, "FORBIDDEN"), "{answer:?}");
    assert!(upstream.seen().is_empty());
}
