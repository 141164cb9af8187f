//! Rules about teams: they bind the requests that counted for a team by the record.

use events::event::access::AccessRateLimited;
use events::event::admin::{RateLimit, Scope, Team, User};
use events::event::hold::{BudgetAdjusted, CorrectedValue};
use events::event::{Access, Change, Event, Hold, Stream, StreamKind};
use events::ids::{LimitId, TeamId, UserId};
use events::ledger::Emitted;
use events::limit::{Bounds, LimitName, Measure};
use events::money::NanoUsd;
use serde_json::{Value, json};

use super::history::{History, INPUT_USD, MODEL, OUTPUT_USD, context, cost, id, rules};
use crate::Period;
use crate::report::Figures;

/// A log whose first user is in a team.
fn with_a_team() -> History {
    let mut history = History::new();
    history.administer(StreamKind::User, Event::from(Change::created(User::new(id(1), id(1), ""))));
    let team = Team::new(id(1), id(1), "Search", vec![id(1)]);
    history.administer(StreamKind::Team, Event::from(Change::created(team)));
    history.teams = [(id(1), history.log.len() as u64)].into();
    history
}

fn replayed(history: &History, given: Value) -> Figures {
    history.replay(&rules(given), Period::default()).total
}

fn budget(scope: Value, limit: i64) -> Value {
    json!({ "budgets": { "add": [{ "scope": scope, "limit_usd": NanoUsd::new(limit), "period": "total" }] } })
}

/// Holds: bin.what-if, admin.teams
#[test]
fn added_rules_of_a_team_bind_the_requests_that_count_for_it() {
    let mut history = with_a_team();
    for _ in 0..3 {
        assert!(history.ask(1, 100, 100, 20));
        history.end(0, false);
    }
    // One of a user who is in none.
    history.teams.clear();
    assert!(history.ask(3, 100, 100, 20));
    history.end(0, false);
    let of_team = |number: u128| json!({ "team_id": id::<TeamId>(number) });
    let limit = |scope| json!({ "rate_limits": { "add": [{ "scope": scope, "requests_per_hour": 1 }] } });
    let refused = |given| replayed(&history, given).newly_refused;
    assert_eq!((refused(budget(of_team(1), 0)), refused(budget(of_team(2), 0))), (3, 0));
    assert_eq!((refused(limit(of_team(1))), refused(limit(of_team(2)))), (2, 0));
    let narrowed = |model: &str| json!({ "team_id": id::<TeamId>(1), "model": model });
    assert_eq!((refused(budget(narrowed(MODEL), 0)), refused(budget(narrowed("another"), 0))), (3, 0));
    assert_eq!((refused(limit(narrowed(MODEL))), refused(limit(narrowed("another")))), (2, 0));
}

/// Holds: bin.what-if, admin.teams
#[test]
fn what_another_limit_refused_counts_for_the_team_of_its_user() {
    let mut history = with_a_team();
    let limit = RateLimit::new(id(1), Scope::Tenant(id(1)), Bounds::of(Measure::RequestsPerMinute, 1));
    history.administer(StreamKind::RateLimit, Event::from(Change::created(limit)));
    for key in [1, 3] {
        let measure = Measure::RequestsPerMinute.into();
        let limited = AccessRateLimited { limit_id: LimitName::Configured(id(1)), measure, limit: 1, count: 7 };
        let event = Event::Access(Access::RateLimited(Box::new(limited)));
        history.record(Emitted { stream: Stream::new(StreamKind::Access, "x"), context: context(key), event });
    }
    let of_team = json!({ "scope": { "team_id": id::<TeamId>(1) }, "requests_per_hour": 2 });
    let limits = json!({ "rate_limits": { "remove": [id::<LimitId>(1)], "add": [of_team] } });
    assert_eq!(replayed(&history, limits).newly_admitted, 2 + 7);
}

/// Holds: bin.what-if, admin.teams, admin.narrowed
#[test]
fn a_correction_counts_in_the_added_budgets_that_bind_its_request() {
    let mut history = with_a_team();
    let bound = cost(100, 20, [INPUT_USD, OUTPUT_USD]);
    assert!(history.ask(1, 100, 10, 1));
    let charged = history.end(0, false);
    let settled = history.log.iter().rev().find(|recorded| matches!(recorded.event, Event::Hold(Hold::Settled(_))));
    let (context, by) = (settled.expect("a charge").context.clone(), NanoUsd::new(700));
    let adjusted = BudgetAdjusted {
        delta_usd: by,
        budgets: Vec::new(),
        reason: BudgetAdjusted::PRICE_CORRECTED.to_owned(),
        of: context.request_id.expect("its request"),
        price: Some(CorrectedValue { version: history.price, cost_usd: by }),
        request: None,
        brokered: None,
    };
    let stream = Stream::hold(adjusted.of);
    history.record(Emitted { stream, context, event: Hold::Adjusted(Box::new(adjusted)).into() });
    assert!(history.ask(1, 100, 10, 1));
    history.end(0, false);
    for scope in [
        json!({ "team_id": id::<TeamId>(1) }),
        json!({ "team_id": id::<TeamId>(1), "model": MODEL }),
        json!({ "user_id": id::<UserId>(1), "model": MODEL }),
    ] {
        let refused = |limit| replayed(&history, budget(scope.clone(), limit)).newly_refused;
        assert_eq!((refused(charged + bound + 700), refused(charged + bound + 699)), (0, 1), "{scope}");
    }
}
