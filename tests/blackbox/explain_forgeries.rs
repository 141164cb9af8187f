//! Forgeries in the log: each input and each decision of a request, changed alone, is found not to follow.

mod admission;
mod copies;
mod hedges;
mod route;
mod settlement;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use events::time::{Clock, SystemClock, rfc3339};
use events_log::explain::{Difference, Explanation, ReadBounds, Verdict, explain};
use events_log::{LEDGER_FILE, open_reader};
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::upstream::MockUpstream;

use crate::books::{nano, usd};
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::shadow::copy_of;
use crate::tenant::{NATIVE, OPENAI, Setup, Tenant, made, text};

/// A change of the stored events, and where it shows.
struct Forgery {
    name: &'static str,
    /// The request that is explained.
    of: &'static str,
    /// `:name` is an id of the story.
    statement: &'static str,
    part: &'static str,
    /// Part of what differs.
    what: &'static str,
}

/// Each input and each decision of a request, doctored alone.
fn forgeries() -> impl Iterator<Item = &'static Forgery> {
    [admission::ADMISSION, route::ROUTE, copies::COPIES, hedges::HEDGES, settlement::SETTLEMENT].into_iter().flatten()
}

/// The forgeries of which the gateway itself is asked: one of each part.
const THROUGH_THE_GATEWAY: [&str; 5] = [
    "the charge and the cost are less",
    "the hold is less than the bound",
    "the budget had nothing left",
    "another target answered",
    "it was admitted at another time",
];

/// One gateway's log with a request for each kind of decision.
struct Story {
    gateway: Gateway,
    /// The ids of requests and budgets, by the names that forgeries use.
    ids: HashMap<&'static str, String>,
}

impl Story {
    async fn tell() -> Self {
        let gateway = Gateway::start_with(&[("LEDGERWAY_HOLD_TTL_SECONDS", "2")]);
        let upstream = MockUpstream::start().await;
        let setup = Setup { timeout_ms: 1500, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &["ok", "e500", "usage-10-5-15", "stall"], setup).await;
        tenant.add_model("second", &["e500", "ok"]).await;
        let of_key = json!({ "scope": { "key_id": tenant.key }, "limit_usd": "3", "period": "day" });
        made(gateway.operator(), "/budgets", of_key).await;
        let mut story = Self { gateway, ids: HashMap::new() };
        story.ids.insert("budget", tenant.budget.clone());
        for (name, model) in [("early", "ok"), ("plain", "ok"), ("second", "second"), ("corrected", "usage-10-5-15")] {
            story.ids.insert(name, tenant.chat(model).await.must(200).request_id());
        }
        story.route_by_rules(&tenant).await;
        story.plan_and_alias(&tenant).await;
        story.try_a_target(&tenant).await;
        story.copy(&tenant).await;
        story.hedge(&tenant).await;
        story.require_terms(&upstream).await;
        story.choose(&upstream).await;
        story.observe(&tenant).await;
        story.refuse(&upstream).await;
        story.shrink(&upstream).await;
        story.share(&upstream).await;
        story.lose(&tenant).await;
        story.correct().await;
        story.gateway.stop();
        story
    }

    async fn route_by_rules(&mut self, tenant: &Tenant) {
        let target = |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
        let named = |backend: &str| format!("{}/{backend}", tenant.provider);
        let model = json!({
            "name": tenant.model("ruled"), "strategy": "rules",
            "targets": [target("usage-10-5-15"), target("ok"), target("e500")],
            "rules": [{ "when": "language == \"de\"", "targets": [named("usage-10-5-15")] },
                      { "when": "input_tokens > 0", "targets": [named("ok"), named("e500")] }],
        });
        made(self.gateway.operator(), "/models", model).await;
        self.ids.insert("ruled", tenant.chat("ruled").await.must(200).request_id());
        self.ids.insert("provider", tenant.provider.clone());
    }

    async fn plan_and_alias(&mut self, tenant: &Tenant) {
        let now = SystemClock::new().now();
        let at = |seconds| rfc3339(now + TimeDelta::seconds(seconds));
        let window = json!({ "from": at(-60), "to": at(3000) });
        let target = |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
        let mut planned = target("usage-10-5-15");
        planned["maintenance"] = json!([window]);
        let model = json!({ "name": tenant.model("planned"), "targets": [planned, target("ok")] });
        let planned = made(self.gateway.operator(), "/models", model).await;
        let later = json!({ "deprecated_at": "2126-01-01T00:00:00Z" });
        self.gateway.operator().patch(&format!("/v1/admin/models/{planned}"), &later).await.must(200);
        self.ids.insert("model-planned", planned);
        let alias = json!({ "name": tenant.model("alias"), "alias": [{ "model": tenant.model("ok") }] });
        made(self.gateway.operator(), "/models", alias).await;
        for (name, model) in [("planned", "planned"), ("aliased", "alias")] {
            self.ids.insert(name, tenant.chat(model).await.must(200).request_id());
        }
    }

    /// A request in the share of a canary, and one that is not.
    async fn try_a_target(&mut self, tenant: &Tenant) {
        let target = |backend: &str| json!({ "provider_id": tenant.provider, "model": backend, "default_max_output_tokens": 64 });
        let canary =
            json!({ "provider_id": tenant.provider, "model": "usage-10-5-15", "share_percent": 50, "by": "request" });
        let targets = [target("ok"), target("usage-10-5-15"), target("e500")];
        let model = json!({ "name": tenant.model("trying"), "targets": targets, "canary": canary });
        let model = made(self.gateway.operator(), "/models", model).await;
        self.ids.insert("trying-model", model);
        while !(self.ids.contains_key("tried") && self.ids.contains_key("untried")) {
            let request = tenant.chat("trying").await.must(200).request_id();
            let is_tried = self.gateway.life(&request).await[0]["data"]["route"]["canary"].is_string();
            self.ids.insert(if is_tried { "tried" } else { "untried" }, request);
        }
    }

    /// A request whose hedge answered first.
    async fn hedge(&mut self, tenant: &Tenant) {
        tenant.price("slow-700").await;
        let target = |(rank, backend): (u32, &str)| json!({ "provider_id": tenant.provider, "model": backend, "priority": rank, "default_max_output_tokens": 64 });
        let targets: Vec<Value> = [(1, "slow-700"), (2, "ok")].into_iter().map(target).collect();
        let model = json!({ "name": tenant.model("hedged"), "hedge_after_ms": 100, "targets": targets });
        let model = made(self.gateway.operator(), "/models", model).await;
        let stream = tenant.stream(OPENAI, "hedged").await;
        let request = stream.request_id();
        assert!(stream.rest().await.1, "the stream was cut");
        self.ids.extend([("hedging-model", model), ("hedged", request)]);
    }

    /// A request, and its copy for the shadow of its model.
    async fn copy(&mut self, tenant: &Tenant) {
        let target = json!({ "provider_id": tenant.provider, "model": "ok", "default_max_output_tokens": 64 });
        let shadow = json!({ "model": tenant.model("usage-10-5-15"), "share_percent": 100 });
        let model = json!({ "name": tenant.model("shadowed"), "targets": [target], "shadow": shadow });
        let model = made(self.gateway.operator(), "/models", model).await;
        let copied = tenant.chat("shadowed").await.must(200).request_id();
        let copy = text(&copy_of(&self.gateway, &copied).await["request_id"]);
        self.ids.extend([("shadowed-model", model), ("copied", copied), ("copy", copy)]);
    }

    /// A request of a tenant that requires a region, and one to a model of its own on a shared provider.
    async fn require_terms(&mut self, upstream: &MockUpstream) {
        let setup = Setup { required_terms: json!({ "residency": "eu" }), ..Setup::default() };
        let tenant = Tenant::with(&self.gateway, upstream, &[], setup).await;
        let target = |backend: &str, region: &str| json!({ "provider_id": tenant.provider, "model": backend, "region": region, "default_max_output_tokens": 64 });
        for backend in ["e500", "ok"] {
            tenant.price(backend).await;
        }
        let targets = [target("e500", "us"), target("ok", "eu-west-3")];
        let shared = json!({ "name": tenant.model("termed"), "targets": targets });
        let shared = made(self.gateway.operator(), "/models", shared).await;
        let spare = json!({ "name": tenant.model("spare"), "targets": [target("e500", "us")] });
        let spare = made(self.gateway.operator(), "/models", spare).await;
        let owned = json!({ "name": tenant.model("owned"), "tenant_id": tenant.id, "targets": [target("ok", "eu")] });
        let owned = made(self.gateway.operator(), "/models", owned).await;
        for name in ["termed", "owned"] {
            self.ids.insert(name, tenant.chat(name).await.must(200).request_id());
        }
        self.ids.extend([
            ("shared-model", shared),
            ("spare-model", spare),
            ("own-model", owned),
            ("strict", tenant.id.clone()),
        ]);
    }

    /// A request that goes by its tenant's strategy, and one by a strategy of its own.
    async fn choose(&mut self, upstream: &MockUpstream) {
        let setup = Setup { default_strategy: json!("quality"), ..Setup::default() };
        let tenant = Tenant::with(&self.gateway, upstream, &[], setup).await;
        let target = |(quality, backend): (u32, &str)| json!({ "provider_id": tenant.provider, "model": backend, "quality": quality, "default_max_output_tokens": 64 });
        for backend in ["ok", "e500"] {
            tenant.price(backend).await;
        }
        let targets: Vec<Value> = [(9, "ok"), (1, "e500")].into_iter().map(target).collect();
        let model = json!({ "name": tenant.model("left"), "strategy": "tenant_default", "targets": targets });
        made(self.gateway.operator(), "/models", model).await;
        self.ids.insert("chosen", tenant.chat("left").await.must(200).request_id());
        let permissions = json!({ "permissions": ["models:use", "routing:choose"] });
        let (key, chooser) = tenant.new_key(&self.gateway, permissions).await;
        let requested = chooser.with("x-ledgerway-strategy", "cost").post(NATIVE, &tenant.ask("left")).await;
        self.ids.insert("requested", requested.must(200).request_id());
        self.ids.extend([("choosing-key", key), ("defaulting", tenant.id)]);
    }

    async fn observe(&mut self, tenant: &Tenant) {
        let (key, client) = tenant.new_key(&self.gateway, json!({})).await;
        let observing =
            json!({ "scope": { "key_id": key }, "limit_usd": "0.001", "period": "total", "enforcement": "observe" });
        let observing = made(self.gateway.operator(), "/budgets", observing).await;
        self.ids.insert("observing", observing);
        let observed = client.post(NATIVE, &tenant.ask("ok")).await.must(200).request_id();
        self.ids.insert("observed", observed);
    }

    async fn refuse(&mut self, upstream: &MockUpstream) {
        let tenant = Tenant::new(&self.gateway, upstream, &["ok"]).await;
        let paid = tenant.chat("ok").await.must(200).request_id();
        tenant.set_limit("0.002").await;
        let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED").request_id();
        self.ids.extend([("poor", tenant.budget.clone()), ("paid", paid), ("refused", refused)]);
    }

    async fn shrink(&mut self, upstream: &MockUpstream) {
        let tenant = Tenant::new(&self.gateway, upstream, &["ok"]).await;
        let path = format!("/v1/admin/budgets/{}", tenant.budget);
        self.gateway.operator().patch(&path, &json!({ "when_short": "shrink", "limit_usd": "0.005" })).await.must(200);
        let shrunk = tenant.chat("ok").await.must(200).request_id();
        self.ids.extend([("shrinking", tenant.budget.clone()), ("shrunk", shrunk)]);
    }

    /// A request that a key's share of a budget refused, and one that it shortened.
    async fn share(&mut self, upstream: &MockUpstream) {
        for (name, when_short) in [("crowded", "refuse"), ("halved", "shrink")] {
            let tenant = Tenant::new(&self.gateway, upstream, &["ok"]).await;
            tenant.new_key(&self.gateway, json!({})).await;
            let answer = tenant.chat("ok").await.must(200).json();
            let (held, spent) = (nano(&answer["ledger"]["held_usd"]), nano(&answer["cost_usd"]));
            let path = format!("/v1/admin/budgets/{}", tenant.budget);
            let change = json!({ "when_short": when_short, "limit_usd": usd(spent + held * 3 / 2) });
            self.gateway.operator().patch(&path, &change).await.must(200);
            self.ids.insert(name, tenant.chat("ok").await.request_id());
        }
    }

    /// A process dies with a request.
    async fn lose(&mut self, tenant: &Tenant) {
        let lost = tenant.stream(OPENAI, "stall").await;
        self.ids.insert("lost", lost.request_id());
        self.gateway.kill();
        drop(lost);
        self.gateway.start_again();
        self.gateway.books_when_all_ended(Duration::from_secs(20)).await;
    }

    async fn correct(&self) {
        let prices = self.gateway.operator().get("/v1/admin/prices").await.must(200).json();
        let mut prices = prices["items"].as_array().expect("prices").iter();
        let price = prices.find(|price| price["model"] == "usage-10-5-15").expect("a price");
        let path = format!("/v1/admin/prices/{}", text(&price["id"]));
        self.gateway.operator().patch(&path, &json!({ "output_usd_per_mtok": "7" })).await.must(200);
        let started = Instant::now();
        while !self.gateway.types_of(&self.ids["corrected"]).await.contains(&"budget.adjusted.v1".to_owned()) {
            assert!(started.elapsed() < Duration::from_secs(20), "it was not corrected");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The statement with the ids of this story. Longer names first: some begin like others.
    fn statement(&self, of: &str) -> String {
        let mut names: Vec<&str> = self.ids.keys().copied().collect();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.iter().fold(of.to_owned(), |told, name| told.replace(&format!(":{name}"), &self.ids[*name]))
    }

    fn explained(&self, folder: &Path, request: &str) -> Explanation {
        let reader = open_reader(&folder.join(LEDGER_FILE)).expect("a reader");
        let request = self.ids[request].parse().expect("an id");
        explain(&*reader, request, ReadBounds::default()).expect("read").expect("a request")
    }
}

/// Holds: query.explain
#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_changed_in_the_log_does_not_follow() {
    let mut story = Story::tell().await;
    let honest = tempfile::tempdir().expect("a folder");
    copy(&story.gateway.data(), honest.path());
    for request in forgeries().map(|forgery| forgery.of) {
        let said = story.explained(honest.path(), request);
        assert_eq!(said.follows(), Some(true), "{request}: {said:#?}");
    }
    let doctored = tempfile::tempdir().expect("a folder");
    let mut missed = Vec::new();
    for forgery in forgeries() {
        copy(honest.path(), doctored.path());
        change(doctored.path(), &story.statement(forgery.statement));
        let said = story.explained(doctored.path(), forgery.of);
        if !shows(&said, forgery) {
            missed.push(format!("{}: {said:#?}", forgery.name));
        }
    }
    assert!(missed.is_empty(), "{} are not found: {}", missed.len(), missed.join("\n"));

    for forgery in forgeries().filter(|forgery| THROUGH_THE_GATEWAY.contains(&forgery.name)) {
        copy(honest.path(), &story.gateway.data());
        change(&story.gateway.data(), &story.statement(forgery.statement));
        story.gateway.start_again();
        must_show(&explained(&story.gateway, &story.ids[forgery.of]).await, forgery);
        story.gateway.stop();
    }
}

fn part<'e>(said: &'e Explanation, name: &str) -> Option<&'e Verdict> {
    match name {
        "life" => Some(&said.life),
        "admission" => said.admission.as_ref().map(|part| &part.verdict),
        "bound" => said.bound.as_ref().map(|part| &part.verdict),
        "route" => said.route.as_ref().map(|part| &part.verdict),
        _ => said.settlement.as_ref().map(|part| &part.verdict),
    }
}

fn shows(said: &Explanation, Forgery { part: name, what, .. }: &Forgery) -> bool {
    let differences = part(said, name).map_or(&[][..], |part| &part.differences);
    let is_it = |difference: &Difference| {
        difference.what.contains(what) && (*name == "life" || difference.recorded != difference.follows)
    };
    said.follows() == Some(false) && differences.iter().any(is_it)
}

/// The same of the gateway's answer.
fn must_show(said: &Value, Forgery { name, part, what, .. }: &Forgery) {
    assert_eq!((&said["follows"], &said[part]["follows"]), (&json!(false), &json!(false)), "{name}: {said:#}");
    let mut differences = said[part]["differences"].as_array().expect("differences").iter();
    let found = differences.find(|difference| difference["what"].as_str().is_some_and(|said| said.contains(what)));
    let found = found.unwrap_or_else(|| panic!("{name}: {said:#}"));
    assert!(*part == "life" || (found["recorded"] != found["follows"] && !found["follows"].is_null()), "{found}");
}

/// Copies the databases of a data folder.
pub fn copy(from: &Path, to: &Path) {
    for folder in [from, to] {
        for file in std::fs::read_dir(folder).expect("a folder").flatten() {
            let name = file.file_name();
            if !name.to_string_lossy().contains(".db") {
                continue;
            }
            if folder == from {
                std::fs::copy(file.path(), to.join(name)).expect("a copy");
            } else if !from.join(name).exists() {
                // A write-ahead log would be applied to the copy.
                std::fs::remove_file(file.path()).expect("removed");
            }
        }
    }
}

/// Changes the events, and what follows from them beside them.
pub fn change(folder: &Path, statement: &str) {
    let db = Connection::open(folder.join(LEDGER_FILE)).expect("the ledger");
    db.execute_batch(
        "DROP TRIGGER IF EXISTS events_are_never_changed; DELETE FROM balances; DELETE FROM open_holds; DELETE FROM owner_blocks; \
         UPDATE ledger_checkpoint SET position = 0;",
    )
    .expect("unlocked");
    assert!(db.execute(statement, []).expect("changed") > 0, "{statement}");
}
