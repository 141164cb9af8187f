//! Requests whose client leaves before they are answered, and those that the gateway gives up itself: what was not sent
//! costs nothing, and a whole answer is generated and billed whether anybody waits for it or not.

use std::time::Duration;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use testing::wire::Wire;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::books::nano;
use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, Setup, Tenant, made};

const ENDED_MAX: Duration = Duration::from_secs(5);

/// Clients that are waiting for an answer; each can be made to leave.
struct Waiting {
    clients: JoinSet<()>,
}

impl Waiting {
    fn new() -> Self {
        Self { clients: JoinSet::new() }
    }

    /// Asks on a connection of its own, which goes with the client.
    fn ask(&mut self, gateway: &Gateway, tenant: &Tenant, body: Value) -> AbortHandle {
        let client = gateway.client(Some(&tenant.secret));
        self.clients.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        })
    }
}

/// The sum of a metric over its labels.
pub async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    metrics.lines().filter(is_it).filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

pub async fn until_metric_is(gateway: &Gateway, name: &str, wanted: u64) {
    let reached = async {
        while metric(gateway, name).await != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(ENDED_MAX, reached).await.unwrap_or_else(|_| panic!("{name} is not {wanted}"));
}

/// The last two events of the only request: its outcome, and what became of its hold.
async fn only_end(gateway: &Gateway) -> [Value; 2] {
    let books = gateway.books_when_all_ended(ENDED_MAX).await;
    let request = books.admitted().iter().next().expect("a request").clone();
    assert_eq!(books.admitted().len(), 1);
    let mut life = gateway.life(&request).await;
    let end = life.pop().expect("an end");
    [life.pop().expect("an outcome"), end]
}

async fn must_cost_nothing(gateway: &Gateway) {
    let [outcome, end] = only_end(gateway).await;
    assert_eq!((type_of(&outcome), type_of(&end)), ("inference.aborted.v1", "budget.released.v1"), "{outcome}");
    assert_eq!(
        (&outcome["data"]["reason"], &end["data"]["reason"]),
        (&json!("client_closed"), &json!("client_closed"))
    );
    assert_eq!(
        (&outcome["data"]["cost_usd"], outcome["data"].get("usage")),
        (&json!("0.000000000"), None),
        "{outcome}"
    );
}

/// Holds: inf.unsent-is-released
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_before_tls_was_agreed_on_pays_nothing() {
    for streamed in [false, true] {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::new(&gateway, &upstream, &[]).await;
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = silent.local_addr().expect("its address");
        tenant.add_model_at("silent", &format!("https://{address}/v1")).await;
        let mut waiting = Waiting::new();
        let mut body = tenant.ask("silent");
        body["stream"] = json!(streamed);
        let client = waiting.ask(&gateway, &tenant, body);
        let (connection, _) = timeout(ENDED_MAX, silent.accept()).await.expect("in time").expect("a connection");
        connection.readable().await.expect("the beginning of a handshake");
        client.abort();
        must_cost_nothing(&gateway).await;
    }
}

/// Holds: inf.unsent-is-released
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_before_there_was_a_connection_pays_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    // Nobody accepts, and there is room for one that waits: whoever comes later is not answered at all.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let full = socket.listen(0).expect("a listener");
    let address = full.local_addr().expect("its address");
    let mut taken = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await {
        taken.push(connected.expect("a connection that waits"));
    }
    tenant.add_model_at("full", &format!("http://{address}/v1")).await;
    let mut waiting = Waiting::new();
    let client = waiting.ask(&gateway, &tenant, tenant.ask("full"));
    until_metric_is(&gateway, "ledgerway_upstream_calls_total", 1).await;
    client.abort();
    must_cost_nothing(&gateway).await;
}

/// Holds: inf.unsent-is-released
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_left_before_the_second_try_pays_nothing() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    // It says to come back after a second, which is waited for.
    let tenant = Tenant::new(&gateway, &upstream, &["e429-1"]).await;
    let mut waiting = Waiting::new();
    let client = waiting.ask(&gateway, &tenant, tenant.ask("e429-1"));
    let refused = async {
        while !gateway.stderr().contains("a call to an upstream failed") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(ENDED_MAX, refused).await.expect("the first try fails");
    client.abort();
    must_cost_nothing(&gateway).await;
    assert_eq!(upstream.seen_of("e429-1"), 1);
}

pub const ABANDONED: &str = "ledgerway_abandoned_calls";
/// The cost of the mock's answer, at the prices of the tests' tenants.
const ANSWER_NANOS: i64 = 1_000_000 + 12 * 3_000 + 9 * 15_000;

/// Asks for a whole answer and leaves when the upstream has seen the request.
async fn ask_and_leave(gateway: &Gateway, upstream: &MockUpstream, tenant: &Tenant, model: &str) {
    let before = upstream.seen_of(model);
    let mut waiting = Waiting::new();
    let client = waiting.ask(gateway, tenant, tenant.ask(model));
    while upstream.seen_of(model) == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.abort();
    until_metric_is(gateway, ABANDONED, 1).await;
}

fn held(end: &Value) -> i64 {
    nano(&end["data"]["held_usd"])
}

/// Holds: inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer_is_charged_as_the_provider_reports_it_though_its_client_has_left() {
    for kind in ["openai", "anthropic"] {
        let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
        let tenant = Tenant::with(&gateway, &upstream, &["gate"], Setup { kind, ..Setup::default() }).await;
        ask_and_leave(&gateway, &upstream, &tenant, "gate").await;
        assert_eq!(gateway.books().await.open_holds().len(), 1, "the upstream works for it");
        upstream.open_gate();
        let [outcome, end] = only_end(&gateway).await;
        assert_eq!((type_of(&outcome), type_of(&end)), ("inference.aborted.v1", "budget.settled.v1"), "{outcome}");
        let said = &outcome["data"];
        assert_eq!((&said["reason"], &said["finish_reason"]), (&json!("client_closed"), &json!("cancelled")));
        assert_eq!((&said["usage"]["source"], &said["usage"]["output_text_tokens"]), (&json!("provider"), &json!(9)));
        assert!(said["provider_usage"].is_object() && said["upstream_request_id"].is_string(), "{said}");
        assert_eq!((nano(&said["cost_usd"]), nano(&end["data"]["charged_usd"])), (ANSWER_NANOS, ANSWER_NANOS));
        until_metric_is(&gateway, ABANDONED, 0).await;
    }
}

/// Holds: inf.abandoned, inf.usage-source
#[tokio::test(flavor = "multi_thread")]
async fn of_a_whole_answer_that_nothing_came_of_the_hold_is_charged_or_given_back() {
    let release = [("LEDGERWAY_UNKNOWN_USAGE", "release")];
    // Its deadline is before the provider's, and before the end of its hold.
    let short_holds = [("LEDGERWAY_HOLD_TTL_SECONDS", "2")];
    for (model, env, timeout_ms, ended, charges) in [
        ("hang", &[][..], 1500, "budget.settled.v1", true),
        ("hang", &short_holds, 30_000, "budget.settled.v1", true),
        ("cut", &[], 1500, "budget.settled.v1", true),
        ("close", &[], 1500, "budget.settled.v1", true),
        ("html", &[], 1500, "budget.settled.v1", true),
        ("hang", &release, 1500, "budget.released.v1", false),
        // It said that it did not do it.
        ("e500", &[], 1500, "budget.released.v1", false),
    ] {
        let (gateway, upstream) = (Gateway::start_with(env), MockUpstream::start().await);
        let tenant = Tenant::with(&gateway, &upstream, &[model], Setup { timeout_ms, ..Setup::default() }).await;
        let (open, is_open) = tokio::sync::watch::channel(false);
        upstream.on_request(move |_| {
            let mut is_open = is_open.clone();
            async move {
                let _ = is_open.wait_for(|open| *open).await;
            }
        });
        ask_and_leave(&gateway, &upstream, &tenant, model).await;
        open.send_replace(true);
        let [outcome, end] = only_end(&gateway).await;
        assert_eq!((type_of(&outcome), type_of(&end)), ("inference.aborted.v1", ended), "{model}: {outcome}");
        let said = &outcome["data"];
        let cost = if charges { held(&end) } else { 0 };
        assert_eq!((nano(&said["cost_usd"]), &said["reason"]), (cost, &json!("client_closed")), "{model}: {said}");
        let source = if model == "e500" { Value::Null } else { json!("unknown") };
        assert_eq!(said["usage"]["source"], source, "{model}: {said}");
        // Nobody tries for a client that has left.
        assert_eq!(upstream.seen_of(model), 1);
    }
}

/// Holds: inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn who_left_a_whole_answer_has_its_place_until_the_upstream_is_done() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["gate"]).await;
    let limit = json!({ "scope": { "key_id": tenant.key }, "concurrent_requests": 1 });
    made(gateway.operator(), "/rate-limits", limit).await;
    ask_and_leave(&gateway, &upstream, &tenant, "gate").await;
    tenant.chat("gate").await.must_be(429, "RATE_LIMITED");
    upstream.open_gate();
    until_metric_is(&gateway, ABANDONED, 0).await;
    tenant.chat("gate").await.must(200);
}

/// Holds: inf.abandoned, bin.drain, bin.drain-timeout
#[tokio::test(flavor = "multi_thread")]
async fn what_clients_left_is_waited_for_while_it_drains_and_cut_off_with_the_rest() {
    for comes_in_time in [true, false] {
        let seconds = if comes_in_time { "20" } else { "1" };
        let mut gateway = Gateway::start_with(&[("LEDGERWAY_DRAIN_TIMEOUT_SECONDS", seconds)]);
        let upstream = MockUpstream::start().await;
        let tenant =
            Tenant::with(&gateway, &upstream, &["gate"], Setup { timeout_ms: 30_000, ..Setup::default() }).await;
        ask_and_leave(&gateway, &upstream, &tenant, "gate").await;
        gateway.terminate();
        if comes_in_time {
            while gateway.client(None).get("/health/ready").await.status != 503 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(gateway.is_running(), "it did not wait");
            upstream.open_gate();
        }
        assert_eq!(gateway.wait_for_end(Duration::from_secs(8)).code(), Some(0));
        gateway.start_again();
        let [outcome, end] = only_end(&gateway).await;
        assert_eq!((type_of(&outcome), type_of(&end)), ("inference.aborted.v1", "budget.settled.v1"), "{outcome}");
        let (source, nanos) = if comes_in_time { ("provider", ANSWER_NANOS) } else { ("unknown", held(&end)) };
        assert_eq!(outcome["data"]["usage"]["source"], source, "{outcome}");
        assert_eq!(nano(&end["data"]["charged_usd"]), nanos, "{end}");
    }
}

/// Two tenants' clients have left as many calls as there may be.
///
/// Holds: inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_few_answers_is_charged_as_the_provider_reports_however_many_others_leave() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = || Setup { timeout_ms: 60_000, ..Setup::default() };
    let mut crowds = Vec::new();
    for _ in 0..2 {
        let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup()).await;
        for _ in 0..512 {
            let mut wire = gateway.wire().await;
            wire.send(tenant.request(NATIVE, "", &tenant.ask("gate").to_string())).await;
            crowds.push(wire);
        }
    }
    let seen = async {
        while upstream.seen_of("gate") < 1024 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), seen).await.expect("the upstream works for all of them");
    crowds.into_iter().for_each(Wire::reset);
    until_metric_is(&gateway, ABANDONED, 1024).await;
    let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup()).await;
    let mut waiting = Waiting::new();
    let client = waiting.ask(&gateway, &tenant, tenant.ask("gate"));
    while upstream.seen_of("gate") < 1025 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.abort();
    // Somebody's newest makes room for it.
    let evicted = async {
        while gateway.events().await.iter().all(|event| type_of(event) != "inference.aborted.v1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(ENDED_MAX, evicted).await.expect("one of them ends");
    upstream.open_gate();
    gateway.books_when_all_ended(Duration::from_secs(20)).await;
    let ended = tenant.events_of(&gateway, &["inference.aborted"]).await;
    let said = &ended.first().expect("its end")["data"];
    assert_eq!((&said["usage"]["source"], nano(&said["cost_usd"])), (&json!("provider"), ANSWER_NANOS), "{said}");
    let all = gateway.events().await;
    let unknown = all.iter().filter(|event| event["data"]["usage"]["source"] == "unknown");
    assert_eq!(unknown.count(), 1, "and nobody else's");
}

/// Its deadline is four fifths of how long a hold lives, and shorter than the providers' patience here.
///
/// Holds: inf.abandoned, bin.deadline, inf.unsent-is-released
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_gives_up_at_its_own_deadline_is_charged_by_what_is_known_of_it() {
    let (gateway, upstream) =
        (Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")]), MockUpstream::start().await);
    let tenant = Tenant::with(&gateway, &upstream, &["hang"], Setup { timeout_ms: 30_000, ..Setup::default() }).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("its address");
    tenant.add_model_at("silent", &format!("https://{address}/v1")).await;
    for (model, streamed, ended, source) in [
        ("hang", false, "budget.settled.v1", json!("unknown")),
        ("hang", true, "budget.settled.v1", json!("counted")),
        ("silent", false, "budget.released.v1", Value::Null),
        ("silent", true, "budget.released.v1", Value::Null),
    ] {
        let mut body = tenant.ask(model);
        body["stream"] = json!(streamed);
        let request = tenant.app.post(NATIVE, &body).await.must_be(504, "UPSTREAM_TIMEOUT").request_id();
        let life = gateway.life(&request).await;
        let [.., outcome, end] = &life[..] else { panic!("{life:?}") };
        assert_eq!((type_of(outcome), type_of(end)), ("inference.failed.v1", ended), "{model}: {outcome}");
        assert_eq!(outcome["data"]["usage"]["source"], source, "{model}, streamed {streamed}: {outcome}");
        if source == "unknown" {
            assert_eq!(nano(&end["data"]["charged_usd"]), held(end));
        }
    }
    gateway.books().await;
}
