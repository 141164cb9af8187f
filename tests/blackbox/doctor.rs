//! `ledgerway doctor` and `POST /v1/admin/doctor`: what they find, what they send, and what they never show.

use std::path::Path;

use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::scripted::ScriptedServer;
use crate::tenant::{OPENAI, PROVIDER_SECRET, Tenant, made};

const KEY: &str = "sk-doctor-canary-5f81b2c07d";

/// Exit code, stdout and stderr.
fn run(arguments: &[&str], data: &Path, key: Option<&str>) -> (Option<i32>, String, String) {
    let mut command = ledgerway();
    command.arg("doctor").args(arguments).arg("--data").arg(data);
    if let Some(key) = key {
        command.env("LEDGERWAY_ADMIN_KEY", key);
    }
    let ended = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

async fn report(gateway: &Gateway) -> Value {
    gateway.operator().post("/v1/admin/doctor", &json!({})).await.must(200).json()
}

/// Returns the findings on a provider: verdict and detail of one check; null if it was not made.
fn found(report: &Value, name: &str, check: &str) -> (Value, String) {
    let providers = report["providers"].as_array().expect("providers");
    let provider = providers.iter().find(|provider| provider["name"] == name).expect("the provider");
    let findings = provider["findings"].as_array().expect("findings");
    let finding = findings.iter().find(|finding| finding["check"] == check).cloned().unwrap_or_default();
    (finding["verdict"].clone(), finding["detail"].as_str().unwrap_or_default().to_owned())
}

async fn add(gateway: &Gateway, name: &str, kind: &str, base_url: &str, fields: Value) {
    let mut provider =
        json!({ "name": name, "kind": kind, "base_url": base_url, "api_key": KEY, "allow_private_network": true });
    for (field, value) in fields.as_object().expect("fields") {
        provider[field] = value.clone();
    }
    made(gateway.operator(), "/providers", provider).await;
}

/// Lists its models to who has the key in any header, and repeats the headers to everybody else.
fn lists_to_the_key() -> ScriptedServer {
    ScriptedServer::start(|head| match head.contains(KEY) {
        true => "200 OK\r\n\r\n{\"data\":[]}".to_owned(),
        false => "401 Unauthorized\r\n\r\n{\"error\":{\"message\":\"no key\"}}".to_owned(),
    })
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_tried_with_the_free_request_of_its_kind_and_nothing_else_is_sent() {
    let gateway = Gateway::start();
    for (kind, base, wanted, header) in [
        ("openai", "/v1", "GET /v1/models ", "authorization: Bearer "),
        ("anthropic", "", "GET /v1/models ", "x-api-key: "),
        ("gemini", "/v1beta", "GET /v1beta/models ", "x-goog-api-key: "),
        ("cohere", "", "GET /v1/models ", "authorization: Bearer "),
        ("ollama", "", "GET /api/tags ", "authorization: Bearer "),
        ("azure_openai", "", "GET /openai/v1/models ", "api-key: "),
    ] {
        let server = lists_to_the_key();
        add(&gateway, kind, kind, &format!("{}{base}", server.origin()), json!({})).await;
        let report = report(&gateway).await;
        assert_eq!(found(&report, kind, "key"), (json!("ok"), "accepted".to_owned()), "{report}");
        let heard = server.heard();
        assert_eq!(heard.len(), 2, "with the key and without: {heard:?}");
        assert!(heard.iter().all(|head| head.starts_with(wanted)), "{heard:?}");
        assert!(heard[0].to_lowercase().contains(&format!("{header}{KEY}").to_lowercase()), "{heard:?}");
        assert!(!heard[1].contains(KEY), "{heard:?}");
        let id = report["providers"].as_array().expect("a list").iter().find(|one| one["name"] == kind).expect("it")["provider_id"].clone();
        gateway.operator().delete(&format!("/v1/admin/providers/{}", id.as_str().expect("an id"))).await.must(200);
    }
    assert_eq!(report(&gateway).await["ok"], json!(false), "there is no provider");
    let (code, out, _) = run(&[], &gateway.data(), Some(OPERATOR_KEY));
    assert!(code == Some(1) && out.contains("there are no providers: create one"), "{out}");
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn each_fault_has_its_own_verdict_and_no_key_is_shown() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let refusing = ScriptedServer::start(|head| {
        let sent = head.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or_default();
        format!("401 Unauthorized\r\n\r\n{{\"error\":{{\"message\":\"Incorrect API key provided: {sent}\"}}}}")
    });
    let limited =
        ScriptedServer::start(|_| "403 Forbidden\r\n\r\n{\"error\":\"missing scope: models.read\"}".to_owned());
    // As OpenAI answers a restricted key.
    let restricted = ScriptedServer::start(|_| {
        let message = "You have insufficient permissions for this operation. Missing scopes: api.model.read.";
        format!("401 Unauthorized\r\n\r\n{{\"error\":{{\"message\":\"{message}\",\"code\":null}}}}")
    });
    let not_valid = |status: &'static str, error: &'static str| {
        ScriptedServer::start(move |_| format!("{status}\r\n\r\n{{\"error\":{error}}}"))
    };
    let not_valid_403 = not_valid("403 Forbidden", r#"{"code":"invalid_api_key"}"#);
    let not_valid_400 = not_valid("400 Bad Request", r#""Incorrect API key provided.""#);
    let anybody = ScriptedServer::start(|_| "200 OK\r\n\r\n{\"data\":[]}".to_owned());
    let late = ScriptedServer::start(|head| match head.contains(KEY) {
        true => "200 OK\r\ndate: Mon, 02 Jan 2023 10:00:00 GMT\r\n\r\n{}".to_owned(),
        false => "401 No\r\n\r\n".to_owned(),
    });
    let without_list = ScriptedServer::start(|_| "404 Not Found\r\n\r\n".to_owned());
    let redirecting = ScriptedServer::start(|_| "302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n".to_owned());
    let failing = ScriptedServer::start(|_| "503 No\r\n\r\n{\"message\":\"maintenance\"}".to_owned());
    let tls = MockUpstream::start_http2(10).await;
    let (https, nothing) = (tls.base_url("openai"), json!({}));
    for (name, base_url) in [
        ("refusing", refusing.origin()),
        ("limited", limited.origin()),
        ("restricted", restricted.origin()),
        ("not-valid-403", not_valid_403.origin()),
        ("not-valid-400", not_valid_400.origin()),
        ("anybody", anybody.origin()),
        ("late", late.origin()),
        ("without-list", without_list.origin()),
        ("redirecting", redirecting.origin()),
        ("failing", failing.origin()),
        ("untrusted", https),
        ("no-tls", upstream.origin().replace("http:", "https:")),
        ("nobody", "http://127.0.0.1:9".to_owned()),
        ("nowhere", "http://no-such-host.invalid".to_owned()),
    ] {
        add(&gateway, name, "openai", &base_url, nothing.clone()).await;
    }
    add(&gateway, "signing", "bedrock", &anybody.origin(), json!({ "region": "us-east-1" })).await;
    let tenant = Tenant::new(&gateway, &upstream, &[]).await;
    let targets = json!([{ "provider_id": tenant.provider, "model": "unpriced" }]);
    made(gateway.operator(), "/models", json!({ "name": "unpriced-model", "targets": targets })).await;

    let report = report(&gateway).await;
    let problem = |name: &str, check: &str, says: &str| {
        let (verdict, detail) = found(&report, name, check);
        assert!(verdict == "problem" && detail.contains(says), "{name} {check}: {verdict} {detail}");
    };
    problem("refusing", "key", "Incorrect API key provided: ");
    problem("late", "clock", "ahead of");
    problem("redirecting", "answer", "redirect (302)");
    problem("without-list", "answer", "no API at this address (404)");
    problem("failing", "answer", "503: maintenance");
    problem("untrusted", "tls", "issuer");
    problem("no-tls", "tls", "TLS could not be negotiated");
    problem("nobody", "connection", "refused");
    problem("nowhere", "dns", "does not resolve");
    problem("not-valid-403", "key", "refuses the key (status 403)");
    problem("not-valid-400", "key", "refuses the key (status 400)");
    for (name, says) in [("limited", "(status 403)"), ("restricted", "(status 401): You have insufficient permissions")]
    {
        let (verdict, detail) = found(&report, name, "key");
        assert!(verdict == "warning" && detail.contains(says), "{name}: {verdict} {detail}");
    }
    for (name, why) in [
        ("anybody", "the same answer without a key"),
        ("without-list", "status 404"),
        ("signing", "Bedrock's runtime has no free request"),
    ] {
        let (verdict, detail) = found(&report, name, "key");
        assert!(verdict == "not_checked" && detail.contains(why), "{name}: {verdict} {detail}");
    }
    let target = &report["targets"]["items"][0];
    assert_eq!(target["backend"], format!("{}/unpriced", tenant.name));
    assert_eq!(
        (&target["findings"][0]["check"], &target["findings"][0]["verdict"]),
        (&json!("price"), &json!("problem"))
    );

    let (code, out, err) = run(&[], &gateway.data(), Some(OPERATOR_KEY));
    assert_eq!((code, err.as_str()), (Some(1), ""), "{out}");
    for says in [
        "WRONG",
        "not checked",
        "what to do:",
        "something is wrong: ",
        "unpriced-model",
        "for this kind it usually ends in /v1",
    ] {
        assert!(out.contains(says), "{says}: {out}");
    }
    let (code, json, _) = run(&["--json"], &gateway.data(), Some(OPERATOR_KEY));
    let of_command: Value = serde_json::from_str(&json).expect("one object");
    assert_eq!((code, &of_command["ok"]), (Some(1), &json!(false)));
    for shown in [report.to_string(), out, json, gateway.stderr()] {
        assert!(!shown.contains(KEY) && !shown.contains("doctor-canary"), "{shown}");
    }
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn every_key_of_a_provider_has_a_row_and_advice_of_its_own_also_if_all_are_refused() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut further = Vec::new();
    for (name, secret) in [("first", "first-further-key-51c0"), ("second", "second-further-key-51c1")] {
        let key = json!({ "provider_id": tenant.provider, "name": name, "api_key": secret });
        further.push(made(gateway.operator(), "/provider-keys", key).await);
        upstream.refuses_key(secret, 401, "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}", &[]);
    }
    upstream.refuses_key(PROVIDER_SECRET, 401, "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}", &[]);
    let keys = async || {
        let report = report(&gateway).await;
        let findings = report["providers"][0]["findings"].as_array().expect("findings").clone();
        findings.into_iter().filter(|finding| finding["check"] == "key").collect::<Vec<_>>()
    };
    let says = |keys: &[Value], what: &str| keys.iter().filter(|key| key.to_string().contains(what)).count();
    let of_all = |keys: &[Value]| {
        let own = format!("PATCH /v1/admin/providers/{} with api_key", tenant.provider);
        let paths: Vec<_> = further.iter().map(|id| format!("/v1/admin/provider-keys/{id}")).chain([own]).collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        for (path, name) in paths.iter().zip(["provider key first", "provider key second", "the provider's own key"]) {
            assert_eq!((says(keys, path), says(keys, name)), (1, 1), "{path} {name} {keys:?}");
        }
    };
    let before = keys().await;
    of_all(&before);
    assert_eq!(says(&before, "refuses the key (status 401)"), 3, "{before:?}");
    tenant.chat("ok").await.must_be(502, "UPSTREAM_ERROR");
    let own = format!("\"key\":\"{}\"", tenant.provider);
    let mut refused = Vec::new();
    for _ in 0..200 {
        refused = keys().await;
        if says(&refused, "set aside since 20") == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    of_all(&refused);
    // Each says why, until when, and what the provider says to it now; however often that is asked, its next try stays.
    let head = gateway.head().await;
    for _ in 0..3 {
        assert_eq!(keys().await, refused);
    }
    assert_eq!(gateway.head().await, head, "something was recorded");
    for what in [
        "the provider refused it (status 401); a request tries it again after 20",
        "Now: the provider refuses the key (status 401)",
    ] {
        assert_eq!(says(&refused, what), 3, "{what}: {refused:?}");
    }
    let log = gateway.stderr();
    let alert = log.lines().find(|line| line.contains("ERROR") && line.contains(&own)).expect("an alert");
    assert!(alert.contains("PATCH /v1/admin/providers/") && !alert.contains("end it"), "{alert}");
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn what_the_environment_made_is_named_by_its_variable_and_its_retirements_are_one_finding() {
    let upstream = MockUpstream::start().await;
    upstream.refuses_key(KEY, 401, "{\"error\":{\"message\":\"no\",\"code\":\"invalid_api_key\"}}", &[]);
    let base_url = upstream.base_url("openai");
    let gateway = Gateway::start_with(&[
        ("LEDGERWAY_PROVIDERS_FROM_ENV", "on"),
        ("OLLAMA_URL", "http://127.0.0.1:9"),
        ("OPENAI_API_KEY", KEY),
        ("OPENAI_BASE_URL", base_url.as_str()),
    ]);
    let advice = "set OPENAI_API_KEY to a valid key and start the gateway again";
    let report = report(&gateway).await;
    let openai = report["providers"].as_array().expect("a list").iter().find(|one| one["name"] == "openai");
    let findings = openai.expect("it")["findings"].as_array().expect("findings").clone();
    let key = findings.iter().find(|finding| finding["check"] == "key").expect("a finding");
    assert_eq!((&key["verdict"], &key["advice"]), (&json!("problem"), &json!(advice)));
    let retired: Vec<_> = findings.iter().filter(|finding| finding["check"] == "deprecation").collect();
    assert!(retired.len() == 1 && retired[0]["verdict"] == "ok", "{retired:?}");
    assert!(retired[0]["detail"].as_str().is_some_and(|detail| detail.contains(" more")), "{retired:?}");
    assert_eq!(report["targets"]["items"], json!([]));
    // The same in the log line of a request.
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant
        .app
        .post(OPENAI, &json!({ "model": "openai/gpt-4o-mini", "messages": [{ "role": "user", "content": "hi" }] }))
        .await
        .must(502);
    let log = gateway.stderr();
    let refused = log.lines().find(|line| line.contains("a call to an upstream failed")).expect("a line");
    assert!(refused.contains(advice), "{refused}");
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_a_tenants_own_provider_is_shown_with_its_tenant_and_does_not_decide() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    add(&gateway, "a-theirs", "openai", "http://127.0.0.1:9", json!({ "tenant_id": tenant.id })).await;
    let report = report(&gateway).await;
    assert_eq!(found(&report, "a-theirs", "connection").0, "problem");
    let last = report["providers"].as_array().and_then(|providers| providers.last()).expect("a provider");
    assert_eq!((&last["name"], &last["tenant_id"]), (&json!("a-theirs"), &json!(tenant.id)));
    assert_eq!(report["ok"], json!(true), "{report}");
    let (code, out, _) = run(&[], &gateway.data(), Some(OPERATOR_KEY));
    assert_eq!(code, Some(0), "{out}");
    for says in [format!("a-theirs of {}", tenant.id), "0 wrong".to_owned(), "; 1 wrong at tenants' own".to_owned()] {
        assert!(out.contains(&says), "{says}: {out}");
    }
    add(&gateway, "ours", "openai", "http://127.0.0.1:9", json!({})).await;
    assert_eq!(run(&[], &gateway.data(), Some(OPERATOR_KEY)).0, Some(1));
}

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn only_the_platform_may_check_and_nothing_is_recorded_or_spent() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let head = gateway.head().await;
    let (code, out, err) = run(&[], &gateway.data(), Some(OPERATOR_KEY));
    // The mock's list says nothing about the key, which is no fault.
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("all is well: 1 provider and 1 target checked, 0 wrong"), "{out}");
    assert_eq!(gateway.head().await, head, "something was recorded");
    let asked = |roles: Value| {
        let user = json!({ "tenant_id": tenant.id, "name": "admin", "email": "admin@example.com", "roles": roles });
        let gateway = &gateway;
        async move {
            let user = made(gateway.operator(), "/users", user).await;
            let key = json!({ "user_id": user, "name": "k", "permissions": ["admin:access"] });
            let key = gateway.operator().post("/v1/admin/keys", &key).await.must(201).json();
            gateway.client(key["secret"].as_str()).post("/v1/admin/doctor", &json!({})).await
        }
    };
    asked(json!(["tenant_admin"])).await.must_be(403, "FORBIDDEN");
    tenant.app.post("/v1/admin/doctor", &json!({})).await.must_be(403, "FORBIDDEN");
    gateway.operator().post("/v1/admin/doctor", &json!({ "deep": true })).await.must_be(400, "INVALID_REQUEST");
    let (code, _, err) = run(&[], &gateway.data(), Some("another-key-0123456789-0123456789-xyz"));
    assert!(code == Some(2) && err.contains("401"), "{err}");
    let empty = tempfile::tempdir().expect("a folder");
    let (code, _, err) = run(&[], empty.path(), None);
    assert!(code == Some(2) && err.contains("no gateway serves"), "{err}");
}
