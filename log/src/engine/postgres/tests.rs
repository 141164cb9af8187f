//! Tests of the engine against a server, in a database of their own.

mod append_alone;
mod dead_rows;
mod facts;
mod gate;
mod keepalives;
mod lost_connections;
mod rights;
mod running_nodes;
mod schema;
mod since;
mod state;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::hold::{BudgetReserved, BudgetSettled, BudgetWindow};
use events::event::inference::{InferenceAdmitted, Versions};
use events::event::{Actor, Chain, Context, Event, Hold, Inference, Recorded, Stream, StreamKind};
use events::ids::{IdMaker, RequestId, SystemRandom};
use events::money::NanoUsd;
use events::time::{Clock, SystemClock, from_micros};
use testing::postgres::TestDatabase;
use uuid::Uuid;

use super::clock_limits::ClockLimits;
use super::open::connect;
use super::running_nodes::OwnNode;
use super::session::Session;
use super::{DatabaseAddress, PostgresEngine, migrate, open_shared_reader};
use crate::LogError;
use crate::draft::Draft;
use crate::engine::{AppendOutcome, Engine};

/// A database for one test, dropped with it.
pub(super) struct TestLedger {
    pub(super) database: DatabaseAddress,
    pub(super) test: TestDatabase,
}

impl TestLedger {
    pub(super) fn empty() -> Self {
        let test = TestDatabase::create();
        Self { database: test.url().parse().expect("an address"), test }
    }

    pub(super) fn migrated() -> Self {
        let ledger = Self::empty();
        // The test may be in a runtime, which must not be blocked by another.
        std::thread::scope(|scope| {
            scope.spawn(|| migrate(&ledger.database).expect("migrated")).join().expect("no panic")
        });
        ledger
    }

    fn engine(&self) -> PostgresEngine {
        connect(&self.database, &OwnNode::serving("node"), ids(), now()).expect("the ledger opens").0
    }

    fn session(&self) -> Session {
        Session::new(self.database.clone()).expect("a session")
    }

    /// Runs statements as the superuser.
    pub(super) fn execute(&self, sql: &str) {
        self.test.execute(sql);
    }

    pub(super) fn number(&self, sql: &str) -> i64 {
        self.test.number(sql)
    }
}

fn ids() -> IdMaker {
    IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
}

fn now() -> DateTime<Utc> {
    SystemClock::new().now()
}

/// The time of most batches, long before the server's.
fn at() -> DateTime<Utc> {
    from_micros(1_700_000_000_000_000)
}

fn request(number: u128) -> RequestId {
    Uuid::from_u128(number).into()
}

/// The context of a request, with key `number % 5`.
fn context(number: u128) -> Context {
    let chain = Chain { key: Some(Uuid::from_u128(number % 5).into()), ..Chain::default() };
    Context::about(Actor::Operator, chain).in_request(request(number))
}

fn window(budget: u128) -> BudgetWindow {
    BudgetWindow { budget_id: Uuid::from_u128(budget).into(), window_start: None }
}

/// A draft at the end of the engine's log with these events, each the next of its stream.
fn draft(engine: &PostgresEngine, events: Vec<(u128, StreamKind, u64, Event)>) -> Draft {
    let mut draft = Draft::new(u64::try_from(engine.tip.last).expect("a position"), at());
    for (number, kind, sequence, event) in events {
        let (position, recorded_at) = (draft.position() + 1, draft.recorded_at);
        let stream = Stream::new(kind, request(number));
        let recorded = Recorded { position, recorded_at, stream, sequence, context: context(number), event };
        draft.events.push(Arc::new(recorded));
    }
    draft
}

/// One event that stands for any, and moves no balance.
fn one(engine: &PostgresEngine, number: u128) -> Draft {
    draft(engine, admitted(number, 1, &[]).into_iter().take(1).collect())
}

/// Ends what runs beside a test, also if the test fails.
struct EndsOnDrop<'a>(&'a AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn admitted(number: u128, held: i64, budgets: &[BudgetWindow]) -> Vec<(u128, StreamKind, u64, Event)> {
    let admitted = InferenceAdmitted {
        model: "m".to_owned(),
        dialect: "native".to_owned(),
        streamed: false,
        max_output_tokens: 1,
        requested_max_output_tokens: None,
        output_tokens_beyond_cap: None,
        input_tokens_bound: 1,
        body_sha256: "00".to_owned(),
        prompt_digest: None,
        content_policy: events::content::ContentPolicy::default(),
        metadata: Default::default(),
        versions: Versions::default(),
        would_have_refused: Vec::new(),
        rate_limited_tokens: None,
        hedge_after_ms: None,
        route: None,
        shadow_of: None,
        hold_shares: Default::default(),
    };
    let expires_at = at() + Duration::from_secs(900);
    let reserved =
        BudgetReserved { held_usd: NanoUsd::new(held), budgets: budgets.to_vec(), expires_at, brokered: None };
    vec![
        (number, StreamKind::Inference, 1, Event::Inference(Inference::Admitted(Box::new(admitted)))),
        (number, StreamKind::Hold, 1, Event::Hold(Hold::Reserved(Box::new(reserved)))),
    ]
}

fn settled(number: u128, held: i64, charged: i64, budgets: &[BudgetWindow]) -> (u128, StreamKind, u64, Event) {
    let settled = BudgetSettled {
        held_usd: NanoUsd::new(held),
        charged_usd: NanoUsd::new(charged),
        budgets: budgets.to_vec(),
        overrun_usd: None,
        brokered: None,
    };
    (number, StreamKind::Hold, 2, Event::Hold(Hold::Settled(Box::new(settled))))
}

/// Reads all that follows the engine's tip.
fn catch_up(engine: &mut PostgresEngine) -> Result<Vec<Arc<Recorded>>, LogError> {
    let mut all = Vec::new();
    loop {
        let page = engine.since(u64::try_from(engine.tip.last).expect("a position"))?;
        if page.events.is_empty() {
            return Ok(all);
        }
        all.extend(page.events);
    }
}

fn committed(engine: &mut PostgresEngine, draft: impl FnOnce(&PostgresEngine) -> Draft) {
    let draft = draft(engine);
    assert_eq!(engine.append(&draft, None).expect("appended"), AppendOutcome::Committed);
}
