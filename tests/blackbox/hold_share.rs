//! A budget that several share: no key, and no tenant, holds all that is left of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{nano, usd};
use crate::client::{Client, Lost, Reply};
use crate::explain::explained;
use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Setup, Tenant, made, text};

/// A tenant with two keys, and a model that answers while the gate is open.
struct Sharing {
    gateway: Gateway,
    upstream: MockUpstream,
    tenant: Tenant,
    other: Client,
    /// The amount that a request holds.
    held: i64,
}

impl Sharing {
    async fn begin(env: &[(&'static str, &str)]) -> Self {
        let (gateway, upstream) = (Gateway::start_with(env), MockUpstream::start().await);
        let setup = Setup { limit_usd: "100", timeout_ms: 30_000, ..Setup::default() };
        let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup).await;
        let (_, other) = tenant.new_key(&gateway, json!({})).await;
        upstream.open_gate();
        let held = nano(&tenant.chat("gate").await.must(200).json()["ledger"]["held_usd"]);
        upstream.close_gate();
        Self { gateway, upstream, tenant, other, held }
    }

    /// Sets the limit so that this is left.
    async fn leave(&self, nanos: i64) {
        let settled = nano(&self.gateway.budget(&self.tenant.budget).await["settled_usd"]);
        self.tenant.set_limit(&usd(settled + nanos)).await;
    }

    fn ask(&self, requests: &mut JoinSet<Result<Reply, Lost>>, key: &Client, times: usize) {
        for _ in 0..times {
            let (key, body) = (key.clone(), self.tenant.ask("gate"));
            requests.spawn(async move { key.try_post(NATIVE, &body).await });
        }
    }

    /// Waits until so many requests are held on a budget.
    async fn must_hold(&self, budget: &str, requests: i64) {
        let began = Instant::now();
        loop {
            let held = nano(&self.gateway.budget(budget).await["held_usd"]);
            if held == requests * self.held {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{held} are held, {} by each request", self.held);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn must_explain(&self, refused: &Reply) {
        let explained = explained(&self.gateway, &refused.request_id()).await;
        assert_eq!(explained["follows"], true, "{explained:#}");
    }

    fn must_verify(mut self) {
        self.gateway.stop();
        assert_eq!(self.gateway.verify().0, Some(0), "{}", self.gateway.verify().1);
    }
}

/// The next answers: as long as the gate is closed, only refusals are answered.
async fn refused(requests: &mut JoinSet<Result<Reply, Lost>>, times: usize) -> Vec<Reply> {
    let mut refused = Vec::new();
    while refused.len() < times {
        let answer = requests.join_next().await.expect("a refusal").expect("a task").expect("an answer");
        refused.push(answer.must_be(429, "BUDGET_EXCEEDED"));
    }
    refused
}

async fn must_be_answered(requests: JoinSet<Result<Reply, Lost>>) {
    for answer in requests.join_all().await {
        answer.expect("an answer").must(200);
    }
}

fn share(refused: &Reply) -> Value {
    refused.json()["error"]["details"]["share"].clone()
}

/// Holds: admin.hold-share, query.explain
#[tokio::test(flavor = "multi_thread")]
async fn one_key_holds_no_more_than_half_of_what_it_shares() {
    let sharing = Sharing::begin(&[]).await;
    // The second time some of the limit is settled, which is not shared out any more.
    for (room, half) in [(10, 5), (4, 2)] {
        sharing.leave(room * sharing.held).await;
        let mut requests = JoinSet::new();
        let of_each = usize::try_from(half).expect("small");
        sharing.ask(&mut requests, &sharing.tenant.app, 2 * of_each);
        let refused = refused(&mut requests, of_each).await;
        sharing.must_hold(&sharing.tenant.budget, half).await;
        for reply in &refused {
            let expected = json!({ "of": "key", "fraction": "0.5", "held_usd": usd(half * sharing.held) });
            assert_eq!(share(reply), expected, "{}", reply.json());
            assert_eq!(reply.header("x-should-retry"), "false");
            assert_eq!(reply.json()["error"]["details"]["remaining_usd"], usd(0));
            sharing.must_explain(reply).await;
        }
        sharing.ask(&mut requests, &sharing.other, of_each);
        sharing.must_hold(&sharing.tenant.budget, room).await;
        sharing.upstream.open_gate();
        must_be_answered(requests).await;
        sharing.upstream.close_gate();
    }
    sharing.must_verify();
}

/// Holds: admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn one_large_request_is_bound_by_the_share_and_told_which_cap_would_fit() {
    let sharing = Sharing::begin(&[]).await;
    sharing.upstream.open_gate();
    sharing.leave(sharing.held * 3 / 2).await;
    let refused = sharing.tenant.chat("gate").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(share(&refused)["held_usd"], usd(0), "{}", refused.json());
    sharing.must_explain(&refused).await;
    let mut lower = sharing.tenant.ask("gate");
    lower["max_output_tokens"] = refused.json()["error"]["details"]["affordable_max_output_tokens"].clone();
    sharing.other.post(NATIVE, &lower).await.must(200);
    sharing.must_verify();
}

/// Holds: admin.hold-share, admin.shrink
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_shrinks_shortens_an_answer_to_the_share() {
    let sharing = Sharing::begin(&[]).await;
    sharing.upstream.open_gate();
    let path = format!("/v1/admin/budgets/{}", sharing.tenant.budget);
    sharing.gateway.operator().patch(&path, &json!({ "when_short": "shrink" })).await.must(200);
    let room = sharing.held * 3 / 2;
    sharing.leave(room).await;
    let answer = sharing.tenant.chat("gate").await.must(200);
    assert_ne!(answer.header("x-ledgerway-max-output-tokens"), "");
    let held = nano(&answer.json()["ledger"]["held_usd"]);
    assert!(held <= room / 2 && held > room / 4, "{held} of {room}");
    let admitted = &sharing.gateway.life(&answer.request_id()).await[0];
    let expected = json!({ "of": "key", "fraction": "0.5", "held_usd": usd(0) });
    assert_eq!(admitted["data"]["hold_shares"][&sharing.tenant.budget], expected, "{admitted}");
    sharing.must_explain(&answer).await;
    sharing.must_verify();
}

/// Holds: admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_a_budget_of_its_own_may_hold_all() {
    let sharing = Sharing::begin(&[]).await;
    let own = json!({ "scope": { "key_id": sharing.tenant.key }, "limit_usd": "100", "period": "total" });
    made(sharing.gateway.operator(), "/budgets", own).await;
    sharing.leave(4 * sharing.held).await;
    let mut requests = JoinSet::new();
    sharing.ask(&mut requests, &sharing.tenant.app, 4);
    sharing.must_hold(&sharing.tenant.budget, 4).await;
    // The other one has the share, and finds nothing left.
    let refused = sharing.other.post(NATIVE, &sharing.tenant.ask("gate")).await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(share(&refused), Value::Null);
    sharing.upstream.open_gate();
    must_be_answered(requests).await;
    sharing.must_verify();
}

/// Holds: admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn the_share_is_a_setting_and_one_is_all() {
    for (setting, held) in [("0.25", 1), ("1", 4)] {
        let sharing = Sharing::begin(&[("LEDGERWAY_HOLD_SHARE", setting)]).await;
        sharing.leave(4 * sharing.held).await;
        let mut requests = JoinSet::new();
        sharing.ask(&mut requests, &sharing.tenant.app, 5);
        let refused = refused(&mut requests, usize::try_from(5 - held).expect("small")).await;
        sharing.must_hold(&sharing.tenant.budget, held).await;
        let fraction = if held == 4 { Value::Null } else { json!(setting) };
        assert!(refused.iter().all(|reply| share(reply)["fraction"] == fraction), "{}", share(&refused[0]));
        sharing.upstream.open_gate();
        must_be_answered(requests).await;
    }
}

/// Holds: admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn the_holds_of_a_killed_gateway_still_count_for_their_key() {
    let mut sharing = Sharing::begin(&[]).await;
    sharing.leave(4 * sharing.held).await;
    let mut requests = JoinSet::new();
    sharing.ask(&mut requests, &sharing.tenant.app, 2);
    sharing.must_hold(&sharing.tenant.budget, 2).await;
    sharing.gateway.kill();
    requests.join_all().await;
    sharing.gateway.start_again();
    sharing.upstream.open_gate();
    let refused = sharing.tenant.chat("gate").await.must_be(429, "BUDGET_EXCEEDED");
    assert_eq!(share(&refused)["held_usd"], usd(2 * sharing.held), "{}", refused.json());
    sharing.other.post(NATIVE, &sharing.tenant.ask("gate")).await.must(200);
    sharing.must_verify();
}

/// Holds: admin.hold-share
#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_holds_no_more_than_half_of_its_partners_budget() {
    let sharing = Sharing::begin(&[]).await;
    let (operator, tenant) = (sharing.gateway.operator(), &sharing.tenant);
    let second = made(operator, "/tenants", json!({ "partner_id": tenant.partner, "name": "second" })).await;
    let user = made(operator, "/users", json!({ "tenant_id": second, "name": "second" })).await;
    let key = operator.post("/v1/admin/keys", &json!({ "user_id": user, "name": "app" })).await.must(201).json();
    let of_second = sharing.gateway.client(Some(&text(&key["secret"])));
    let limit_usd = usd(4 * sharing.held);
    let budget = json!({ "scope": { "partner_id": tenant.partner }, "limit_usd": limit_usd, "period": "total" });
    let budget = made(operator, "/budgets", budget).await;

    // Each key of the tenant holds less than half, and both together no more.
    let mut requests = JoinSet::new();
    sharing.ask(&mut requests, &tenant.app, 1);
    sharing.must_hold(&budget, 1).await;
    sharing.ask(&mut requests, &sharing.other, 2);
    let refused = refused(&mut requests, 1).await;
    let expected = json!({ "of": "tenant", "fraction": "0.5", "held_usd": usd(2 * sharing.held) });
    assert_eq!(share(&refused[0]), expected, "{}", refused[0].json());
    sharing.must_explain(&refused[0]).await;
    sharing.ask(&mut requests, &of_second, 2);
    sharing.must_hold(&budget, 4).await;
    sharing.upstream.open_gate();
    must_be_answered(requests).await;
    sharing.must_verify();
}
