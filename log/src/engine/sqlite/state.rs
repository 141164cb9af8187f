//! The stored rows of the ledger's state: read at the start, written every few thousand events.

use chrono::{DateTime, Utc};
use events::event::hold::BudgetWindow;
use events::event::{Event, Resource};
use events::ids::RequestId;
use events::ledger::{Amounts, Balances, Hold, PAST_WINDOWS_KEPT_DAYS};
use events::money::{NanoUsd, NanoUsdSum};
use events::time::from_micros;
use rusqlite::{Connection, Row, params};

use super::exact::Exact;
use super::read::text;
use super::{PAGE, read};
use crate::LogError;
use crate::draft::{Draft, StateRows};
use crate::owners::{Owner, OwnerBlocks, block_of};
use crate::state::StoredWindow;
use crate::state::{State, fold_page};
use crate::stored::{parsed, read_announced, read_window_start, stored, stored_announced, stored_window_start};

const SELECT_BALANCES: &str = "SELECT budget_id, window_start, settled, held, announced FROM balances
                               WHERE window_start = -1 OR window_start >= ?1 OR held <> 0";
const SELECT_WINDOW: &str = "SELECT settled, held, announced FROM balances WHERE budget_id = ?1 AND window_start = ?2";
pub(super) const SELECT_OPEN_HOLDS: &str = "SELECT request_id, held, expires_at, hold FROM open_holds";
const MOVE_CHECKPOINT: &str = "UPDATE ledger_checkpoint SET position = ?1";
const UPSERT_BALANCE: &str = include_str!("sql/upsert_balance.sql");
const INSERT_OPEN_HOLD: &str =
    "INSERT OR REPLACE INTO open_holds (request_id, held, expires_at, hold) VALUES (?1, ?2, ?3, ?4)";
const DELETE_OPEN_HOLD: &str = "DELETE FROM open_holds WHERE request_id = ?1";
const INSERT_BLOCK: &str = "INSERT OR IGNORE INTO owner_blocks (owner, block) VALUES (?1, ?2)";

/// Reads the rows, and folds the events after them.
pub(super) fn read_state(connection: &Connection, now: DateTime<Utc>) -> Result<State, LogError> {
    let head = read::head(connection)?;
    let mut state = State {
        last_administration: read::last_administration(connection)?,
        balances: written_balances(connection, head.time_after(now))?,
        owners: OwnerBlocks::default(),
        events_folded: 0,
        head,
    };
    let mut position = read::checkpoint(connection)?;
    loop {
        let page = read::after(connection, position, PAGE)?;
        let Some(last) = page.last() else { return Ok(state) };
        (position, state.events_folded) = (last.position, state.events_folded + page.len());
        fold_page(&mut state.balances, &page, |_, touched| windows(connection, touched).map(Some))?;
        page.iter().for_each(|recorded| state.owners.apply(recorded));
    }
}

/// The stored balances, as of their checkpoint.
fn written_balances(connection: &Connection, now: DateTime<Utc>) -> Result<Balances, LogError> {
    let mut balances = Balances::default();
    for recorded in read::budgets(connection, read::checkpoint(connection)?)? {
        if let Event::Resource(Resource::Budget(change)) = &recorded.event {
            balances.fold_budget(change, recorded.position, recorded.recorded_at);
        }
    }
    let oldest = now - chrono::TimeDelta::days(PAST_WINDOWS_KEPT_DAYS);
    for StoredWindow { window, amounts, announced } in
        read::all(connection, SELECT_BALANCES, [oldest.timestamp_micros()], balance)?
    {
        balances.restore_window(window, amounts, announced);
    }
    for (request, hold) in read::all(connection, SELECT_OPEN_HOLDS, [], open_hold)? {
        balances.restore_hold(request, hold);
    }
    Ok(balances)
}

/// A row of the table of balances.
pub(super) fn balance(row: &Row<'_>) -> Result<StoredWindow, LogError> {
    let budget_id = parsed(text(row, 0)?)?;
    let window = BudgetWindow { budget_id, window_start: read_window_start(row.get(1)?) };
    let amounts = amounts(row, 2)?;
    let announced = read_announced(text(row, 4)?);
    let announced = announced.map_err(|error| LogError::Stored(format!("what was announced of {window}: {error}")))?;
    Ok(StoredWindow { window, amounts, announced })
}

/// The amounts in two columns, of which this is the first.
fn amounts(row: &Row<'_>, settled: usize) -> Result<Amounts, LogError> {
    let sum = |column| row.get(column).map(|Exact(nanos)| NanoUsdSum::new(nanos));
    Ok(Amounts { settled: sum(settled)?, held: sum(settled + 1)? })
}

/// A row of the table of open holds.
pub(super) fn open_hold(row: &Row<'_>) -> Result<(RequestId, Hold), LogError> {
    let request = parsed(text(row, 0)?)?;
    let hold = serde_json::from_str::<Hold>(text(row, 3)?);
    let hold = hold.map_err(|error| LogError::Stored(format!("the open hold of {request} cannot be read: {error}")))?;
    Ok((request, Hold { held: NanoUsd::new(row.get(1)?), expires_at: from_micros(row.get(2)?), ..hold }))
}

/// The stored rows of these windows, if any.
pub(super) fn windows(connection: &Connection, windows: &[BudgetWindow]) -> Result<Vec<StoredWindow>, LogError> {
    let mut found = Vec::new();
    for window in windows {
        let key = params![window.budget_id.to_string(), stored_window_start(window)];
        found.extend(read::one(connection, SELECT_WINDOW, key, |row| {
            Ok(StoredWindow { window: *window, amounts: amounts(row, 0)?, announced: read_announced(text(row, 2)?)? })
        })?);
    }
    Ok(found)
}

/// Writes the rows as of the draft's last position, in its transaction.
pub(super) fn write(connection: &Connection, draft: &Draft, rows: &StateRows<'_>) -> Result<(), LogError> {
    let StateRows { balances, owners } = rows;
    let changes = balances.changes();
    connection.prepare_cached(MOVE_CHECKPOINT)?.execute([draft.position()])?;
    let mut upsert = connection.prepare_cached(UPSERT_BALANCE)?;
    for window in &changes.windows {
        let Amounts { settled, held } = balances.amounts(window);
        let limit = balances.budget(window.budget_id).map(|in_force| in_force.budget.limit_usd.nanos());
        upsert.execute(params![
            window.budget_id.to_string(),
            stored_window_start(window),
            limit,
            Exact(settled.nanos()),
            Exact(held.nanos()),
            stored_announced(balances, window),
            draft.position(),
        ])?;
    }
    let mut delete = connection.prepare_cached(DELETE_OPEN_HOLD)?;
    for request in &changes.closed {
        delete.execute([request.to_string()])?;
    }
    let mut insert = connection.prepare_cached(INSERT_OPEN_HOLD)?;
    for request in &changes.opened {
        let Some(hold) = balances.open_hold(*request) else { continue };
        let json = serde_json::to_string(hold).map_err(stored)?;
        insert.execute(params![request.to_string(), hold.held.nanos(), hold.expires_at.timestamp_micros(), json])?;
    }
    let mut insert = connection.prepare_cached(INSERT_BLOCK)?;
    for (owner, block) in owners.unwritten() {
        insert.execute(params![owner.to_string(), block])?;
    }
    for recorded in &draft.events {
        for owner in Owner::of_event(recorded) {
            insert.execute(params![owner.to_string(), block_of(recorded.position)])?;
        }
    }
    Ok(())
}
