//! Requests whose client leaves before they are answered: what was not sent costs nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, Tenant, made};
use crate::upstream::MockUpstream;

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

/// How many calls to upstreams were begun, whoever they went to.
async fn calls(gateway: &Gateway) -> u64 {
    let metrics = gateway.client(None).get("/metrics").await.must(200);
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counts = metrics.lines().filter(|line| line.starts_with("ledgerway_upstream_calls_total{"));
    counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

async fn until_called(gateway: &Gateway, times: u64) {
    while calls(gateway).await < times {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A priced model of the tenant's at an address of its own.
async fn model_at(gateway: &Gateway, tenant: &Tenant, name: &str, base_url: &str) {
    let provider = json!({ "name": name, "kind": "openai", "base_url": base_url, "api_key": "k",
                           "allow_private_network": true });
    let provider = made(gateway.operator(), "/providers", provider).await;
    let price = json!({ "provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15",
                        "request_usd": "0.001" });
    made(gateway.operator(), "/prices", price).await;
    let targets = json!([{ "provider_id": provider, "model": "m", "default_max_output_tokens": 256 }]);
    made(gateway.operator(), "/models", json!({ "name": tenant.model(name), "targets": targets })).await;
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
        model_at(&gateway, &tenant, "silent", &format!("https://{address}/v1")).await;
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
    model_at(&gateway, &tenant, "full", &format!("http://{address}/v1")).await;
    let mut waiting = Waiting::new();
    let client = waiting.ask(&gateway, &tenant, tenant.ask("full"));
    timeout(ENDED_MAX, until_called(&gateway, 1)).await.expect("it is called");
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
        while !gateway.stderr().contains("call an upstream") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(ENDED_MAX, refused).await.expect("the first try fails");
    client.abort();
    must_cost_nothing(&gateway).await;
    assert_eq!(upstream.seen_of("e429-1"), 1);
}
