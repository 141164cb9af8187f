//! The ledger's state as the database has it: the rows as of their checkpoint, and the fold of the events after it. At
//! start, and whenever a commit failed and memory had run ahead of the disk.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::Connection;

use super::{BatchClock, Figures, Publisher, Writer};
use crate::event::hold::BudgetWindow;
use crate::event::{Change, Event, Recorded, Resource};
use crate::ids::{BudgetId, RequestId};
use crate::ledger::{Amounts, Balances, Hold, PAST_WINDOWS_KEPT_DAYS, Step, decide};
use crate::log::append::{load_windows, read_announced};
use crate::log::checkpoint::Checkpointer;
use crate::log::owners::OwnerBlocks;
use crate::log::{Ender, Head, LogError, LogOptions, Reader, read};
use crate::money::NanoUsd;
use crate::time::from_micros;

const SELECT_BALANCES: &str = "SELECT budget_id, window_start, settled, held, announced FROM balances
                               WHERE window_start = -1 OR window_start >= ?1 OR held <> 0";
const SELECT_CHECKPOINT: &str = "SELECT position FROM ledger_checkpoint";
/// Events folded at a time.
const PAGE: usize = 1000;
const SELECT_OPEN_HOLDS: &str = "SELECT request_id, held, expires_at, hold FROM open_holds";

impl Writer {
    pub(in crate::log) fn load(
        connection: Connection,
        checkpointer: Checkpointer,
        options: LogOptions,
        ender: Ender,
        publisher: Publisher,
        figures: Arc<Figures>,
    ) -> Result<Self, LogError> {
        let last = read::head(&connection)?;
        publisher.begin_at(last, read::last_administration(&connection)?);
        let clock = BatchClock::new(Arc::clone(&options.clock), last.recorded_at);
        let now = options.clock.now();
        let state = State::read(&connection, last.recorded_at.map_or(now, |at| at.max(now)))?;
        let started = options.clock.monotonic();
        figures.show_holds(&state.balances);
        Ok(Self {
            checkpointer,
            connection,
            options,
            clock,
            left_behind: state.balances.open_holds().map(|(request, _)| *request).collect(),
            balances: state.balances,
            is_loaded: true,
            position: last.position,
            owners: state.owners,
            events_since_state: state.events_folded,
            ender,
            publisher,
            figures,
            swept_at: started,
            tidied_at: started,
            waiting: Vec::new(),
        })
    }

    pub(super) fn load_if_needed(&mut self, now: DateTime<Utc>) -> Result<(), LogError> {
        if self.is_loaded {
            return Ok(());
        }
        self.position = read::head(&self.connection)?.position;
        let state = State::read(&self.connection, now)?;
        (self.balances, self.owners, self.events_since_state) = (state.balances, state.owners, state.events_folded);
        self.is_loaded = true;
        Ok(())
    }
}

impl Reader {
    /// What the ledger stands at, as of the head that comes with it; for people, not for decisions. Blocking.
    pub fn balances(&self, now: DateTime<Utc>) -> Result<(Head, Balances), LogError> {
        // One snapshot: the rows and the events after them belong together.
        let snapshot = self.connection().unchecked_transaction()?;
        let head = read::head(&snapshot)?;
        Ok((head, State::read(&snapshot, head.time_after(now))?.balances))
    }
}

/// What the database says at its head.
struct State {
    balances: Balances,
    /// Of the events that came after the rows.
    owners: OwnerBlocks,
    /// How many events that were.
    events_folded: usize,
}

impl State {
    fn read(connection: &Connection, now: DateTime<Utc>) -> Result<Self, LogError> {
        let balances = written_balances(connection, now)?;
        let mut state = Self { balances, owners: OwnerBlocks::default(), events_folded: 0 };
        state.fold_the_rest(connection)?;
        Ok(state)
    }

    /// Takes in what was recorded after the rows were written.
    fn fold_the_rest(&mut self, connection: &Connection) -> Result<(), LogError> {
        let mut position: u64 = connection.query_row(SELECT_CHECKPOINT, [], |row| row.get(0))?;
        loop {
            let page = read::after(connection, position, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            (position, self.events_folded) = (last.position, self.events_folded + page.len());
            for recorded in &page {
                load_windows(connection, &touched_windows(recorded), &mut self.balances)?;
                let broken = |error| LogError::Stored(format!("position {}: {error}", recorded.position));
                self.balances.fold(recorded).map_err(broken)?;
                self.owners.take_in(recorded);
            }
        }
    }
}

/// As of their checkpoint.
fn written_balances(connection: &Connection, now: DateTime<Utc>) -> Result<Balances, LogError> {
    let mut balances = Balances::default();
    let written_until: u64 = connection.query_row(SELECT_CHECKPOINT, [], |row| row.get(0))?;
    for recorded in read::budgets(connection, written_until)? {
        if let Event::Resource(Resource::Budget(change)) = &recorded.event {
            let step = Step::Budget { change, position: recorded.position };
            decide(&mut balances, &step, recorded.recorded_at);
        }
    }
    let oldest = now - chrono::TimeDelta::days(PAST_WINDOWS_KEPT_DAYS);
    let mut statement = connection.prepare(SELECT_BALANCES)?;
    let mut rows = statement.query([oldest.timestamp_micros()])?;
    while let Some(row) = rows.next()? {
        let budget_id: BudgetId = stored(&row.get::<_, String>(0)?)?;
        let start: i64 = row.get(1)?;
        let window = BudgetWindow { budget_id, window_start: (start >= 0).then(|| from_micros(start)) };
        let amounts = Amounts { settled: NanoUsd::new(row.get(2)?), held: NanoUsd::new(row.get(3)?) };
        balances.restore_window(window, amounts);
        balances.restore_announced(window, read_announced(&row.get::<_, String>(4)?)?);
    }
    let mut statement = connection.prepare(SELECT_OPEN_HOLDS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let request: RequestId = stored(&row.get::<_, String>(0)?)?;
        let (held, expires_at) = (NanoUsd::new(row.get(1)?), from_micros(row.get(2)?));
        let hold = Hold::from_json(held, expires_at, &row.get::<_, String>(3)?);
        balances.restore_hold(request, hold.map_err(|error| LogError::Stored(error.to_string()))?);
    }
    Ok(balances)
}

/// The windows whose amounts or alerts an event changes.
fn touched_windows(recorded: &Recorded) -> Cow<'_, [BudgetWindow]> {
    match &recorded.event {
        Event::Hold(hold) => Cow::Borrowed(hold.movement().windows),
        Event::Resource(Resource::Budget(Change::Changed(budget))) => {
            let window_start = budget.period.window_start(recorded.recorded_at);
            Cow::Owned(vec![BudgetWindow { budget_id: budget.budget_id, window_start }])
        }
        _ => Cow::Borrowed(&[]),
    }
}

fn stored<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, LogError> {
    text.parse().map_err(|error| LogError::Stored(format!("{text}: {error}")))
}
