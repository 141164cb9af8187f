//! Several changes in one request: all of them are made, or none.

use std::fs;

use serde_json::json;

use super::{Files, apply, summary};
use crate::cluster::nodes::Cluster;
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::scripted::ScriptedServer;
use crate::tenant::{made, text};

/// A refusal is recorded, too.
const CREATED: &str = "partner.created.v1,tenant.created.v1";

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_refuses_changes_nothing() {
    let gateway = Gateway::start();
    let files = Files::with(
        "partners:\n  - {slug: a, name: A}\n  - {slug: b, name: B}\ntenants:\n  - slug: t\n    name: T\n    content_policy: sealed\n",
    );
    let before = gateway.events_of(CREATED).await.len();
    let ended = apply(&gateway, &files, &[]).must(1);
    assert!(ended.err.contains("config.yaml:5: tenant default/t: the gateway at "), "{}", ended.err);
    assert!(ended.err.trim_end().ends_with("; nothing was changed; correct it and apply again"), "{}", ended.err);
    assert_eq!(gateway.events_of(CREATED).await.len(), before);
    let mended = fs::read_to_string(files.path().join("config.yaml")).expect("a file").replace("sealed", "digest");
    files.write("config.yaml", &mended);
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "done: 3 created, 0 changed, 0 unchanged");
    let other = json!({ "name": "A2", "slug": "c" });
    made(gateway.operator(), "/partners", other).await;
    assert_eq!(summary(&apply(&gateway, &files, &[]).must(0)), "nothing to change: 3 unchanged");
    let simulator = Files::with("providers:\n  - {name: p, kind: simulator}\n");
    apply(&gateway, &simulator, &[]).must(0);
    let other_kind = Files::with("providers:\n  - {name: p, kind: openai, base_url: https://api.example.com/v1}\n");
    let ended = apply(&gateway, &other_kind, &[]).must(2);
    assert!(ended.err.contains("providers[0].kind: cannot be changed: it is \"simulator\""), "{}", ended.err);
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_a_gateway_makes_together_are_refused_also_by_a_dry_run() {
    let gateway = Gateway::start();
    let partners: String = (0..5001).map(|number| format!("  - {{slug: p{number}, name: P}}\n")).collect();
    let files = Files::with(&format!("labels: {{managed-by: git}}\npartners:\n{partners}"));
    let before = gateway.head().await;
    let fewer = "apply fewer files, or parts of a file, at a time";
    // Parts with --prune would delete one another.
    let without_prune = "apply parts of the files without --prune first, then all of them with it";
    for (more, way_out) in [(&["--dry-run"][..], fewer), (&["--prune", "managed-by=git"][..], without_prune)] {
        let ended = apply(&gateway, &files, more).must(2);
        let says = format!("these are 5001 changes, and a gateway makes at most 5000 together: {way_out}");
        assert!(ended.err.trim_end().ends_with(&says), "{more:?}: {}", ended.err);
        assert!(!ended.out.contains("dry run, "), "{more:?}");
    }
    assert_eq!(gateway.head().await, before);
}

/// Holds: bin.apply
#[test]
fn a_gateway_that_cannot_make_changes_together_is_named_as_the_reason() {
    let server = ScriptedServer::start(|head| {
        let no_such_path = json!({ "error": { "code": "NOT_FOUND", "message": "no such path", "details": {} } });
        match head.starts_with("GET ") {
            true => format!("200 OK\r\n\r\n{}", json!({ "items": [] })),
            false => format!("404 Not Found\r\n\r\n{no_such_path}"),
        }
    });
    let files = Files::with("partners:\n  - {slug: a, name: A}\n");
    let mut command = ledgerway();
    command.args(["apply", "--url", &server.origin(), "-f"]).arg(files.path()).arg("--data").arg(files.path());
    let ended = command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    let says =
        "404: no such path; nothing was changed: the gateway is of an earlier version, which must be upgraded first";
    assert!(said.trim_end().ends_with(says), "{said}");
}

/// The last of several changes takes a slug that only the ledger knows to be taken.
async fn must_make_all_or_none(gateway: &Gateway) {
    let operator = gateway.operator();
    let tenant =
        |slug: &str| json!({ "method": "POST", "path": "/v1/admin/tenants", "body": { "name": "t", "slug": slug } });
    made(operator, "/tenants", json!({ "name": "t", "slug": "taken" })).await;
    let before = gateway.events_of(CREATED).await.len();
    let changes = json!({ "changes": [tenant("one"), tenant("two"), tenant("taken")] });
    let refused = operator.post("/v1/admin/apply", &changes).await.must(409).json();
    assert_eq!(refused["error"]["details"], json!({ "field": "slug", "change": 2 }));
    assert_eq!(gateway.events_of(CREATED).await.len(), before);
    let list = operator.get("/v1/admin/tenants?limit=1000").await.must(200).json();
    let slugs: Vec<_> = list["items"].as_array().expect("a list").iter().map(|one| one["slug"].clone()).collect();
    assert!(!slugs.contains(&json!("one")) && !slugs.contains(&json!("two")), "{slugs:?}");
    let changes = json!({ "changes": [tenant("one"), tenant("two")] });
    let applied = operator.post("/v1/admin/apply", &changes).await.must(200).json();
    assert_eq!(applied["position"], json!(gateway.head().await));
    let (id, position) = (text(&applied["changes"][1]["id"]), &applied["position"]);
    let audit = format!("/v1/audit?resource=tenant/{id}&min_position={position}");
    assert_eq!(operator.get(&audit).await.must(200).json()["items"].as_array().map(Vec::len), Some(1));
}

/// Holds: admin.apply
#[tokio::test(flavor = "multi_thread")]
async fn several_changes_are_made_together_or_not_at_all_in_a_folder() {
    let gateway = Gateway::start();
    must_make_all_or_none(&gateway).await;
    gateway.books().await;
}

/// Holds: admin.apply
#[tokio::test(flavor = "multi_thread")]
async fn several_changes_are_made_together_or_not_at_all_in_a_shared_ledger() {
    let cluster = Cluster::start(&[]);
    must_make_all_or_none(cluster.node(0)).await;
}
