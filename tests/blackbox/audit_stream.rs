//! The audit on its way to a SIEM.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use axum::body::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use testing::syslog::{SyslogReceiver, SyslogTransport};
use testing::upstream::CERTIFICATE;

use crate::alerts::{KEY, Receiver, must_be_signed};
use crate::client::Client;
use crate::gateway::Gateway;
use crate::shared_ledger::{folders, migrated, node};
use crate::tenant::made;
use crate::waiting::until;

/// Longer than a gateway waits until what it wrote counts as delivered, and then until it looks.
const DELIVERED_AFTER: Duration = Duration::from_secs(38);
const SYSLOG: &str = "LEDGERWAY_AUDIT_SYSLOG";
const STREAM: &str = "audit_stream";
const WEBHOOK: &str = "audit_webhook";
/// More than any line here.
const LINE_BYTES_MAX: usize = 1500;
const ALL: &str = "category=administration,money,access,inference,reads";

fn listener(scheme: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, format!("{scheme}://localhost:{port}"))
}

async fn state(gateway: &Gateway, role: &str) -> String {
    let health = gateway.client(None).get("/health").await.json();
    health["parts"][role].as_str().unwrap_or_default().to_owned()
}

async fn wait_for_state(gateway: &Gateway, role: &str, wanted: &str) {
    until(wanted, async || (state(gateway, role).await == wanted).then_some(())).await;
}

/// Makes a partner. Returns the position of the event.
async fn change(operator: &Client, name: &str) -> u64 {
    operator.post("/v1/admin/partners", &json!({ "name": name })).await.must(201).position()
}

/// Makes a model with instructions of this length. Returns the position of the event, which contains them.
async fn long_change(operator: &Client, name: &str, bytes: usize) -> u64 {
    let provider = json!({ "name": name, "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "k",
                           "allow_private_network": true });
    let provider = made(operator, "/providers", provider).await;
    let targets = json!([{ "provider_id": provider, "model": "m", "default_max_output_tokens": 256 }]);
    let model = json!({ "name": name, "targets": targets, "system_prefix": "x".repeat(bytes) });
    operator.post("/v1/admin/models", &model).await.must(201).position()
}

/// The header of a message, and what follows it.
fn message(text: &str) -> ([&str; 7], &str) {
    let parts: Vec<&str> = text.splitn(8, ' ').collect();
    let [priority, time, hostname, app, process, kind, data, line] = parts[..] else { panic!("{text}") };
    ([priority, time, hostname, app, process, kind, data], line)
}

fn event(text: &str) -> Value {
    let (header, line) = message(text);
    let event: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!([header[1], header[5]], [&event["metadata"]["original_time"], &event["metadata"]["event_code"]]);
    assert!(["<108>1", "<109>1", "<110>1"].contains(&header[0]) && header[3..5] == ["ledgerway", "-"], "{text}");
    event
}

fn position(event: &Value) -> u64 {
    event["metadata"]["sequence"].as_u64().expect("a position")
}

/// The events of all connections by position: the same each time that they came, and in order on each connection.
fn received(receiver: &SyslogReceiver) -> BTreeMap<u64, Value> {
    let mut all = BTreeMap::new();
    for connection in receiver.connections() {
        let events: Vec<Value> = connection.iter().map(|text| event(text)).collect();
        assert!(events.is_sorted_by(|one, next| position(one) < position(next)), "in order: {connection:?}");
        for event in events {
            let known = all.entry(position(&event)).or_insert_with(|| event.clone());
            assert_eq!(*known, event, "a repeated entry is the same");
        }
    }
    all
}

async fn wait_for(receiver: &SyslogReceiver, position: u64) {
    until(&format!("position {position} comes"), async || received(receiver).contains_key(&position).then_some(()))
        .await;
}

/// The entries from a position on, as queries give them. The stream has no names.
async fn queried(operator: &Client, from: u64, to: u64) -> BTreeMap<u64, Value> {
    let path = format!("/v1/audit?format=ocsf&limit=1000&min_position={to}&{ALL}");
    let lines = operator.get(&path).await.must(200);
    assert_eq!(lines.header("content-type"), "application/x-ndjson");
    let text = String::from_utf8(lines.body.to_vec()).expect("UTF-8");
    let events = text.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).expect("JSON");
        for named in ["/actor/user", "/resources/0", "/user"] {
            // Who has no uid is not named, but called unknown.
            let named = event.pointer_mut(named).and_then(Value::as_object_mut);
            named.filter(|named| named.contains_key("uid")).map(|named| named.remove("name"));
        }
        (position(&event), event)
    });
    events.filter(|(position, _)| (from..=to).contains(position)).collect()
}

/// Holds: audit.stream
#[tokio::test(flavor = "multi_thread")]
async fn every_entry_comes_in_order_also_after_outages_and_kills() {
    let (listener, address) = listener("tcp");
    let receiver = SyslogReceiver::default();
    let mut serving = receiver.serve(&listener, SyslogTransport::Tcp);
    let mut gateway = Gateway::start_with(&[(SYSLOG, &address)]);
    wait_for_state(&gateway, STREAM, "working").await;
    let operator = gateway.operator().clone();
    let first = change(&operator, "first").await;
    wait_for(&receiver, first).await;
    let agent = operator.clone().with("user-agent", "a|b=c\\d");
    let mut last = change(&agent, "quoted \"name\" | = \\").await;
    // A refusal, which several requests may share.
    gateway.client(Some("sgk_wrong")).get("/v1/usage").await.must(401);
    // Nobody takes what is sent, and then somebody does.
    drop(serving);
    for name in ["away 1", "away 2"] {
        last = change(&operator, name).await;
    }
    serving = receiver.serve(&listener, SyslogTransport::Tcp);
    wait_for(&receiver, last).await;
    for round in 0..3 {
        last = change(&operator, &format!("before kill {round}")).await;
        gateway.kill();
        gateway.start_again();
        last = last.max(change(&operator, &format!("after kill {round}")).await);
        wait_for(&receiver, last).await;
    }
    let (all, wanted) = (received(&receiver), queried(&operator, first, last).await);
    let all: BTreeMap<u64, Value> = all.into_iter().filter(|(position, _)| (first..=last).contains(position)).collect();
    assert_eq!(all, wanted);
    let denied = all.values().filter(|event| event["metadata"]["event_code"] == "access.denied").count();
    assert!(denied == 1 && all.len() >= 10, "{denied} of {}", all.len());
    let from = all.values().filter(|event| event["src_endpoint"]["ip"] == "127.0.0.1").count();
    assert!(from >= 9, "{from} with an address");
    let metrics = String::from_utf8(gateway.client(None).get("/metrics").await.must(200).body.to_vec()).expect("UTF-8");
    assert!(metrics.contains("ledgerway_role_lag_events{role=\"audit_stream\"}"), "{metrics}");
    gateway.stop();
    drop(serving);
}

/// Holds: audit.stream-tls
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_sent_by_tls_to_receivers_that_are_trusted_alone() {
    let (listener, address) = listener("tls");
    let receiver = SyslogReceiver::default();
    let _serving = receiver.serve(&listener, SyslogTransport::Tls);
    let env = [(SYSLOG, address.as_str()), ("LEDGERWAY_AUDIT_FORMAT", "cef")];
    let mut distrusting = Gateway::start_with(&env);
    wait_for_state(&distrusting, STREAM, "failing").await;
    change(distrusting.operator(), "unsent").await;
    distrusting.stop();
    assert!(distrusting.stderr().contains("the audit is not sent"), "{}", distrusting.stderr());
    assert!(receiver.connections().concat().is_empty());
    let mut gateway = Gateway::start_with(&[env[0], env[1], ("SSL_CERT_FILE", CERTIFICATE)]);
    wait_for_state(&gateway, STREAM, "working").await;
    let last = change(gateway.operator(), "acme").await;
    let text = until("an entry", async || receiver.connections().concat().first().cloned()).await;
    let (header, line) = message(&text);
    assert_eq!((header[0], header[5]), ("<110>1", "partner.created"));
    let begin =
        format!("CEF:0|Ledgerway|Ledgerway|{}|partner.created|partner created|2|rt=", env!("CARGO_PKG_VERSION"));
    assert!(line.starts_with(&begin) && line.contains(&format!(" externalId={last} ")), "{line}");
    gateway.stop();
}

/// Holds: audit.stream
#[tokio::test(flavor = "multi_thread")]
async fn one_node_at_a_time_sends_and_another_goes_on_when_it_dies() {
    let (database, [one, other]) = (migrated(), folders());
    let (listener, address) = listener("tcp");
    let receiver = SyslogReceiver::default();
    let _serving = receiver.serve(&listener, SyslogTransport::Tcp);
    let mut nodes = [one.path(), other.path()].map(|folder| node(&database.url(), folder, &[(SYSLOG, &address)]));
    let sending = until("one sends", async || {
        let states = [state(&nodes[0], STREAM).await, state(&nodes[1], STREAM).await];
        states.iter().position(|state| state == "working")
    })
    .await;
    let other = 1 - sending;
    let first = change(nodes[other].operator(), "first").await;
    wait_for(&receiver, first).await;
    assert_eq!(receiver.connections().len(), 1, "the other one waits");
    nodes[sending].kill();
    let last = change(nodes[other].operator(), "last").await;
    wait_for(&receiver, last).await;
    let operator = nodes[other].operator().clone();
    let all: BTreeMap<u64, Value> =
        received(&receiver).into_iter().filter(|(at, _)| (first..=last).contains(at)).collect();
    assert_eq!(all, queried(&operator, first, last).await);
    nodes[other].stop();
}

/// The entries of these posts, which must be in order.
fn lines_of(posts: &[(HeaderMap, Bytes)]) -> BTreeMap<u64, Value> {
    let mut all = BTreeMap::new();
    for (headers, body) in posts {
        assert_eq!(headers["content-type"], "application/x-ndjson");
        let text = std::str::from_utf8(body).expect("UTF-8");
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(events.is_sorted_by(|one, next| position(one) < position(next)), "in order: {text}");
        let [begin, end] = [&events[0], &events[events.len() - 1]].map(position);
        assert_eq!(headers["webhook-id"], format!("audit_{begin}_{end}").as_str());
        all.extend(events.into_iter().map(|event| (position(&event), event)));
    }
    all
}

/// Holds: audit.webhook
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_every_entry_in_signed_batches_also_after_refusals_and_kills() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    let env = [("LEDGERWAY_AUDIT_WEBHOOK", url.as_str()), ("LEDGERWAY_AUDIT_WEBHOOK_SECRET", secret.as_str())];
    let receiver = Receiver::default();
    let _serving = receiver.serve(listener);
    let mut gateway = Gateway::start_with(&env);
    wait_for_state(&gateway, WEBHOOK, "working").await;
    let operator = gateway.operator().clone();
    // Neither a refusal nor an outage drops an entry.
    receiver.answer_next(2, StatusCode::FORBIDDEN);
    let first = change(&operator, "first").await;
    receiver.wait_for(1).await;
    receiver.answer_next(2, StatusCode::BAD_GATEWAY);
    let mut last = first;
    for round in 0..3 {
        change(&operator, &format!("before kill {round}")).await;
        gateway.kill();
        gateway.start_again();
        last = change(&operator, &format!("after kill {round}")).await;
    }
    let mut all = BTreeMap::new();
    until("the last entry", async || {
        let posts = receiver.wait_for(1).await;
        posts.iter().for_each(|(headers, body)| must_be_signed(headers, body));
        all = lines_of(&posts);
        all.contains_key(&last).then_some(())
    })
    .await;
    all.retain(|position, _| (first..=last).contains(position));
    assert_eq!(all, queried(&operator, first, last).await);
    gateway.stop();
    let said = format!("{}{}", gateway.stdout(), gateway.stderr());
    assert!(!said.contains(&url) && !said.contains("whsec_"), "an address of a webhook is a secret: {said}");
}

/// Holds: audit.webhook
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_for_a_webhook_comes_in_parts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let receiver = Receiver::default();
    let _serving = receiver.serve(listener);
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_AUDIT_WEBHOOK", url.as_str())]);
    wait_for_state(&gateway, WEBHOOK, "working").await;
    let operator = gateway.operator().clone();
    // While the receiver is away, entries gather for one batch.
    receiver.accept_at_most(LINE_BYTES_MAX * 2);
    receiver.answer_next(3, StatusCode::BAD_GATEWAY);
    let first = change(&operator, "first").await;
    for number in 0..20 {
        change(&operator, &format!("partner {number}")).await;
    }
    let last = change(&operator, "last").await;
    let mut all = BTreeMap::new();
    until("the last entry", async || {
        all = lines_of(&receiver.wait_for(1).await);
        all.contains_key(&last).then_some(())
    })
    .await;
    all.retain(|position, _| (first..=last).contains(position));
    assert_eq!(all, queried(&operator, first, last).await);
    assert!(receiver.too_large() > 0, "no batch was too large");
    gateway.stop();
}

/// Characters that some reader or other takes for the end of a line.
const LINE_ENDS: [char; 7] = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];

/// Holds: audit.stream-lines
#[tokio::test(flavor = "multi_thread")]
async fn no_name_ends_a_line_or_a_field_of_it() {
    for format in ["ocsf", "cef"] {
        let (listener, address) = listener("tcp");
        let receiver = SyslogReceiver::default();
        let _serving = receiver.serve(&listener, SyslogTransport::Tcp);
        let mut gateway = Gateway::start_with(&[(SYSLOG, &address), ("LEDGERWAY_AUDIT_FORMAT", format)]);
        wait_for_state(&gateway, STREAM, "working").await;
        let operator = gateway.operator();
        for refused in ["\\n", "\\u0000", "\\u0085", "\\ud800"] {
            let body = format!("{{\"name\":\"a{refused}b\"}}");
            operator.send(Method::POST, "/v1/admin/partners", body).await.expect("an answer").must(400);
        }
        // The characters of three bytes show whether the count before a message is of bytes.
        let names = ["a\u{2028}<110>1 b", "a\u{2029}CEF:0|b", "a|b=c\\ cs4=d", "\u{fffd}\u{20ac}\"}{\"x\":\"y"];
        let mut last = 0;
        for name in names {
            last = change(operator, name).await;
        }
        let wanted = match format {
            "ocsf" => format!("\"sequence\":{last},"),
            _ => format!(" externalId={last} "),
        };
        let came = until("the last one", async || {
            let came = receiver.connections().concat();
            came.iter().any(|text| text.contains(&wanted)).then_some(came)
        })
        .await;
        let of_partners: Vec<&str> = came
            .iter()
            .map(|text| message(text))
            .filter(|(header, _)| header[5] == "partner.created")
            .map(|of| of.1)
            .collect();
        assert_eq!(of_partners.len(), names.len(), "{came:?}");
        assert!(!came.iter().any(|text| text.contains(LINE_ENDS)), "{came:?}");
        for (name, line) in names.iter().zip(of_partners) {
            match format {
                "ocsf" => {
                    let event: Value = serde_json::from_str(line).expect("JSON");
                    assert_eq!(event["unmapped"]["changes"]["name"], *name);
                }
                _ => assert_eq!(line.matches(" cs4=").count(), 1, "{line}"),
            }
        }
        gateway.stop();
    }
}

/// Holds: audit.stream-long
#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_at_most_8_kib_unless_more_is_allowed() {
    for (env, is_whole) in [(None, false), (Some(("LEDGERWAY_AUDIT_MESSAGE_BYTES", "65536")), true)] {
        let (listener, address) = listener("tcp");
        let receiver = SyslogReceiver::taking_at_most(if is_whole { 65_536 } else { 8_192 });
        let _serving = receiver.serve(&listener, SyslogTransport::Tcp);
        let env: Vec<_> = [(SYSLOG, address.as_str())].into_iter().chain(env).collect();
        let mut gateway = Gateway::start_with(&env);
        wait_for_state(&gateway, STREAM, "working").await;
        let long = long_change(gateway.operator(), "long", 20_000).await;
        let last = change(gateway.operator(), "last").await;
        wait_for(&receiver, last).await;
        let event = &received(&receiver)[&long];
        assert_eq!(event["unmapped"]["changes_omitted"] == true, !is_whole, "{event}");
        assert_eq!(event["unmapped"].get("changes").is_some(), is_whole, "{event}");
        assert_eq!(receiver.connections().len(), 1, "nothing ended the connection");
        gateway.stop();
    }
}

/// Holds: audit.stream-long
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_ends_connections_at_long_messages_gets_all_that_follow() {
    let (listener, address) = listener("tcp");
    let receiver = SyslogReceiver::taking_at_most(4_096);
    let _serving = receiver.serve(&listener, SyslogTransport::Tcp);
    let mut gateway = Gateway::start_with(&[(SYSLOG, &address)]);
    wait_for_state(&gateway, STREAM, "working").await;
    let operator = gateway.operator();
    let long = long_change(operator, "long", 5_000).await;
    let last = change(operator, "last").await;
    let came = until("what follows the long one", async || {
        let connections = receiver.connections();
        let newest: Vec<Value> = connections.last()?.iter().map(|text| event(text)).collect();
        newest.iter().any(|event| position(event) == last).then_some(newest)
    })
    .await;
    let of = |wanted| came.iter().find(|event| position(event) == wanted).expect("it came");
    assert_eq!(of(long)["unmapped"]["changes_omitted"], true);
    assert_eq!(of(last)["unmapped"]["changes"]["name"], "last");
    // Once those count as delivered, messages are as long as before, on the same connection.
    tokio::time::sleep(DELIVERED_AFTER).await;
    let connections = receiver.connections().len();
    let rather_long = long_change(operator, "rather-long", 2_500).await;
    let event = until("the rather long one", async || {
        receiver.connections().iter().flatten().map(|text| event(text)).find(|event| position(event) == rather_long)
    })
    .await;
    assert!(event["unmapped"].get("changes").is_some(), "{event}");
    assert_eq!(receiver.connections().len(), connections);
    gateway.stop();
    assert!(gateway.stderr().contains("the receiver of the audit ends each connection"), "{}", gateway.stderr());
}

/// Holds: audit.webhook-refused
#[tokio::test(flavor = "multi_thread")]
async fn one_entry_that_a_webhook_refuses_holds_up_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let receiver = Receiver::default();
    let _serving = receiver.serve(listener);
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_AUDIT_WEBHOOK", url.as_str())]);
    wait_for_state(&gateway, WEBHOOK, "working").await;
    let [operator, agent] = ["tests/1", "poison/1"].map(|agent| gateway.operator().clone().with("user-agent", agent));
    for status in [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::FORBIDDEN] {
        receiver.refuse("poison", status);
        let before = change(&operator, "before").await;
        let in_changes = change(&operator, "<script>poison</script>").await;
        let in_agent = change(&agent, "agent").await;
        let last = change(&operator, "last").await;
        let mut all = BTreeMap::new();
        until("the last entry", async || {
            all = lines_of(&receiver.wait_for(1).await);
            all.contains_key(&last).then_some(())
        })
        .await;
        assert!((before..=last).all(|position| all.contains_key(&position)), "{status}: {:?}", all.keys());
        for (position, name) in [(before, "before"), (last, "last")] {
            assert_eq!(all[&position]["unmapped"]["changes"]["name"], name, "{status}");
        }
        let (in_changes, in_agent) = (&all[&in_changes], &all[&in_agent]);
        assert_eq!(in_changes["unmapped"]["changes_omitted"], true, "{status}: {in_changes}");
        assert!(in_changes.get("http_request").is_some(), "{status}: only what was refused is left out: {in_changes}");
        assert!(in_agent.get("http_request").is_none(), "{status}: {in_agent}");
        assert_eq!(in_agent["src_endpoint"]["ip"], "127.0.0.1", "{status}");
    }
    gateway.stop();
    assert!(gateway.stderr().contains("the webhook refused an entry of the audit"), "{}", gateway.stderr());
}

/// A receiver that refuses for a while, as one does whose secret is replaced, costs no entry its changes, then or later.
/// Holds: audit.webhook-refused
#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_end_by_themselves_shorten_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/budgets", listener.local_addr().expect("an address"));
    let receiver = Receiver::default();
    let _serving = receiver.serve(listener);
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_AUDIT_WEBHOOK", url.as_str())]);
    wait_for_state(&gateway, WEBHOOK, "working").await;
    for refusals in [5, 1] {
        receiver.answer_next(refusals, StatusCode::FORBIDDEN);
        let changed = change(gateway.operator(), "changed").await;
        let entry = until("the entry", async || lines_of(&receiver.wait_for(0).await).get(&changed).cloned()).await;
        assert_eq!(entry["unmapped"]["changes"]["name"], "changed", "after {refusals}: {entry}");
    }
    gateway.stop();
}
