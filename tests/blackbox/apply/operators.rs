//! Two operators at once: what one has planned is not made over what the other has made meanwhile.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::Files;
use crate::cluster::nodes::Cluster;
use crate::gateway::{Gateway, OPERATOR_KEY, ledgerway};
use crate::scripted::ScriptedServer;
use crate::tenant::made;

const APPLY: &str = "/v1/admin/apply";

fn budget(tenant: &str, period: &str, limit: &str) -> Value {
    json!({ "scope": { "tenant_id": tenant }, "period": period, "limit_usd": limit })
}

fn create(path: &str, body: &Value) -> Value {
    json!({ "method": "POST", "path": format!("/v1/admin{path}"), "body": body })
}

async fn budgets_of(gateway: &Gateway, tenant: &str) -> usize {
    let list = gateway.operator().get("/v1/admin/budgets?limit=1000").await.must(200).json();
    let items = list["items"].as_array().expect("a list").iter();
    items.filter(|item| item["scope"]["tenant_id"] == tenant).count()
}

async fn must_refuse_what_others_have_changed_since(gateway: &Gateway) {
    let operator = gateway.operator();
    let tenant = made(operator, "/tenants", json!({ "name": "t" })).await;
    let before = gateway.head().await;
    let of_other = made(operator, "/budgets", budget(&tenant, "day", "5")).await;
    let path = format!("/v1/admin/budgets/{of_other}");
    let changed_at = gateway.head().await;
    // A refusal is recorded, too.
    let partners = gateway.events_of("partner.created.v1").await.len();
    let twice = create("/budgets", &budget(&tenant, "day", "6"));
    let changes = [
        twice.clone(),
        json!({ "method": "PATCH", "path": path, "body": { "limit_usd": "6" } }),
        json!({ "method": "DELETE", "path": path }),
    ];
    for change in changes {
        let first = create("/partners", &json!({ "name": "p" }));
        let asked = json!({ "changes": [first, change], "based_on": before });
        let refused = operator.post(APPLY, &asked).await.must_be(409, "CONFLICT").json();
        let details = json!({ "change": 1, "based_on": before, "changed_at": changed_at });
        assert_eq!(refused["error"]["details"], details, "{change}");
        assert!(refused["error"]["message"].as_str().is_some_and(|message| message.contains(&*of_other)), "{refused}");
        assert_eq!(gateway.events_of("partner.created.v1").await.len(), partners, "nothing was made");
    }
    // What nobody else has touched is made, and so is what was planned on what there is.
    let of_month = create("/budgets", &budget(&tenant, "month", "6"));
    operator.post(APPLY, &json!({ "changes": [of_month], "based_on": before })).await.must(200);
    let change = json!({ "method": "PATCH", "path": path, "body": { "limit_usd": "6" } });
    operator.post(APPLY, &json!({ "changes": [change], "based_on": changed_at })).await.must(200);
    // Whoever does not say what the changes are based on makes them as they are.
    operator.post(APPLY, &json!({ "changes": [twice] })).await.must(200);
    assert_eq!(budgets_of(gateway, &tenant).await, 3);
}

/// Both have read that there is no budget, and send one at the same moment.
async fn must_make_it_once(nodes: [&Gateway; 2]) {
    for _ in 0..20 {
        let tenant = made(nodes[0].operator(), "/tenants", json!({ "name": "t" })).await;
        let based_on = nodes[0].head().await;
        let asked = json!({ "changes": [create("/budgets", &budget(&tenant, "day", "5"))], "based_on": based_on });
        let [one, other] = nodes.map(|node| node.operator().post(APPLY, &asked));
        let (one, other) = tokio::join!(one, other);
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.json(), other.json());
        assert_eq!(budgets_of(nodes[0], &tenant).await, 1);
    }
}

/// Holds: admin.apply-based-on
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_not_made_over_those_of_others_in_a_folder() {
    let gateway = Gateway::start();
    must_refuse_what_others_have_changed_since(&gateway).await;
    must_make_it_once([&gateway, &gateway]).await;
    gateway.books().await;
}

/// Holds: admin.apply-based-on
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_not_made_over_those_of_others_in_a_shared_ledger() {
    let cluster = Cluster::start(&[]);
    must_make_it_once([cluster.node(0), cluster.node(1)]).await;
}

fn begun(gateway: &Gateway, files: &Files) -> Child {
    let mut command = ledgerway();
    command.args(["apply", "-f"]).arg(files.path()).arg("--data").arg(gateway.data());
    command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

/// Holds: bin.apply
#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_make_each_resource_once() {
    let gateway = Gateway::start();
    for round in 0..8 {
        let tenant = made(gateway.operator(), "/tenants", json!({ "name": "t", "slug": format!("t{round}") })).await;
        let of_limit = |limit: &str| {
            let scope = format!("scope: {{tenant: t{round}}}");
            Files::with(&format!(
                "partners:\n  - {{slug: p{round}, name: P}}\nbudgets:\n  - {{{scope}, period: day, limit_usd: \"{limit}\"}}\nrate_limits:\n  - {{{scope}, requests_per_minute: {limit}}}\n"
            ))
        };
        let files = [of_limit("5"), of_limit("6")];
        for run in files.each_ref().map(|files| begun(&gateway, files)) {
            let ended = run.wait_with_output().expect("it ends");
            let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
            assert_eq!(ended.status.code(), Some(0), "{out}{err}");
        }
        assert_eq!(budgets_of(&gateway, &tenant).await, 1);
        // Otherwise it would match several resources, and be refused from now on.
        let ended = begun(&gateway, &files[0]).wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// Holds: bin.apply
#[test]
fn a_run_that_others_have_overtaken_reads_the_gateway_again() {
    let sent = AtomicUsize::new(0);
    let server = ScriptedServer::start(move |head| {
        if head.starts_with("GET ") {
            return format!("200 OK\r\n\r\n{}", json!({ "items": [], "as_of_position": 4 }));
        }
        if sent.fetch_add(1, Ordering::Relaxed) > 0 {
            return format!("200 OK\r\n\r\n{}", json!({ "changes": [], "position": 6 }));
        }
        let details = json!({ "change": 0, "based_on": 4, "changed_at": 5 });
        let error = json!({ "code": "CONFLICT", "message": "somebody was faster", "details": details });
        format!("409 Conflict\r\n\r\n{}", json!({ "error": error }))
    });
    let files = Files::with("partners:\n  - {slug: a, name: A}\n");
    let mut command = ledgerway();
    command.args(["apply", "--url", &server.origin(), "-f"]).arg(files.path()).arg("--data").arg(files.path());
    let ended = command.env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY).output().expect("the binary starts");
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(0), "{out}{err}");
    assert!(out.trim_end().ends_with("done: 1 created, 0 changed, 0 unchanged"), "{out}");
    assert!(err.contains("somebody was faster") && err.contains("so it is read again"), "{err}");
    let heard = server.heard();
    let begins = |text: &str| heard.iter().filter(|head| head.starts_with(text)).count();
    assert_eq!((begins("POST /v1/admin/apply"), begins("GET /v1/admin/partners")), (2, 2), "{heard:?}");
}
