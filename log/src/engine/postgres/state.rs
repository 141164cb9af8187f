//! The stored rows of the ledger's state: read at the start, written every few thousand events with a batch.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::hold::BudgetWindow;
use events::event::{Event, Recorded, Resource};
use events::ids::RequestId;
use events::ledger::{Amounts, Balances, Hold, PAST_WINDOWS_KEPT_DAYS};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::from_micros;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::PostgresEngine;
use super::read::{IS_ADMINISTRATION, SELECT_EVENTS, checkpoint, in_snapshot, recorded, tip, unsigned};
use super::statement::Statement;
use crate::LogError;
use crate::draft::{Draft, StateRows};
use crate::owners::{Owner, OwnerBlocks, block_of};
use crate::state::{Folded, State, StoredWindow, fold_page, touched_windows};
use crate::stored::{parsed, read_announced, read_window_start, signed, stored, stored_announced, stored_window_start};

/// Events that are folded at a time.
const PAGE: i64 = 1000;

/// The columns that [`balance`] reads, and the position as of which the row was written.
pub(super) const SELECT_ALL_BALANCES: &str =
    "SELECT budget_id, window_start, settled::text, held::text, announced, position FROM ledger.balances";
pub(super) const SELECT_OPEN_HOLDS: &str = "SELECT request_id, held, expires_at, hold FROM ledger.open_holds";

/// True if a batch is in the log.
const HAS_BATCH: &str = "SELECT EXISTS (SELECT FROM ledger.batches WHERE first = $1 AND last = $2 AND token = $3)";
/// True if the node key was replaced after a position. By the index of administrative events.
const NODE_KEY_REPLACED: &str = "
    SELECT EXISTS (SELECT FROM ledger.events WHERE position > $1 AND aggregate_type = 'node_key'
                   AND aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
                   AND aggregate_type <> 'alert')";

const MOVE_CHECKPOINT: &str = ", checkpoint AS (
    UPDATE ledger.ledger_checkpoint SET position = gate.last FROM gate)";
const UPSERT_BALANCES: &str = ", new_balances AS (
    INSERT INTO ledger.balances (budget_id, window_start, limit_nanos, settled, held, announced, position)
    SELECT w.budget_id, w.window_start, w.limit_nanos, w.settled, w.held, w.announced, gate.last
    FROM gate, UNNEST(?::text[], ?::bigint[], ?::bigint[], ?::text[]::numeric[], ?::text[]::numeric[], ?::text[])
               AS w (budget_id, window_start, limit_nanos, settled, held, announced)
    ON CONFLICT (budget_id, window_start) DO UPDATE
    SET limit_nanos = excluded.limit_nanos, settled = excluded.settled, held = excluded.held,
        announced = excluded.announced, position = excluded.position)";
const DELETE_OPEN_HOLDS: &str = ", closed_holds AS (
    DELETE FROM ledger.open_holds USING gate WHERE request_id = ANY(?::text[]))";
const UPSERT_OPEN_HOLDS: &str = ", new_open_holds AS (
    INSERT INTO ledger.open_holds (request_id, held, expires_at, hold)
    SELECT h.request_id, h.held, h.expires_at, h.hold
    FROM gate, UNNEST(?::text[], ?::bigint[], ?::bigint[], ?::text[]) AS h (request_id, held, expires_at, hold)
    ON CONFLICT (request_id) DO UPDATE
    SET held = excluded.held, expires_at = excluded.expires_at, hold = excluded.hold)";
const INSERT_BLOCKS: &str = ", new_blocks AS (
    INSERT INTO ledger.owner_blocks (owner, block)
    SELECT b.owner, b.block FROM gate, UNNEST(?::text[], ?::bigint[]) AS b (owner, block)
    ON CONFLICT DO NOTHING)";

impl PostgresEngine {
    /// Reads the state at the head, which is the new tip, in at most this time. The log must still have the tip of before.
    pub(super) fn read_head(&mut self, now: DateTime<Utc>, max: Duration) -> Result<State, LogError> {
        let known = self.tip;
        let (last_batch, state) = self.session.run_for(max, async |connection| {
            in_snapshot(connection, async |snapshot| {
                let (last_batch, _) = tip(snapshot).await?;
                let has_known = sqlx::query_scalar(HAS_BATCH).bind(known.first).bind(known.last).bind(known.token);
                if !has_known.fetch_one(&mut *snapshot).await? {
                    return Err(LogError::Forked { ours: unsigned(known.last), theirs: unsigned(last_batch.last) });
                }
                if sqlx::query_scalar(NODE_KEY_REPLACED).bind(known.last).fetch_one(&mut *snapshot).await? {
                    return Err(LogError::NodeKeyReplaced);
                }
                Ok((last_batch, read_state(snapshot, now).await?))
            })
            .await
        })?;
        self.tip = last_batch;
        Ok(state)
    }

    /// The stored rows of these windows, unless one is of this position or a later one.
    pub(super) fn windows_as_before(
        &mut self,
        position: u64,
        of: &[BudgetWindow],
    ) -> Result<Option<Vec<StoredWindow>>, LogError> {
        let rows = self.session.run(async |connection| windows(connection, of).await)?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            if unsigned(row.try_get(5)?) >= position {
                return Ok(None);
            }
            found.push(balance(row)?);
        }
        Ok(Some(found))
    }
}

/// The state at the head: its rows, and the fold of the events after them. The transaction must see one snapshot.
pub(super) async fn read_state(connection: &mut PgConnection, now: DateTime<Utc>) -> Result<State, LogError> {
    let (_, head) = tip(connection).await?;
    let mut position = signed(checkpoint(connection).await?);
    let mut state = State {
        last_administration: last_administration(connection).await?,
        balances: written_balances(connection, position, head.time_after(now)).await?,
        owners: OwnerBlocks::default(),
        events_folded: 0,
        head,
    };
    loop {
        let page = events_after(connection, position).await?;
        let Some(last) = page.last() else { return Ok(state) };
        position = signed(last.position);
        state.events_folded += page.len();
        let forgotten = forgotten_windows(connection, &page, &state.balances).await?;
        // All rows are as of the checkpoint, which is before these events.
        let rows = |_, touched: &[BudgetWindow]| {
            Ok(Some(forgotten.iter().filter(|row| touched.contains(&row.window)).cloned().collect()))
        };
        if fold_page(&mut state.balances, &page, rows)? == Folded::InPart {
            return Err(stored("rows of the state that are later than the state"));
        }
        page.iter().for_each(|recorded| state.owners.apply(recorded));
    }
}

async fn last_administration(connection: &mut PgConnection) -> Result<u64, LogError> {
    let sql = format!("SELECT max(position) FROM ledger.events WHERE {IS_ADMINISTRATION}");
    let last: Option<i64> = sqlx::query_scalar(&sql).fetch_one(connection).await?;
    Ok(unsigned(last.unwrap_or(0)))
}

/// The stored balances, as of their checkpoint.
async fn written_balances(
    connection: &mut PgConnection,
    checkpoint: i64,
    now: DateTime<Utc>,
) -> Result<Balances, LogError> {
    let mut balances = Balances::default();
    let sql = format!(
        "{SELECT_EVENTS} WHERE {IS_ADMINISTRATION} AND aggregate_type = 'budget' AND position <= $1 ORDER BY position"
    );
    for row in sqlx::query(&sql).bind(checkpoint).fetch_all(&mut *connection).await? {
        let recorded = recorded(&row)?;
        if let Event::Resource(Resource::Budget(change)) = &recorded.event {
            balances.fold_budget(change, recorded.position, recorded.recorded_at);
        }
    }
    let oldest = (now - chrono::TimeDelta::days(PAST_WINDOWS_KEPT_DAYS)).timestamp_micros();
    let sql = format!("{SELECT_ALL_BALANCES} WHERE window_start = -1 OR window_start >= $1 OR held <> 0");
    for row in sqlx::query(&sql).bind(oldest).fetch_all(&mut *connection).await? {
        let StoredWindow { window, amounts, announced } = balance(&row)?;
        balances.restore_window(window, amounts, announced);
    }
    for row in sqlx::query(SELECT_OPEN_HOLDS).fetch_all(&mut *connection).await? {
        let (request, hold) = open_hold(&row)?;
        balances.restore_hold(request, hold);
    }
    Ok(balances)
}

async fn events_after(connection: &mut PgConnection, position: i64) -> Result<Vec<Recorded>, LogError> {
    let sql = format!("{SELECT_EVENTS} WHERE position > $1 ORDER BY position LIMIT $2");
    let rows = sqlx::query(&sql).bind(position).bind(PAGE).fetch_all(connection).await?;
    rows.iter().map(recorded).collect()
}

/// The stored rows of the windows that these events touch and the balances do not have.
async fn forgotten_windows(
    connection: &mut PgConnection,
    page: &[Recorded],
    balances: &Balances,
) -> Result<Vec<StoredWindow>, LogError> {
    let touched: HashSet<BudgetWindow> =
        page.iter().flat_map(|recorded| touched_windows(recorded).into_owned()).collect();
    let forgotten: Vec<_> = touched.into_iter().filter(|window| !balances.knows_window(window)).collect();
    windows(connection, &forgotten).await?.iter().map(balance).collect()
}

/// The stored rows of these windows, if any.
async fn windows(connection: &mut PgConnection, of: &[BudgetWindow]) -> Result<Vec<PgRow>, sqlx::Error> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "{SELECT_ALL_BALANCES} WHERE (budget_id, window_start) IN (SELECT * FROM UNNEST($1::text[], $2::bigint[]))"
    );
    let budgets: Vec<String> = of.iter().map(|window| window.budget_id.to_string()).collect();
    let starts: Vec<i64> = of.iter().map(stored_window_start).collect();
    sqlx::query(&sql).bind(budgets).bind(starts).fetch_all(connection).await
}

/// A row of [`SELECT_ALL_BALANCES`].
pub(super) fn balance(row: &PgRow) -> Result<StoredWindow, LogError> {
    let sum = |column: usize| Ok::<_, LogError>(NanoUsdSum::new(parsed(row.try_get(column)?)?));
    let window = BudgetWindow { budget_id: parsed(row.try_get(0)?)?, window_start: read_window_start(row.try_get(1)?) };
    let amounts = Amounts { settled: sum(2)?, held: sum(3)? };
    let announced = read_announced(row.try_get(4)?);
    let announced = announced.map_err(|error| LogError::Stored(format!("what was announced of {window}: {error}")))?;
    Ok(StoredWindow { window, amounts, announced })
}

/// A row of the table of open holds.
pub(super) fn open_hold(row: &PgRow) -> Result<(RequestId, Hold), LogError> {
    let request = parsed(row.try_get(0)?)?;
    let hold = serde_json::from_str::<Hold>(row.try_get(3)?);
    let hold = hold.map_err(|error| LogError::Stored(format!("the open hold of {request} cannot be read: {error}")))?;
    Ok((request, Hold { held: NanoUsd::new(row.try_get(1)?), expires_at: from_micros(row.try_get(2)?), ..hold }))
}

/// Adds the rows as of the draft's last position to the statement of its batch.
pub(super) fn add_rows(statement: &mut Statement, draft: &Draft, rows: &StateRows<'_>) -> Result<(), LogError> {
    statement.add(MOVE_CHECKPOINT);
    add_balances(statement, rows.balances)?;
    add_open_holds(statement, rows.balances)?;
    let mut blocks: BTreeSet<(Owner, u64)> = rows.owners.unwritten().copied().collect();
    for recorded in &draft.events {
        blocks.extend(Owner::of_event(recorded).map(|owner| (owner, block_of(recorded.position))));
    }
    statement.add(INSERT_BLOCKS);
    statement.bind(blocks.iter().map(|(owner, _)| owner.to_string()).collect::<Vec<_>>())?;
    statement.bind(blocks.iter().map(|(_, block)| signed(*block)).collect::<Vec<_>>())
}

fn add_balances(statement: &mut Statement, balances: &Balances) -> Result<(), LogError> {
    let windows = || balances.changes().windows.iter();
    let limit =
        |window: &BudgetWindow| balances.budget(window.budget_id).map(|in_force| in_force.budget.limit_usd.nanos());
    let settled = |window| balances.amounts(window).settled.nanos().to_string();
    let held = |window| balances.amounts(window).held.nanos().to_string();
    statement.add(UPSERT_BALANCES);
    statement.bind(windows().map(|window| window.budget_id.to_string()).collect::<Vec<_>>())?;
    statement.bind(windows().map(stored_window_start).collect::<Vec<_>>())?;
    statement.bind(windows().map(limit).collect::<Vec<_>>())?;
    statement.bind(windows().map(settled).collect::<Vec<_>>())?;
    statement.bind(windows().map(held).collect::<Vec<_>>())?;
    statement.bind(windows().map(|window| stored_announced(balances, window)).collect::<Vec<_>>())
}

fn add_open_holds(statement: &mut Statement, balances: &Balances) -> Result<(), LogError> {
    let closed = balances.changes().closed.iter().map(RequestId::to_string);
    statement.add(DELETE_OPEN_HOLDS);
    statement.bind(closed.collect::<Vec<_>>())?;
    let (mut requests, mut held, mut expires_at, mut json) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for request in &balances.changes().opened {
        let Some(hold) = balances.open_hold(*request) else { continue };
        requests.push(request.to_string());
        held.push(hold.held.nanos());
        expires_at.push(hold.expires_at.timestamp_micros());
        json.push(serde_json::to_string(hold).map_err(stored)?);
    }
    statement.add(UPSERT_OPEN_HOLDS);
    statement.bind(requests)?;
    statement.bind(held)?;
    statement.bind(expires_at)?;
    statement.bind(json)
}
