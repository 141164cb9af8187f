//! Conventions that hold everywhere: money, times, ids, lists, positions.

use http::Method;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, type_of};
use crate::tenant::{NATIVE, OPENAI, Tenant};

const TIMES: [&str; 4] = ["effective_from", "period_start", "previous_until", "window_start"];
const PREFIXES: [&str; 11] = ["par", "ten", "usr", "key", "prv", "mdl", "prc", "bud", "lim", "asr", "req"];

fn is_money(text: &str) -> bool {
    let Some((whole, fraction)) = text.trim_start_matches('-').split_once('.') else { return false };
    !whole.is_empty() && fraction.len() == 9 && (whole.to_owned() + fraction).bytes().all(|byte| byte.is_ascii_digit())
}

/// `2026-11-20T08:15:30.123456Z`.
fn is_time(text: &str) -> bool {
    let shape = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    shape.eq(*b"0000-00-00T00:00:00.000000Z")
}

/// A prefix, and 32 digits of a UUID of version 7.
fn is_id(text: &str) -> bool {
    let Some((prefix, hex)) = text.split_once('_') else { return false };
    let digits = hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    PREFIXES.contains(&prefix) && hex.len() == 32 && digits && &hex[12..13] == "7" && "89ab".contains(&hex[16..17])
}

/// How many values of each kind were seen.
#[derive(Default)]
struct Seen {
    money: usize,
    times: usize,
    ids: usize,
}

impl Seen {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| self.judge(name, value)),
            Value::Array(items) => items.iter().for_each(|item| self.look(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn judge(&mut self, name: &str, value: &Value) {
        let text = value.as_str().unwrap_or_default();
        if value.is_null() {
        } else if name.ends_with("_usd") || name.ends_with("_usd_per_mtok") {
            assert!(is_money(text), "{name}: {value}");
            self.money += 1;
        } else if name != "alert_at" && name.ends_with("_at") || TIMES.contains(&name) {
            assert!(is_time(text), "{name}: {value}");
            self.times += 1;
        } else if name == "id" || name.ends_with("_id") && !["external_id", "upstream_request_id"].contains(&name) {
            assert!(is_id(text), "{name}: {value}");
            self.ids += 1;
        } else {
            self.look(value);
        }
    }
}

/// One of every resource, an answer, a failure and a refusal.
async fn traffic(gateway: &Gateway, upstream: &MockUpstream) -> Tenant {
    let tenant = Tenant::new(gateway, upstream, &["ok", "e500"]).await;
    let limit = json!({ "scope": { "key_id": tenant.key }, "requests_per_minute": 50 });
    gateway.operator().post("/v1/admin/rate-limits", &limit).await.must(201);
    let day = json!({ "scope": { "user_id": tenant.user }, "limit_usd": "5", "period": "day" });
    gateway.operator().post("/v1/admin/budgets", &day).await.must(201);
    gateway.operator().post(&format!("/v1/admin/keys/{}/rotate", tenant.key), &json!({})).await.must(200);
    let (_, app) = tenant.new_key(gateway, json!({ "expires_at": "2099-01-01T00:00:00Z" })).await;
    app.post(NATIVE, &tenant.ask("ok")).await.must(200);
    app.post(NATIVE, &tenant.ask("e500")).await.must(502);
    tenant
}

/// The paths of every GET that takes a `min_position` and no name.
async fn questions(gateway: &Gateway) -> Vec<String> {
    let document = gateway.client(None).get("/openapi.json").await.must(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let is_question =
        |path: &str, item: &Value| item.get("get").is_some() && !path.contains('{') && path.contains("/v1/");
    paths.iter().filter(|(path, item)| is_question(path, item)).map(|(path, _)| path.clone()).collect()
}

/// Holds: http.money, http.times, http.ids, http.lists, event.envelope
#[tokio::test(flavor = "multi_thread")]
async fn money_times_ids_and_lists_have_one_form_everywhere() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = traffic(&gateway, &upstream).await;
    let head = gateway.head().await;
    let mut seen = Seen::default();
    let mut lists = 0;
    for path in questions(&gateway).await {
        let answer = gateway.operator().get(&format!("{path}?min_position={head}")).await.must(200);
        let Ok(answer) = serde_json::from_slice::<Value>(&answer.body) else { continue };
        if path.ends_with("/models") && !path.contains("admin") {
            answer["data"].as_array().expect("models").iter().for_each(|model| seen.look(&model["price"]));
            continue;
        }
        seen.look(&answer);
        if answer.get("items").is_some() {
            lists += 1;
            assert!(answer["as_of_position"].is_u64() && answer["items"].is_array(), "{path}: {answer}");
            assert!(answer.get("next_cursor").is_some(), "{path}: {answer}");
        }
    }
    assert!(lists >= 13, "{lists} lists");
    for event in gateway.events().await {
        for name in ["position", "recorded_at", "stream", "sequence", "type", "actor", "data"] {
            assert!(event.get(name).is_some(), "{name}: {event}");
        }
        let is_ours = event["request_id"].is_string() && event["tenant_id"] == tenant.id;
        if is_ours && type_of(&event).starts_with("inference.") {
            assert!(["partner_id", "user_id", "key_id"].iter().all(|owner| event[owner].is_string()), "{event}");
        }
        seen.look(&event);
    }
    assert!(seen.money > 60 && seen.times > 70 && seen.ids > 150, "{} {} {}", seen.money, seen.times, seen.ids);
}

/// Holds: http.min-position, admin.read-your-writes
#[tokio::test(flavor = "multi_thread")]
async fn every_get_answers_as_of_the_position_that_it_is_given_and_refuses_one_that_the_log_does_not_have() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    Tenant::new(&gateway, &upstream, &["ok"]).await;
    let questions = questions(&gateway).await;
    assert!(questions.len() > 15, "{questions:?}");
    let (operator, head) = (gateway.operator(), gateway.head().await);
    let asked = questions.iter().map(|path| async move {
        operator.get(&format!("{path}?min_position={head}")).await.must(200);
        let reply = operator.get(&format!("{path}?min_position={}", head + 1)).await;
        (path, reply.must(400).json()["error"].clone())
    });
    for (path, error) in futures_util::future::join_all(asked).await {
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains("min_position") && message.contains(&head.to_string()), "{path}: {error}");
        if error.get("details").is_some() {
            assert_eq!(error["details"]["field"], "min_position", "{path}");
            assert_eq!(error["details"]["position"], head, "{path}: where the log is");
        }
    }
    let made = gateway.operator().post("/v1/admin/partners", &json!({ "name": "just made" })).await.must(201);
    let listed = gateway.operator().get("/v1/admin/partners?limit=1").await.must(200).json();
    assert_eq!(listed["items"][0]["id"], made.json()["id"]);
}

/// Holds: http.position, admin.events, admin.reply, admin.other-names, admin.crud
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_answered_with_the_position_of_its_last_event() {
    let gateway = Gateway::start();
    let operator = gateway.operator();
    let first = operator.post("/v1/admin/partners", &json!({ "name": "twice" })).await.must(201);
    let second = operator.post("/v1/admin/partners", &json!({ "name": "twice" })).await.must(201);
    assert_ne!(first.json()["id"], second.json()["id"], "names are free");
    let one = format!("/v1/admin/partners/{}", first.json()["id"].as_str().expect("an id"));
    let changed = operator.patch(&one, &json!({ "name": "once" })).await.must(200);
    let ended = operator.delete(&one).await.must(200);
    assert_eq!(operator.get(&one).await.must(200).json(), ended.json(), "what has ended can be read");
    assert_eq!((&ended.json()["name"], ended.json()["ended_at"].is_string()), (&json!("once"), true));
    let log = gateway.events().await;
    for (reply, name) in [
        (&first, "partner.created.v1"),
        (&second, "partner.created.v1"),
        (&changed, "partner.changed.v1"),
        (&ended, "partner.ended.v1"),
    ] {
        let event = &log[usize::try_from(reply.position() - 1).expect("a position")];
        assert_eq!((type_of(event), &event["partner_id"]), (name, &reply.json()["id"]));
    }
}

/// A prompt is not to stand behind an answer, whoever asks with curl.
/// Holds: http.line-end
#[tokio::test(flavor = "multi_thread")]
async fn json_ends_with_a_line_end() {
    let (gateway, upstream) = (Gateway::start_with(&[("LEDGERWAY_DEV", "true")]), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let simulated = std::fs::read_to_string(gateway.data().join("dev.key")).expect("a key").trim().to_owned();
    let simulated = gateway.client(Some(&simulated));
    let hello = json!({ "model": "sim-small", "messages": [{ "role": "user", "content": "hello" }] });
    let operator = gateway.operator();
    let mut answers = vec![
        ("made", operator.post("/v1/admin/partners", &json!({ "name": "p" })).await.must(201)),
        ("native", tenant.chat("ok").await.must(200)),
        ("relayed", tenant.openai("ok").await.must(200)),
        ("simulated", simulated.post(OPENAI, &hello).await.must(200)),
        ("simulated, native", simulated.post(NATIVE, &hello).await.must(200)),
        ("unknown model", tenant.openai("no-such-model").await.must(404)),
        ("no key", gateway.client(None).get("/v1/me").await.must(401)),
    ];
    for path in [
        "/v1/me", "/v1/usage", "/v1/budgets", "/v1/audit", "/v1/inferences", "/v1/projections", "/v1/log/head",
        "/v1/admin/keys", "/v1/models", "/oai/v1/models", "/health", "/health/live", "/openapi.json",
    ] {
        let answer = operator.get(path).await.must(200);
        let head = operator.send(Method::HEAD, path, "").await.expect("a reply").must(200);
        assert!(head.body.is_empty(), "{path}: {head:?}");
        // Other bodies may have changed between the two.
        if matches!(path, "/health/live" | "/openapi.json" | "/v1/models") {
            assert_eq!(head.header("content-length"), answer.header("content-length"), "{path}");
        }
        answers.push((path, answer));
    }
    for path in ["/v1/nothing", "/v1/responses/resp_1"] {
        answers.push((path, operator.get(path).await.must(404)));
    }
    for (what, answer) in answers {
        assert!(answer.body.ends_with(b"}\n") && !answer.body.ends_with(b"\n\n"), "{what}: {answer:?}");
        let said = answer.header("content-length");
        assert_eq!(said, answer.body.len().to_string(), "{what}");
        assert!(answer.json().is_object(), "{what}");
    }
}
