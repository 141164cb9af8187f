//! `budgets` and `budget_windows`: limits, and the charges and holds of every window. Reads `budget.*`. Rebuild: from the
//! log. Nothing is decided from it: the ledger has its own balances.

use std::sync::Arc;

use events::event::admin::Budget;
use events::event::hold::{self, BudgetWindow};
use events::event::{Chain, Change, Event, Recorded, Resource, ResourceState};
use events::ids::IdMap;
use events::money::NanoUsd;
use rusqlite::{Connection, ToSql, params};

use crate::views::View;
use crate::views::exact::Exact;
use crate::views::projector::{ProjectionError, Projector, write_row};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0002_budgets.sql");
const OPEN: &str = include_str!("open.sql");
const CHANGE: &str = include_str!("change.sql");
const CLOSE: &str = include_str!("close.sql");
const MOVE_WINDOW: &str = include_str!("move_window.sql");

pub struct Budgets;

/// The change of a window's sums in a batch, in nano-dollars.
#[derive(Clone, Copy, Default)]
struct WindowChange {
    settled: i128,
    held: i128,
    /// The cost of tenants' own providers, which is not spent from it.
    own: i128,
}

type WindowChanges = IdMap<BudgetWindow, WindowChange>;

impl Projector for Budgets {
    fn view(&self) -> View {
        View::Budgets
    }

    fn version(&self) -> u32 {
        3
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        let mut changes = WindowChanges::default();
        for recorded in events {
            collect(db, &mut changes, recorded)?;
        }
        let mut statement = db.prepare_cached(MOVE_WINDOW)?;
        for (window, by) in &changes {
            let start = window.window_start.map_or(0, |start| start.timestamp_micros());
            let sums = [Exact(by.settled), Exact(by.held), Exact(by.own)];
            let [settled, held, own] = &sums;
            statement.execute(params![window.budget_id.to_string(), start, settled, held, own])?;
        }
        Ok(())
    }
}

fn collect(db: &Connection, changes: &mut WindowChanges, recorded: &Recorded) -> Result<(), ProjectionError> {
    match &recorded.event {
        Event::Hold(hold) => {
            let all = hold.movement();
            add(changes, &all, 0)?;
            match hold.brokered_movement() {
                Some(part) => add(changes, &part, nanos(all.settled) - nanos(part.settled)),
                None => Ok(()),
            }
        }
        Event::Resource(Resource::Budget(change)) => write(db, recorded, change),
        Event::Inference(_) | Event::Resource(_) | Event::Access(_) | Event::Alert(_) => Ok(()),
    }
}

fn nanos(amount: NanoUsd) -> i128 {
    amount.nanos().into()
}

fn add(changes: &mut WindowChanges, moved: &hold::Movement<'_>, own: i128) -> Result<(), ProjectionError> {
    let (settled, held) = (nanos(moved.settled), nanos(moved.held) - nanos(moved.released));
    for window in moved.windows {
        let change = changes.entry(*window).or_default();
        change.settled = change.settled.checked_add(settled).ok_or(ProjectionError::Overflow)?;
        change.held = change.held.checked_add(held).ok_or(ProjectionError::Overflow)?;
        change.own = change.own.checked_add(own).ok_or(ProjectionError::Overflow)?;
    }
    Ok(())
}

/// The budget's partner and tenant: from its scope, otherwise from the event's context.
fn owners(recorded: &Recorded, budget: &Budget) -> (Option<String>, Option<String>) {
    let Chain { partner, tenant, .. } = budget.scope.owners(&recorded.context);
    (partner.map(|id| id.to_string()), tenant.map(|id| id.to_string()))
}

fn write(db: &Connection, recorded: &Recorded, change: &Change<Budget>) -> Result<(), ProjectionError> {
    let at = recorded.recorded_at.timestamp_micros();
    let budget = match change {
        Change::Created(budget) | Change::Changed(budget) => budget,
        Change::Ended(id) => return write_row(db, CLOSE, id, params![id.to_string(), at, recorded.position]),
    };
    let (partner, tenant) = owners(recorded, budget);
    let opened: [&dyn ToSql; 8] = [
        &budget.budget_id.to_string(),
        &partner,
        &tenant,
        &budget.limit_usd.nanos(),
        &budget.period.as_str(),
        &budget.body().to_string(),
        &recorded.position,
        &at,
    ];
    let [changed @ .., _opened_at] = &opened;
    let (sql, parameters): (_, &[_]) = match change {
        Change::Created(_) => (OPEN, &opened),
        Change::Changed(_) | Change::Ended(_) => (CHANGE, changed),
    };
    write_row(db, sql, budget.budget_id, parameters)
}
