//! Disturbances of writers and readers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use testing::postgres::TestDatabase;
use testing::random::SplitMix64;

use super::{Hunt, HuntState};

/// Its snapshot keeps the database from removing what is dead.
const IDLE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM ledger.batches; SELECT txid_current()";
/// A batch at the place of the next one, with an event, which somebody gives up.
const ROLL_BACK: &str = "
    BEGIN;
    INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
    SELECT last + 1, last + 1, recorded_at, 'rolled back', gen_random_uuid(), false
    FROM ledger.batches ORDER BY first DESC LIMIT 1 ON CONFLICT DO NOTHING;
    INSERT INTO ledger.events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version,
                               payload, metadata, context)
    SELECT position + 1, recorded_at, aggregate_type, aggregate_id, sequence + 1000, event_type, event_version, payload,
           metadata, context
    FROM ledger.events ORDER BY position DESC LIMIT 1 ON CONFLICT DO NOTHING;
    SELECT pg_sleep(0.002);
    ROLLBACK";
const BETWEEN_ROLLBACKS: Duration = Duration::from_millis(30);
/// The shortest time in which a thread notices that the hunt is over.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Disturbances {
    last: Mutex<Option<Instant>>,
    kills: AtomicU64,
    rollbacks: AtomicU64,
    is_stopped: AtomicBool,
}

impl Disturbances {
    pub(super) fn idle_in_transaction(&self, database: &TestDatabase, state: &HuntState) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut idle = PgConnection::connect(&database.url()).await.expect("a connection");
            idle.execute(sqlx::raw_sql(IDLE)).await.expect("a transaction");
            while !self.is_over(state) {
                tokio::time::sleep(LOOK).await;
            }
            idle.execute("SELECT 1").await.expect("it was idle throughout");
        });
    }

    pub(super) fn roll_back(&self, database: &TestDatabase, state: &HuntState) {
        while !self.is_over(state) {
            database.execute(ROLL_BACK);
            self.rollbacks.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(BETWEEN_ROLLBACKS);
        }
    }

    /// Kills some of the connections of nodes and readers, at moments that follow from the seed.
    pub(super) fn kill(&self, database: &TestDatabase, state: &HuntState, hunt: Hunt) {
        let mut dice = SplitMix64::new(hunt.seed);
        loop {
            let every = u64::try_from(hunt.disturbed_every.as_millis()).expect("a short time");
            let next = Instant::now() + Duration::from_millis(every + dice.next_u64() % every);
            while Instant::now() < next {
                if self.is_over(state) {
                    return;
                }
                std::thread::sleep(LOOK.min(next.saturating_duration_since(Instant::now())));
            }
            let (from, step) = (dice.next_u64() % 7, 1 + dice.next_u64() % 6);
            let killed = database.number(&format!(
                "WITH all_of_them AS (
                     SELECT pid, row_number() OVER (ORDER BY pid) AS number FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'ledgerway')
                 SELECT count(pg_terminate_backend(pid)) FROM all_of_them WHERE number % {step} = {from} % {step}"
            ));
            *self.last.lock().expect("no panic") = Some(Instant::now());
            self.kills.fetch_add(u64::try_from(killed).expect("a number"), Ordering::SeqCst);
        }
    }

    /// How long it has been calm; for ever before the first disturbance.
    pub(super) fn since_last(&self) -> Duration {
        self.last.lock().expect("no panic").map_or(Duration::MAX, |last| last.elapsed())
    }

    pub(super) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    pub(super) fn rollbacks(&self) -> u64 {
        self.rollbacks.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::SeqCst);
    }

    fn is_over(&self, state: &HuntState) -> bool {
        self.is_stopped.load(Ordering::SeqCst) || state.is_over()
    }
}
