//! One tenant's queries, however many and however expensive, keep neither administration nor another tenant waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use events::event::access::AccessDenied;
use events::event::{Access, Actor, Chain, Context, Event, Stream, StreamKind};
use events::ids::KeyId;
use events::log::{Log, LogOptions, Note};
use events::refusal::ErrorCode;
use events::time::SystemClock;
use http::Method;
use serde_json::json;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::{Client, Reply};
use crate::gateway::Gateway;
use crate::tenant::Tenant;

const CONNECTIONS: usize = 400;
/// Events of one tenant, in the log that is asked for.
const EVENTS: usize = 20_000;
const NOTES_A_BATCH: usize = 2_000;
/// Answers that the crowd has before anybody else asks: by then all of its connections wait for theirs.
const UNDER_WAY: usize = 40;
/// However busy the machine is; what waits behind the crowd is refused, or waits for longer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const EXPENSIVE: [&str; 4] = [
    "/v1/events?limit=1000&types=access.denied.v1",
    "/v1/events?limit=1000&types=access.denied.v1,key.created.v1&after=9000",
    "/v1/audit?limit=1000&q=nowhere",
    "/v1/usage?group_by=hour,key,model",
];

/// Writes events about this key, as if it had been turned away so often.
fn lengthen(data: &std::path::Path, tenant: &Tenant) {
    let log = Log::open(data, LogOptions::new(Arc::new(SystemClock::new()))).expect("the log opens");
    let key: KeyId = tenant.key.parse().expect("a key's id");
    let chain = Chain {
        partner: tenant.partner.parse().ok(),
        tenant: tenant.id.parse().ok(),
        user: tenant.user.parse().ok(),
        key: Some(key),
    };
    let denied = Event::Access(Access::Denied(Box::new(AccessDenied { code: ErrorCode::Forbidden, count: 1 })));
    let note = Note {
        stream: Stream::new(StreamKind::Access, key),
        context: Context::about(Actor::Key(key), chain),
        event: denied,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for _ in 0..EVENTS / NOTES_A_BATCH {
        runtime.block_on(log.note(vec![note.clone(); NOTES_A_BATCH])).expect("recorded");
    }
    log.close();
}

async fn reader(gateway: &Gateway, tenant: &Tenant) -> (String, Client) {
    let permissions = json!({ "permissions": ["events:read", "usage:read", "audit:read"] });
    tenant.new_key(gateway, permissions).await
}

/// The answers to a crowd, by status and code.
type Answers = BTreeMap<(u16, String), usize>;

/// Asks again and again until its key is not known any more.
async fn besiege(client: Client, first: usize, answered: Arc<AtomicUsize>) -> (Answers, Option<Reply>) {
    let (mut answers, mut limited) = (Answers::new(), None);
    for path in EXPENSIVE.iter().cycle().skip(first) {
        let reply = client.get(path).await;
        answered.fetch_add(1, Ordering::SeqCst);
        *answers.entry((reply.status, reply.code())).or_default() += 1;
        match reply.status {
            401 => break,
            429 => limited = Some(reply),
            _ => {}
        }
    }
    (answers, limited)
}

/// Holds: query.fair
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_one_key_keeps_neither_the_operator_nor_another_tenant_waiting() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let hostile = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let other = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (key, crowd) = reader(&gateway, &hostile).await;
    let (_, bystander) = reader(&gateway, &other).await;
    gateway.stop();
    let data = gateway.data();
    tokio::task::block_in_place(|| std::thread::scope(|scope| scope.spawn(|| lengthen(&data, &hostile)).join()))
        .expect("a longer log");
    gateway.start_again();
    bystander.get("/v1/log/head").await.must(200);

    let answered = Arc::<AtomicUsize>::default();
    let mut besieging = JoinSet::new();
    for number in 0..CONNECTIONS {
        besieging.spawn(besiege(crowd.clone(), number % EXPENSIVE.len(), Arc::clone(&answered)));
    }
    while answered.load(Ordering::SeqCst) < UNDER_WAY {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let operator = gateway.operator();
    for (who, client, path) in [
        ("another tenant", &bystander, "/v1/events?limit=10"),
        ("another tenant", &bystander, "/v1/usage?group_by=day"),
        ("the operator", operator, "/v1/admin/keys?limit=1"),
        ("the operator", operator, "/v1/events?limit=10"),
    ] {
        let reply = timeout(ANSWERED_WITHIN, client.get(path)).await.unwrap_or_else(|_| panic!("{who} waits: {path}"));
        assert_eq!(reply.status, 200, "{who}: {path}: {}", String::from_utf8_lossy(&reply.body));
    }
    let ended = timeout(ANSWERED_WITHIN, operator.delete(&format!("/v1/admin/keys/{key}"))).await;
    ended.expect("the key is ended in time").must(200);

    let (mut answers, mut limited) = (Answers::new(), None);
    while let Some(joined) = timeout(Duration::from_secs(60), besieging.join_next()).await.expect("the crowd is let go")
    {
        let (of_one, refused) = joined.expect("an end");
        of_one.into_iter().for_each(|(what, number)| *answers.entry(what).or_default() += number);
        limited = limited.or(refused);
    }
    let kinds: Vec<(u16, &str)> = answers.keys().map(|(status, code)| (*status, code.as_str())).collect();
    assert_eq!(kinds, [(200, ""), (401, "UNAUTHENTICATED"), (429, "RATE_LIMITED")], "{answers:?}");
    let limited = limited.expect("somebody was refused").must_be(429, "RATE_LIMITED");
    let details = &limited.json()["error"]["details"];
    assert_eq!(
        (&details["limit_id"], &details["measure"]),
        (&json!("built_in"), &json!("concurrent_queries")),
        "{details}"
    );
    assert_eq!((&details["scope"], &details["retry_after"]), (&json!({ "key_id": key }), &json!(1)), "{details}");
    assert_eq!(limited.header("retry-after"), "1");
}

/// Holds: query.fair, event.access
#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_so_many_event_streams_open_and_the_log_says_that_it_wanted_more() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let (key, client) = reader(&gateway, &tenant).await;
    let listener = client.with("accept", "text/event-stream");
    let open = || listener.open(Method::GET, "/v1/events", Vec::new());
    let mut streams = Vec::new();
    for _ in 0..4 {
        let stream = open().await.expect("an answer");
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let refused = listener.get("/v1/events").await.must_be(429, "RATE_LIMITED").json();
    let details = &refused["error"]["details"];
    assert_eq!((&details["measure"], &details["limit"]), (&json!("event_streams"), &json!(4)), "{details}");
    let (_, another) = reader(&gateway, &tenant).await;
    let another = another.with("accept", "text/event-stream").open(Method::GET, "/v1/events", Vec::new()).await;
    assert_eq!(another.expect("an answer").status(), 200, "another key of the tenant has its own");
    drop(streams);
    assert_eq!(open().await.expect("an answer").status(), 200, "who ends one may open another");
    let limited = loop {
        let limited = tenant.events_of(&gateway, &["access.rate_limited"]).await;
        if !limited.is_empty() {
            break limited;
        }
        // It is told of in the background.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let told = json!({ "limit_id": "built_in", "measure": "event_streams", "limit": 4, "count": 1 });
    assert_eq!((&limited[0]["data"], &limited[0]["key_id"]), (&told, &json!(key)));
}
