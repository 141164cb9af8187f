//! Never over budget, at any prefix of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;

use crate::books::{Books, nano, usd};
use crate::client::Reply;
use crate::gateway::Gateway;
use crate::tenant::{Setup, Tenant, made};

/// Holds: event.never-over, http.budget-exceeded, http.should-retry, event.refusals
#[tokio::test(flavor = "multi_thread")]
async fn of_200_at_once_exactly_the_37_that_the_budget_holds_are_admitted() {
    const ALL: usize = 200;
    const FITS: i64 = 37;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let setup = Setup { limit_usd: "100", timeout_ms: 30_000, ..Setup::default() };
    let tenant = Tenant::with(&gateway, &upstream, &["gate"], setup).await;
    upstream.open_gate();
    let probe = tenant.chat("gate").await.must(200).json();
    let (held, spent) = (nano(&probe["ledger"]["held_usd"]), nano(&probe["cost_usd"]));
    upstream.close_gate();
    tenant.set_limit(&usd(spent + FITS * held + held / 2)).await;

    let mut requests = JoinSet::new();
    for _ in 0..ALL {
        let (app, body) = (tenant.app.clone(), tenant.ask("gate"));
        requests.spawn(async move { app.post(crate::tenant::NATIVE, &body).await });
    }
    // As long as the gate is closed only refusals are answered.
    let refusals = ALL - usize::try_from(FITS).expect("small");
    let mut refused = Vec::new();
    while refused.len() < refusals {
        refused
            .push(requests.join_next().await.expect("a refusal").expect("an answer").must_be(429, "BUDGET_EXCEEDED"));
    }
    let while_open = gateway.budget(&tenant.budget).await;
    assert_eq!(while_open["held_usd"], usd(FITS * held));
    upstream.open_gate();
    let admitted = requests.join_all().await;
    assert_eq!(admitted.iter().filter(|reply| reply.status == 200).count(), ALL - refusals);
    assert_eq!(upstream.seen_of("gate"), 1 + ALL - refusals, "requests upstream");

    for reply in &refused {
        let details = &reply.json()["error"]["details"];
        assert_eq!(reply.header("x-should-retry"), "false");
        assert_eq!(details["budget_id"], tenant.budget);
        assert_eq!(nano(&details["requested_usd"]), held);
        let (used, limit) = (nano(&details["settled_usd"]) + nano(&details["held_usd"]), nano(&details["limit_usd"]));
        assert!(used <= limit && used + held > limit, "{details}");
    }
    let books = books_with_refusals(&gateway, u64::try_from(refusals).expect("small")).await;
    let after = gateway.budget(&tenant.budget).await;
    assert_eq!(
        (&after["held_usd"], nano(&after["settled_usd"])),
        (&json!(usd(0)), books.balance(&tenant.budget).settled)
    );
}

/// The books as soon as every refusal is counted: what is above 20 in a second is recorded when the second is over.
async fn books_with_refusals(gateway: &Gateway, refusals: u64) -> Books {
    let started = Instant::now();
    loop {
        let books = gateway.books().await;
        if books.refused == refusals {
            return books;
        }
        let late = started.elapsed() > Duration::from_secs(5);
        assert!(books.refused < refusals && !late, "{} of {refusals} refusals are in the log", books.refused);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds: admin.budgets
#[tokio::test(flavor = "multi_thread")]
async fn the_narrowest_of_four_budgets_refuses_and_none_of_the_others_is_charged() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let mut budgets = vec![tenant.budget.clone()];
    for (scope, limit_usd) in [
        (json!({ "partner_id": tenant.partner }), "5"),
        (json!({ "user_id": tenant.user }), "5"),
        (json!({ "key_id": tenant.key }), "0.000001"),
    ] {
        let budget = json!({ "scope": scope, "limit_usd": limit_usd, "period": "total" });
        budgets.push(made(gateway.operator(), "/budgets", budget).await);
    }
    let refused = tenant.chat("ok").await.must_be(429, "BUDGET_EXCEEDED").json();
    assert_eq!(refused["error"]["details"]["budget_id"], budgets[3]);
    for budget in &budgets {
        let view = gateway.budget(budget).await;
        assert_eq!((&view["held_usd"], &view["settled_usd"]), (&json!(usd(0)), &json!(usd(0))));
    }
    assert!(upstream.seen().is_empty(), "a refused request was sent");
}

/// Holds: event.never-over
#[tokio::test(flavor = "multi_thread")]
async fn limits_that_move_under_load_are_kept_at_every_prefix() {
    const ROUNDS: usize = 20;
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["slow-5"]).await;
    let load = Arc::<Load>::default();
    let mut loads = JoinSet::new();
    for _ in 0..16 {
        let (app, body, load) = (tenant.app.clone(), tenant.ask("slow-5"), Arc::clone(&load));
        loads.spawn(async move {
            while !load.stopped.load(Ordering::SeqCst) {
                load.take_in(&app.post(crate::tenant::NATIVE, &body).await);
            }
        });
    }
    // A lowered limit may lie below what is used; from then on nothing is admitted until it is raised again. The books
    // hold every hold against the limit in force at its position.
    load.must_see(&load.admitted).await;
    for _ in 0..ROUNDS {
        let spent = load.spent.load(Ordering::SeqCst);
        for room in [50_000_000, 5_000_000, 0] {
            tenant.set_limit(&usd(spent + room)).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }
    load.must_see(&load.refused).await;
    load.stopped.store(true, Ordering::SeqCst);
    loads.join_all().await;
    let books = gateway.books_when_all_ended(Duration::from_secs(5)).await;
    assert!(books.refused > 0 && !books.admitted().is_empty(), "both sides of the limit were seen");
}

/// The answers to clients that ask until they are stopped.
#[derive(Default)]
struct Load {
    stopped: AtomicBool,
    /// In nano-dollars, as the answers say; what is under way is not in it.
    spent: AtomicI64,
    admitted: AtomicUsize,
    refused: AtomicUsize,
}

impl Load {
    fn take_in(&self, reply: &Reply) {
        match reply.status {
            200 => {
                self.spent.fetch_add(nano(&reply.json()["cost_usd"]), Ordering::SeqCst);
                self.admitted.fetch_add(1, Ordering::SeqCst);
            }
            429 => {
                assert_eq!(reply.code(), "BUDGET_EXCEEDED");
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            other => panic!("{other}"),
        }
    }

    /// Waits for the first of these answers.
    async fn must_see(&self, count: &AtomicUsize) {
        let began = Instant::now();
        while count.load(Ordering::SeqCst) == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "the load stands still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
