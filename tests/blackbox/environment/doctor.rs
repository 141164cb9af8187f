//! Findings of `doctor` on providers from the environment.

use serde_json::{Value, json};

use super::first_try::{model, take_catalogue, with};
use super::{KEY, shown, start_in};
use crate::scripted::ScriptedServer;

/// Holds: admin.doctor
#[tokio::test(flavor = "multi_thread")]
async fn a_retired_deployment_that_the_operator_named_is_served_and_named_and_the_address_has_its_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let without_api = ScriptedServer::start(|_| "404 Not Found\r\n\r\n".to_owned());
    let old = with(model("azure_openai", "old-4", "chat", "1"), "deprecated_on", json!("2020-01-31"));
    take_catalogue(folder.path(), json!([old]), json!({}));
    let origin = without_api.origin();
    let gateway = start_in(
        folder.path(),
        &[
            ("AZURE_OPENAI_API_KEY", KEY),
            ("AZURE_OPENAI_ENDPOINT", &origin),
            ("AZURE_OPENAI_DEPLOYMENTS", "old-4=ours"),
            ("HF_TOKEN", KEY),
        ],
    );
    gateway.operator().get("/v1/models/old-4").await.must(200);
    let report: Value = gateway.operator().post("/v1/admin/doctor", &json!({})).await.must(200).json();
    let target = &report["targets"]["items"][0];
    assert_eq!(target["backend"], "azure_openai/ours", "{report}");
    assert_eq!(target["findings"][0]["detail"], "the provider retired it on 2020-01-31", "{report}");
    let said = report["providers"].to_string();
    assert!(said.contains("check base_url (AZURE_OPENAI_ENDPOINT)"), "{said}");
    assert!(!said.contains("leaves out"), "{said}");

    let shown = shown(&gateway).await;
    assert!(shown.contains("note: HF_TOKEN is set, but the catalogue has no prices of huggingface: "), "{shown}");
}
