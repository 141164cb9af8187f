//! Names that a library keeps for itself are names like any other in what clients send.

use serde_json::json;
use testing::upstream::MockUpstream;

use crate::archive::{address, run};
use crate::gateway::Gateway;
use crate::shared_ledger::folders;
use crate::tenant::{NATIVE, Tenant};

/// `serde_json` marks its raw values so.
const RESERVED: &str = "$serde_json::private::RawValue";
/// And so the numbers whose digits it keeps.
const RESERVED_FOR_NUMBERS: &str = "$serde_json::private::Number";

#[tokio::test(flavor = "multi_thread")]
async fn metadata_with_a_name_that_the_json_library_keeps_for_itself_stays_readable_everywhere() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut request_ids = Vec::new();
    for metadata in [json!({ RESERVED: "x" }), json!({ RESERVED: "[1]", "ü": "1" })] {
        let mut ask = tenant.ask("ok");
        ask["metadata"] = metadata.clone();
        let reply = tenant.app.post(NATIVE, &ask).await.must(200);
        // As text: the test reads JSON with the same library.
        let shown = gateway.operator().get(&format!("/v1/inferences/{}", reply.request_id())).await.must(200).body;
        let shown = String::from_utf8_lossy(&shown).into_owned();
        assert!(shown.contains(&format!("\"metadata\":{metadata}")), "{shown}");
        request_ids.push(reply.request_id());
    }
    gateway.operator().get("/v1/inferences").await.must(200);
    let log = gateway.operator().get("/v1/events?limit=1000").await.must(200).body;
    let log = String::from_utf8_lossy(&log).into_owned();
    assert!(request_ids.iter().all(|id| log.contains(id)), "{log}");
    gateway.stop();
    assert_eq!(gateway.verify().0, Some(0));
    let data = gateway.data().display().to_string();
    for format in ["jsonl", "csv"] {
        let exported = run(0, &["export", "--data", &data, "--format", format]).replace("\"\"", "\"");
        assert!(exported.contains(&format!("\"metadata\":{}", json!({ RESERVED: "[1]", "ü": "1" }))), "{exported}");
    }
    let [folder] = folders();
    let archive = address(&folder.path().join("archive"));
    run(0, &["archive", "--data", &data, "--archive", &archive]);
    run(0, &["verify", "--archive", &archive]);
}

/// Its event has the members of the report's charge among its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_whose_report_has_a_name_that_the_json_library_keeps_for_itself_stays_readable() {
    let (mut gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["said"]).await;
    let said = [RESERVED, RESERVED_FOR_NUMBERS].map(|name| ["x", "[1]"].map(|text| (name, text)));
    for (name, text) in said.into_iter().flatten() {
        let report = format!(r#"{{"{name}":"{text}","completion_tokens":7,"prompt_tokens":40,"total_tokens":47}}"#);
        let lost = format!(r#"{{"error":{{"message":"lost","type":"server_error"}},"usage":{report}}}"#);
        upstream.says("application/json", lost);
        let request_id = tenant.chat("said").await.must(502).request_id();
        // As text: the test reads JSON with the same library.
        let log = gateway.operator().get("/v1/events?limit=1000").await.must(200).body;
        let log = String::from_utf8_lossy(&log).into_owned();
        let is_attempt = |line: &&str| line.contains(&request_id) && line.contains("\"inference.attempt_failed.v1\"");
        let attempt = log.lines().find(is_attempt).unwrap_or_else(|| panic!("no failed call: {log}"));
        assert!(attempt.contains(&format!("\"provider_usage\":{report}")), "{attempt}");
        gateway.operator().get(&format!("/v1/inferences/{request_id}")).await.must(200);
    }
    gateway.stop();
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
}
