//! A provider of a kind that only a later version knows: its event is read, and what this version cannot do is refused.

use std::path::Path;
use std::sync::Arc;

use events::event::admin::{Provider, ProviderKindName};
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::ids::ProviderId;
use events::time::SystemClock;
use events_log::{Append, Basis, Log, LogOptions};
use serde_json::json;
use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant, made};

const PROVIDER: &str = "prv_0000000000000000000000000000000b";

fn record(data: &Path, provider: ProviderId) {
    let log = Log::open(data, LogOptions::new(Arc::new(SystemClock::new()))).expect("the log opens");
    let kind = ProviderKindName::literal("of_a_later_version");
    let created =
        Provider { base_url: Some("https://api.example.com".into()), ..Provider::new(provider, "later", kind) };
    let append = Append {
        stream: Stream::new(StreamKind::Provider, provider),
        expected_sequence: 0,
        events: vec![Event::from(Change::created(created))],
        context: Context::of(Actor::Operator),
        side: vec![],
        idempotency: None,
        basis: Basis::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(log.append(append)).expect("recorded");
    log.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_of_a_later_versions_kind_is_shown_and_ended_but_neither_called_nor_changed() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    gateway.stop();
    let data = gateway.data();
    let provider = PROVIDER.parse().expect("an id");
    tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(|| record(&data, provider)).join()))
        .expect("a provider of another kind");
    gateway.start_again();

    let operator = gateway.operator();
    let path = format!("/v1/admin/providers/{PROVIDER}");
    assert_eq!(operator.get(&path).await.must(200).json()["kind"], "of_a_later_version");
    let price = json!({ "provider_id": PROVIDER, "model": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "1" });
    made(operator, "/prices", price).await;
    let later = json!({ "provider_id": PROVIDER, "model": "m", "priority": 0, "default_max_output_tokens": 64 });
    let known =
        json!({ "provider_id": tenant.provider, "model": "ok", "priority": 1, "default_max_output_tokens": 64 });
    for (name, targets) in [("both", json!([later, known])), ("later", json!([later]))] {
        made(operator, "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
    }
    let served = tenant.chat("both").await.must(200);
    assert_eq!(served.header("x-ledgerway-backend"), format!("{}/ok", tenant.name));
    for refused in [tenant.chat("later").await, tenant.openai("later").await] {
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{}", refused.json());
        assert_eq!(gateway.types_of(&refused.request_id()).await, ["inference.refused.v1"], "nothing is held for it");
    }
    // It cannot be said what the provider of the later version would accept.
    let capped = json!({ "provider_id": tenant.provider, "model": "ok", "priority": 1, "max_output_tokens": 10 });
    made(operator, "/models", json!({ "name": tenant.model("capped"), "targets": [later, capped] })).await;
    let mut ask = tenant.ask("capped");
    ask["max_output_tokens"] = 100.into();
    tenant.app.post(NATIVE, &ask).await.must_be(503, "ALL_PROVIDERS_UNAVAILABLE");
    assert!(gateway.stderr().contains("this version does not know its kind"), "the start warns of it");

    let changed = operator.patch(&path, &json!({ "name": "renamed" })).await.must_be(400, "INVALID_REQUEST").json();
    assert_eq!(changed["error"]["details"]["field"], "kind", "{changed}");
    operator.delete(&path).await.must(200);
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}
