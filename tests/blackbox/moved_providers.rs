//! Providers that are changed while a request that was planned with them is on its way: no host gets another one's key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use testing::upstream::{MockUpstream, Seen};

use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant, made, text};

const OLD_KEY: &str = "key-of-the-old-host-51c2";
const NEW_KEY: &str = "key-of-the-new-host-88d0";

/// A request whose first target fails, and whose second target's provider is changed meanwhile.
struct Moved {
    old: MockUpstream,
    new: MockUpstream,
    reply: Reply,
}

#[derive(Clone, Copy)]
enum Resource {
    Provider,
    Tenant,
}

impl Moved {
    /// `was_called`: the provider's key was opened before. `change`: what is sent to which resource.
    async fn new(was_called: bool, change: impl Fn(&MockUpstream) -> (Method, Resource, Value)) -> Self {
        let gateway = Gateway::start();
        let (old, new) = (MockUpstream::start().await, MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &old, &["e500"]).await;
        let operator = gateway.operator();
        let provider = json!({ "name": "moving", "kind": "openai", "base_url": old.base_url("openai"),
                               "api_key": OLD_KEY, "allow_private_network": true,
                               "tenant_id": tenant.id });
        let provider = made(operator, "/providers", provider).await;
        let price = json!({ "provider_id": provider, "model": "ok", "input_usd_per_mtok": "1",
                            "output_usd_per_mtok": "1" });
        made(operator, "/prices", price).await;
        let target = |provider: &str, model: &str, priority: u32| json!({ "provider_id": provider, "model": model, "priority": priority, "max_output_tokens": 64 });
        let (first, second) = (target(&tenant.provider, "e500", 1), target(&provider, "ok", 2));
        let model = json!({ "name": tenant.model("both"), "tenant_id": tenant.id, "targets": [first, second.clone()] });
        made(operator, "/models", model).await;
        let model = json!({ "name": tenant.model("alone"), "tenant_id": tenant.id, "targets": [second] });
        made(operator, "/models", model).await;
        if was_called {
            tenant.app.post(NATIVE, &tenant.ask("alone")).await.must(200);
        }
        let (method, resource, body) = change(&new);
        let path = match resource {
            Resource::Provider => format!("/v1/admin/providers/{provider}"),
            Resource::Tenant => format!("/v1/admin/tenants/{}", tenant.id),
        };
        let client = operator.clone();
        let is_changed = Arc::new(AtomicBool::new(false));
        old.on_request(move |seen| {
            let is_first = seen.model() == "e500" && !is_changed.swap(true, Ordering::SeqCst);
            let (client, method, path, body) = (client.clone(), method.clone(), path.clone(), body.to_string());
            async move {
                if is_first {
                    client.send(method, &path, body).await.expect("an answer").must(200);
                }
            }
        });
        let reply = tenant.app.post(NATIVE, &tenant.ask("both")).await;
        Self { old, new, reply }
    }

    fn must_not_have_seen_each_others_keys(&self) {
        let names = |seen: &Seen, key: &str| format!("{:?}", seen.headers).contains(key);
        assert!(!self.old.seen().iter().any(|seen| names(seen, NEW_KEY)), "the new key went to the old host");
        assert!(!self.new.seen().iter().any(|seen| names(seen, OLD_KEY)), "the old key went to the new host");
    }
}

/// Holds: admin.own-key
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_moves_while_a_request_is_on_its_way_is_called_where_it_is_with_its_own_key() {
    for was_called in [false, true] {
        let to = |new: &MockUpstream| json!({ "base_url": new.base_url("openai"), "api_key": NEW_KEY });
        let moved = Moved::new(was_called, |new| (Method::PATCH, Resource::Provider, to(new))).await;
        moved.must_not_have_seen_each_others_keys();
        moved.reply.clone().must(200);
        let [seen] = &moved.new.seen()[..] else { panic!("called {} times", moved.new.seen().len()) };
        assert_eq!(seen.headers["authorization"], format!("Bearer {NEW_KEY}"));
        assert_eq!(moved.old.seen_of("ok"), usize::from(was_called));
    }
}

/// Holds: admin.own-key
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_ends_while_a_request_is_on_its_way_is_not_called_any_more() {
    let is_unavailable = (503, "ALL_PROVIDERS_UNAVAILABLE");
    // With its tenant ends the caller's key too.
    let cases = [
        (false, Resource::Provider, is_unavailable),
        (true, Resource::Provider, is_unavailable),
        (false, Resource::Tenant, (401, "UNAUTHENTICATED")),
    ];
    for (was_called, resource, (status, code)) in cases {
        let ended = Moved::new(was_called, |_| (Method::DELETE, resource, json!({}))).await;
        ended.must_not_have_seen_each_others_keys();
        ended.reply.clone().must_be(status, code);
        assert_eq!(ended.old.seen_of("ok"), usize::from(was_called));
    }
}

/// Holds: admin.kept-key
#[tokio::test(flavor = "multi_thread")]
async fn whoever_moves_a_provider_without_its_key_does_not_get_the_key() {
    let (gateway, old, new) = (Gateway::start(), MockUpstream::start().await, MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &old, &["ok"]).await;
    let user =
        json!({ "tenant_id": tenant.id, "name": "a", "roles": [{ "role": "tenant_admin", "scope": "platform" }] });
    let user = made(gateway.operator(), "/users", user).await;
    let key = json!({ "user_id": user, "name": "platform", "permissions": ["admin:access"] });
    let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
    let platform = gateway.client(Some(&text(&key["secret"])));
    let one = format!("/v1/admin/providers/{}", tenant.provider);
    let elsewhere = json!({ "base_url": new.base_url("openai") });
    for administrator in [gateway.operator(), &platform] {
        let refused = administrator.patch(&one, &elsewhere).await.must_be(400, "INVALID_REQUEST").json();
        assert_eq!(refused["error"]["details"]["field"], "api_key", "{refused}");
        tenant.chat("ok").await.must(200);
    }
    assert_eq!((old.seen().len(), new.seen().len()), (2, 0), "it was called where it was");
    // Another path on the same server is no other server.
    let longer = json!({ "base_url": format!("{}/", old.base_url("openai")) });
    platform.patch(&one, &longer).await.must(200);
    let without = json!({ "base_url": new.base_url("openai"), "api_key": null });
    platform.patch(&one, &without).await.must(200);
    tenant.chat("ok").await.must(200);
    let [seen] = &new.seen()[..] else { panic!("called {} times", new.seen().len()) };
    assert!(!seen.headers.contains_key("authorization"), "{:?}", seen.headers);
}
