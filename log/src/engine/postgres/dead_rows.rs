//! Dead rows of erasures. A row that was deleted or changed stays in its table's file until PostgreSQL cleans up and uses its place
//! again, which may be never. So triggers note the table in `ledger.rows_to_drop`, in the transaction of the erasure, and one of the
//! nodes has it written anew. See `0005_erasable_rows.sql`.
//!
//! That leaves a dead row where it is while a transaction may still see it, as one that was open at the erasure; or while one is
//! open that began beside such a transaction. So the node waits for the transactions that are open after the erasure, and then for
//! those that are open when they have ended. Where rows are kept for another reason, the table stays noted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::database::DatabaseAddress;
use super::error::{is_about_connection, sqlstate};
use super::session::Session;
use crate::{LogError, SideRow};

const NOTED: &str = "SELECT table_name, deleted_by::text FROM ledger.rows_to_drop WHERE deleted_by IS NOT NULL";
/// Everybody sees which transactions there are, and only some users what these see. A prepared one has no session.
const OTHER_TRANSACTIONS: &str = "
    SELECT coalesce(array_agg(open), '{}') FROM (
        SELECT virtualtransaction FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE locktype = 'virtualxid' AND datname = current_database() AND pid <> pg_backend_pid()
        UNION ALL
        SELECT format('prepared %s', transaction) FROM pg_prepared_xacts WHERE database = current_database()) AS others (open)";
const DROP_DEAD_ROWS: &str = "SELECT ledger.drop_dead_rows($1, $2::text::xid8)";
/// The database's error for a lock that was not free in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// The time between two attempts.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The time between two looks at what other nodes have noted, or left. No table is written anew more often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Rows that are kept for longer are reported: a standby may be behind for a while.
const KEPT_MAX: Duration = Duration::from_secs(180);

/// The thread that drops dead rows. Dropping it stops the thread; what it has not done, another process does.
#[derive(Default)]
pub(super) struct DeadRows {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Signal {
    has_erased: AtomicBool,
    stops: AtomicBool,
}

/// A table that has dead rows.
struct NotedTable {
    name: String,
    /// The last transaction that left some.
    deleted_by: String,
}

impl DeadRows {
    pub(super) fn start(database: DatabaseAddress) -> std::io::Result<Self> {
        let signal = Arc::<Signal>::default();
        let theirs = Arc::clone(&signal);
        let thread =
            std::thread::Builder::new().name("ledger-dead-rows".to_owned()).spawn(move || work(&database, &theirs))?;
        Ok(Self { signal, thread: Some(thread) })
    }

    /// Called when something was erased. Without it, the next look finds it.
    pub(super) fn after_erasure(&self) {
        self.signal.has_erased.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for DeadRows {
    fn drop(&mut self) {
        self.signal.stops.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// True for what leaves dead rows that are to leave the files, too.
pub(super) const fn is_erasure(row: &SideRow) -> bool {
    matches!(
        row,
        SideRow::ErasePersonalData(_)
            | SideRow::EraseClientAddresses(_)
            | SideRow::DropSealedSecret { .. }
            | SideRow::DropSealedSecretsWithin { .. }
            | SideRow::DropContentKeys(_)
            | SideRow::DropWrappedKey { .. }
            | SideRow::DropTenantKey { .. }
            | SideRow::DropTenantSecrets(_)
            | SideRow::DropPartnerSecrets(_)
    )
}

fn work(database: &DatabaseAddress, signal: &Signal) {
    let mut kept = KeptRows::default();
    while !signal.stops.load(Ordering::Acquire) {
        signal.has_erased.store(false, Ordering::Release);
        if let Err(error) = drop_noted(database, signal, &mut kept) {
            tracing::debug!(%error, "cannot drop dead rows of erasures yet");
        }
        if !signal.has_erased.load(Ordering::Acquire) && !signal.stops.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK_EVERY);
        }
    }
}

/// Drops the dead rows of the tables that are noted now.
fn drop_noted(database: &DatabaseAddress, signal: &Signal, kept: &mut KeptRows) -> Result<(), LogError> {
    // It has a connection for as long as it has work.
    let mut session = Session::new(database.clone())?;
    let mut tables = session.run(async |connection| noted_tables(connection).await)?;
    if tables.is_empty() {
        *kept = KeptRows::default();
    }
    let mut waits = OpenTransactions::default();
    while !tables.is_empty() && !signal.stops.load(Ordering::Acquire) {
        let open: Vec<String> =
            session.run(async |connection| sqlx::query_scalar(OTHER_TRANSACTIONS).fetch_one(connection).await)?;
        if waits.are_over(&open) {
            tables.retain(|table| !is_finished(&mut session, table, kept));
        } else if kept.must_be_reported(Instant::now()) {
            let waited_for = &waits.waited_for;
            tracing::warn!(
                ?waited_for,
                "dead rows of erasures stay in the files of tables until these transactions end"
            );
        }
        if !tables.is_empty() {
            std::thread::park_timeout(TRY_EVERY);
        }
    }
    session.close();
    Ok(())
}

async fn noted_tables(connection: &mut PgConnection) -> Result<Vec<NotedTable>, sqlx::Error> {
    let rows = sqlx::query(NOTED).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(NotedTable { name: row.try_get(0)?, deleted_by: row.try_get(1)? })).collect()
}

/// Has a table written anew. Returns false if it is to be tried again at once.
fn is_finished(session: &mut Session, table: &NotedTable, kept: &mut KeptRows) -> bool {
    let NotedTable { name, deleted_by } = table;
    let outcome = session.run(async |connection| {
        sqlx::query_scalar::<_, String>(DROP_DEAD_ROWS).bind(name).bind(deleted_by).fetch_one(connection).await
    });
    match outcome.as_deref() {
        Ok("too large") => tracing::warn!(
            "dead rows of erasures stay in the file of ledger.{name}, which takes too long to be written anew while nodes serve: \
             run VACUUM FULL ledger.{name}"
        ),
        Ok("seen") if kept.must_be_reported(Instant::now()) => tracing::warn!(
            table = %name,
            "dead rows of erasures stay in the file of a table for a standby with hot_standby_feedback, a replication slot or another \
             session that may still see them: see xmin of pg_replication_slots and backend_xmin of pg_stat_replication"
        ),
        // Done; or another look follows.
        Ok(_) => {}
        Err(error) if is_about_connection(error) => return false,
        Err(error) if sqlstate(error).as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            if kept.must_be_reported(Instant::now()) {
                tracing::warn!(table = %name, "dead rows of erasures stay in the file of a table until a lock is free");
            }
            return false;
        }
        Err(error) if kept.must_be_reported(Instant::now()) => {
            tracing::warn!(table = %name, %error, "dead rows of erasures stay in the file of a table");
        }
        Err(error) => tracing::debug!(table = %name, %error, "cannot write a table anew yet"),
    }
    true
}

/// The time for which dead rows are kept, for one warning.
#[derive(Default)]
struct KeptRows {
    since: Option<Instant>,
    is_reported: bool,
}

impl KeptRows {
    /// Takes that there are still some. Returns true once, when it takes long.
    fn must_be_reported(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let must_be = !self.is_reported && now.duration_since(since) >= KEPT_MAX;
        self.is_reported |= must_be;
        must_be
    }
}

/// The transactions that may see a row which was deleted before, or keep others from being known not to.
struct OpenTransactions {
    waited_for: Vec<String>,
    /// How many times those that are then open are still to be waited for.
    times_left: u8,
}

impl Default for OpenTransactions {
    fn default() -> Self {
        Self { waited_for: Vec::new(), times_left: 2 }
    }
}

impl OpenTransactions {
    /// Takes the transactions that are open now. Returns true once those have ended that were to be waited for.
    fn are_over(&mut self, open: &[String]) -> bool {
        self.waited_for.retain(|transaction| open.contains(transaction));
        while self.waited_for.is_empty() && self.times_left > 0 {
            self.waited_for = open.to_vec();
            self.times_left -= 1;
        }
        self.waited_for.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn it_waits_for_those_that_were_open_and_for_those_that_began_beside_them() {
        let mut waits = OpenTransactions::default();
        assert!(!waits.are_over(&open(&["1/1", "2/1"])));
        assert!(!waits.are_over(&open(&["1/1", "2/2"])));
        assert!(!waits.are_over(&open(&["2/3", "3/1"])), "they began beside the first");
        assert!(!waits.are_over(&open(&["2/3", "4/1"])));
        assert!(waits.are_over(&open(&["4/1", "2/4"])));
        assert!(OpenTransactions::default().are_over(&[]), "nobody else is there");
    }

    #[test]
    fn rows_that_are_kept_for_long_are_reported_once() {
        let (mut kept, began) = (KeptRows::default(), Instant::now());
        for (after, wanted) in [(0, false), (60, false), (181, true), (240, false), (3600, false)] {
            assert_eq!(kept.must_be_reported(began + Duration::from_secs(after)), wanted, "{after}");
        }
    }
}
