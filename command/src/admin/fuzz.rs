//! Fuzz targets of administrative bodies and of addresses in them. See `docs/fuzzing.md`.

mod keys;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use events::money::NanoUsd;
use events::refusal::ErrorCode;
use fuzzing::{Corpus, fuzz, long, shown, within_bounds};
use provider_client::guard;
use serde_json::{Map, Value};

use super::fields::Fields;
use super::resources::base_url::{is_forbidden, normal_form, same_origin};
use super::tests::lab::{Lab, json_type};

/// Collections, valid bodies, and the fields of the reply that a body can have.
const RESOURCES: [(&str, &str, &[&str]); 12] = [
    ("partners", r#"{"name":"House & Co"}"#, &["name"]),
    ("tenants", r#"{"partner_id":"par_P","name":"Kunde é"}"#, &["partner_id", "name"]),
    (
        "users",
        r#"{"tenant_id":"ten_T","name":"Ada","email":"ada@example.com","roles":["member",{"role":"auditor","scope":"platform"},{"role":"tenant_admin","scope":{"tenant_id":"ten_T"}}]}"#,
        &["tenant_id", "name", "email"],
    ),
    (
        "teams",
        r#"{"tenant_id":"ten_T","name":"Suche é","user_ids":["usr_U"],"slug":"search","external_id":"CC-7","labels":{"managed-by":"git"}}"#,
        &["tenant_id", "name", "user_ids", "external_id", "labels"],
    ),
    (
        "keys",
        r#"{"user_id":"usr_U","name":"app","permissions":["models:use","usage:read"],"models":["sim-*","gpt-[45]?"],"expires_at":"2027-01-01T00:00:00Z"}"#,
        &["user_id", "name", "permissions", "models", "expires_at"],
    ),
    (
        "providers",
        r#"{"name":"up","kind":"openai","base_url":"https://api.example.com/v1","api_key":"sk-123","tenant_id":null,"allow_private_network":false,"timeout_ms":1000,"idle_timeout_ms":500,"headers":{"x-team":"a"},"output_cap_field":"max_tokens"}"#,
        &["name", "kind", "base_url", "tenant_id", "timeout_ms", "idle_timeout_ms", "headers", "output_cap_field"],
    ),
    (
        "provider-keys",
        r#"{"provider_id":"prv_U","name":"second","api_key":"sk-456","weight":7,"requests_per_minute":60,"tokens_per_minute":30000,"concurrent_requests":8}"#,
        &["provider_id", "name", "weight", "requests_per_minute", "tokens_per_minute", "concurrent_requests"],
    ),
    (
        "models",
        r#"{"name":"house/large","strategy":"priority","targets":[{"provider_id":"prv_R","model":"echo?output_tokens=3","priority":1,"weight":2,"context_window":8192,"max_output_tokens":4096,"default_max_output_tokens":100}],"system_prefix":"Be\nbrief.","tenant_id":"ten_T"}"#,
        &[],
    ),
    (
        "prices",
        r#"{"provider_id":"prv_R","model":"echo","input_usd_per_mtok":"0.15","output_usd_per_mtok":"0.6","cache_read_usd_per_mtok":"0.075","request_usd":"0.000000001","effective_from":"2026-11-20T08:00:00.5+01:00"}"#,
        &[
            "provider_id", "model", "input_usd_per_mtok", "output_usd_per_mtok", "cache_read_usd_per_mtok",
            "cache_write_usd_per_mtok", "reasoning_usd_per_mtok", "request_usd", "effective_from",
        ],
    ),
    (
        "budgets",
        r#"{"scope":{"tenant_id":"ten_T"},"limit_usd":"12.5","period":"month"}"#,
        &["scope", "limit_usd", "period"],
    ),
    (
        "rate-limits",
        r#"{"scope":{"user_id":"usr_U"},"requests_per_minute":60,"tokens_per_day":5000,"concurrent_requests":8}"#,
        &[
            "scope", "requests_per_minute", "requests_per_hour", "requests_per_day", "tokens_per_minute",
            "tokens_per_day", "concurrent_requests",
        ],
    ),
    (
        "audit-searches",
        r#"{"name":"refusals é","tenant_id":"ten_T","filter":{"category":"access,money","severity":"warning","from":"2026-11-20","action":"key.created","q":"a"}}"#,
        &["name", "tenant_id", "filter"],
    ),
];

/// The longest text of a refusal, in bytes.
const WORDS_BYTES_MAX: usize = 2048;

/// Replaces the placeholders by ids of the lab.
fn with_ids(body: &[u8], lab: &Lab, [provider, upstream]: [&str; 2]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let text = text.replace("ten_T", &lab.tenancy.tenant.to_string()).replace("usr_U", &lab.tenancy.user.to_string());
    text.replace("par_P", &lab.tenancy.partner.to_string())
        .replace("prv_R", provider)
        .replace("prv_U", upstream)
        .into_bytes()
}

#[test]
fn a_reply_is_a_body_that_creates_the_same_resource() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lab = runtime.block_on(Lab::new());
    let simulator = serde_json::json!({"name": "sim", "kind": "simulator"});
    let provider = runtime.block_on(lab.make("/providers", simulator));
    let upstream = serde_json::json!({"name": "o", "kind": "openai", "base_url": "https://o.example.com/v1"});
    let upstream = runtime.block_on(lab.make("/providers", upstream));
    let corpora = RESOURCES.map(|(_, body, _)| Corpus::of([body.as_bytes().to_vec()]));
    let operator = lab.operator();
    let post = |path: &str, body: Vec<u8>| runtime.block_on(lab.request(&operator, "POST", path, body, json_type()));
    fuzz!(400, |dice| {
        let which = dice.below(RESOURCES.len());
        let (collection, _, fields) = RESOURCES[which];
        let path = format!("/v1/admin/{collection}");
        let body = with_ids(&corpora[which].draw(dice), &lab, [&provider, &upstream]);
        let reply = post(&path, body.clone());
        let Value::Object(made) = reply.body else {
            let refusal = reply.refusal.unwrap_or_else(|| panic!("{} for {}", reply.status, shown(&body)));
            assert!((400..500).contains(&reply.status), "{refusal:?} for {}", shown(&body));
            let words = refusal.message.len() + Value::Object(refusal.details.clone()).to_string().len();
            assert!(words < WORDS_BYTES_MAX, "{words} bytes to say no to {}", shown(&body));
            let names_its_field = refusal.details.contains_key("field");
            assert!(names_its_field || refusal.code != ErrorCode::InvalidRequest, "{refusal:?}");
            return;
        };
        matches_the_body(&made, &body, fields);
        // Names of live providers and searches are unique.
        let end = |id: &Value| {
            let one = format!("{path}/{}", id.as_str().expect("an id"));
            runtime.block_on(lab.send(&operator, "DELETE", &one, &serde_json::json!({}))).must(200)
        };
        // A provider has a bounded number of keys, of which no reply shows the secret.
        if matches!(collection, "providers" | "provider-keys" | "audit-searches") {
            end(&made["id"]);
        }
        if collection == "provider-keys" {
            return;
        }
        let said: Map<String, Value> = made.iter().filter(|(name, _)| fields.contains(&&***name)).map(owned).collect();
        if fields.is_empty() {
            return;
        }
        let again = post(&path, Value::Object(said.clone()).to_string().into_bytes());
        assert_eq!(again.status, 201, "{:?} for {} of {}", again.refusal, Value::Object(said), shown(&body));
        if matches!(collection, "providers" | "audit-searches") {
            end(&again.body["id"]);
        }
        for (name, value) in said {
            assert_eq!(again.body[&name], value, "{name} of {}", shown(&body));
        }
    });
}

/// Fields are returned as they were sent, except those with a normal form; money keeps every digit.
fn matches_the_body(made: &Map<String, Value>, body: &[u8], fields: &[&str]) {
    let Ok(Value::Object(asked)) = serde_json::from_slice(body) else { return };
    for (name, value) in asked.iter().filter(|(name, value)| fields.contains(&&***name) && !value.is_null()) {
        match (value.as_str(), name.as_str()) {
            (_, "base_url" | "headers" | "expires_at" | "effective_from" | "permissions" | "scope" | "filter") => {}
            (Some(text), name) if name.ends_with("_usd") || name.ends_with("_mtok") => {
                let nanos = text.parse::<NanoUsd>().expect("it was taken for money");
                assert_eq!(made[name], nanos.to_string(), "{name} of {}", shown(body));
            }
            (_, name) => assert_eq!(&made[name], value, "{name} of {}", shown(body)),
        }
    }
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

#[test]
fn expensive_bodies_are_read_in_time() {
    let deep = format!("{{\"a\":{}", "[".repeat(long()));
    let names: Vec<String> = (0..long() / 12).map(|number| format!("\"n{number}\":1")).collect();
    let list = format!("{{\"a\":[{}]}}", "1,".repeat(long() / 2));
    for body in [deep, format!("{{{}}}", names.join(",")), list, format!("{{\"{}\":1}}", "a".repeat(long()))] {
        let refused = within_bounds(&format!("{body:.20}…"), || Fields::of_body(body.as_bytes())?.finish());
        let error = refused.expect_err("nobody knows such a field");
        assert!(error.field.len() + error.reason.len() < WORDS_BYTES_MAX, "{body:.20}");
    }
}

const URLS: [&str; 16] = [
    "https://api.example.com/v1",
    "http://10.0.0.1:8080/",
    "HTTPS://API.example.com:443//v1//",
    "http://0x7f.1",
    "http://2130706433/",
    "http://[::1]:80/a/../b",
    "http://[::ffff:10.0.0.1]",
    "http://[64:ff9b::169.254.169.254]/",
    "http://169.254.169.254/latest",
    "http://LOCALHOST.:1",
    "http://a.localhost/",
    "https://user:pw@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://exämple.com/ü?q#f",
    "http:example.com",
    "file:///etc/passwd",
];

#[test]
fn an_address_has_one_form_and_means_the_same_host_to_every_reader() {
    let corpus = Corpus::of(URLS.map(|url| url.as_bytes().to_vec()));
    fuzz!(10_000, |dice| {
        let text = String::from_utf8_lossy(&corpus.draw(dice)).into_owned();
        let Ok(normal) = normal_form(&text) else { return };
        assert_eq!(normal_form(&normal).as_deref(), Ok(&*normal), "{text:?}");
        assert!(same_origin(&text, &normal), "{text:?} {normal:?}");
        assert!(normal.bytes().all(|byte| byte.is_ascii_graphic()) && !normal.contains(['?', '#']), "{normal:?}");
        for allow in [false, true] {
            assert_eq!(is_forbidden(&normal, allow), is_forbidden(&text, allow), "{text:?}");
        }
        assert!(is_forbidden(&normal, false) || !is_forbidden(&normal, true), "{text:?}");
        // One parser reads the address that is checked, another the address that is called.
        let validated_by = url::Url::parse(&normal).expect("a normal form is a URL");
        let Ok(called) = format!("{normal}/chat/completions").parse::<http::Uri>() else { return };
        assert!(validated_by.username().is_empty() && validated_by.password().is_none(), "{text:?}");
        assert_eq!(called.authority().map(|authority| authority.as_str().contains('@')), Some(false), "{text:?}");
        assert_eq!(called.host(), validated_by.host_str(), "{text:?}");
        assert_eq!(called.port_u16(), validated_by.port(), "{text:?}");
        assert_eq!(called.scheme_str(), Some(validated_by.scheme()), "{text:?}");
        assert!(called.path().ends_with("/chat/completions") && called.query().is_none(), "{text:?} {called}");
        if let Some(Ok(ip)) = called.host().map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>()) {
            assert_eq!(is_forbidden(&normal, false), guard::is_forbidden(ip, false), "{text:?}");
        }
    });
}

/// IPv6 addresses that can carry packets to an IPv4 address.
fn wrapped(ip: Ipv4Addr, network: u32) -> [Ipv6Addr; 6] {
    let [a, b, c, d] = ip.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (net_high, net_low) = ((network >> 16) as u16, (network & 0xFFFF) as u16);
    [
        ip.to_ipv6_mapped(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, net_high, 0, 0, 0, net_low),
        Ipv6Addr::new(0x2001, 0, high, low, net_high, net_low, 0xfefe, 0xfefe),
        Ipv6Addr::new(0x2001, 0, 0x0101, 0x0101, net_high, net_low, !high, !low),
        Ipv6Addr::new(0x2a00, net_high, net_low, 0, 0, 0x5efe, high, low),
    ]
}

#[test]
fn no_allowed_address_stands_for_a_forbidden_one() {
    fuzz!(10_000, |dice| {
        let [a, b] = [dice.byte(), dice.byte()];
        let (first, second) = [(10, b), (127, b), (169, 254), (192, 168), (100, 100), (a, b)][dice.below(6)];
        let ip = Ipv4Addr::new(first, second, dice.byte(), dice.byte());
        let network = u32::from(dice.byte()) << 8 | u32::from(dice.byte());
        let (closed, shut) = (guard::is_forbidden(ip.into(), false), guard::is_forbidden(ip.into(), true));
        let is_inside = ip.is_private() || ip.is_loopback() || ip.is_unspecified() || ip.is_broadcast();
        assert!(closed || !(is_inside || ip.is_multicast() || ip.is_documentation()), "{ip}");
        assert!(shut || !ip.is_link_local(), "{ip}");
        for wrapped in wrapped(ip, network) {
            assert!(guard::is_forbidden(wrapped.into(), false) || !closed, "{wrapped} stands for {ip}");
            assert!(guard::is_forbidden(wrapped.into(), true) || !shut, "{wrapped} stands for {ip}");
        }
        let other = Ipv6Addr::from(u128::from(dice.word()) << 64 | u128::from(dice.word()));
        let is_inside = other.is_loopback() || other.is_unique_local() || other.is_multicast();
        assert!(guard::is_forbidden(other.into(), false) || !is_inside, "{other}");
        assert!(guard::is_forbidden(other.into(), true) || !other.is_unicast_link_local(), "{other}");
    });
}
