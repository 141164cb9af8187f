//! The rows beside the log, as of the position that they say they are of: balances and open holds row by row, and where
//! each owner's events stand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::str::FromStr;

use rusqlite::Connection;

use super::VerifyError;
use super::owners::Owners;
use crate::event::hold::BudgetWindow;
use crate::fraction::Fraction;
use crate::ids::RequestId;
use crate::ledger::{Amounts, Balances, Hold};
use crate::log::owners::Owner;
use crate::log::{LogError, read_announced};
use crate::money::NanoUsd;
use crate::time::from_micros;

const HEAD: &str = "SELECT max(position) FROM events";
const CHECKPOINT: &str = "SELECT position FROM ledger_checkpoint";
const BALANCES: &str = "SELECT budget_id, window_start, settled, held, announced FROM balances";
const OPEN_HOLDS: &str = "SELECT request_id, held, expires_at, hold FROM open_holds";

/// What stood beside the log when the check began.
pub(super) struct Beside {
    /// The log's last position then.
    pub(super) head: u64,
    /// As of which the rows are.
    pub(super) state_at: u64,
    balances: BTreeMap<BudgetWindow, Amounts>,
    announced: BTreeMap<BudgetWindow, BTreeSet<Fraction>>,
    open_holds: HashMap<RequestId, Hold>,
    owners: Owners<String>,
    /// Why rows could not be read, where they could not.
    unreadable: Option<String>,
}

impl Beside {
    /// Reads them as of one moment; whoever writes goes on, and what it writes later is not looked at.
    pub(super) fn read(connection: &Connection) -> Result<Self, VerifyError> {
        connection.execute_batch("BEGIN").map_err(LogError::from)?;
        let read = Self::read_all(connection).map_err(LogError::from);
        let _ = connection.execute_batch("COMMIT");
        Ok(read?)
    }

    fn read_all(connection: &Connection) -> Result<Self, rusqlite::Error> {
        let head: Option<i64> = connection.query_row(HEAD, [], |row| row.get(0))?;
        let mut beside = Self {
            head: head.and_then(|head| u64::try_from(head).ok()).unwrap_or(0),
            state_at: connection.query_row(CHECKPOINT, [], |row| row.get(0))?,
            balances: BTreeMap::new(),
            announced: BTreeMap::new(),
            open_holds: HashMap::new(),
            owners: Owners::read(connection)?,
            unreadable: None,
        };
        beside.read_balances(connection)?;
        beside.read_open_holds(connection)?;
        Ok(beside)
    }

    fn read_balances(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement = connection.prepare(BALANCES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (budget, start): (String, i64) = (row.get(0)?, row.get(1)?);
            let Some(budget_id) = self.parse(&budget) else { continue };
            let window = BudgetWindow { budget_id, window_start: (start >= 0).then(|| from_micros(start)) };
            let amounts = Amounts { settled: NanoUsd::new(row.get(2)?), held: NanoUsd::new(row.get(3)?) };
            self.balances.insert(window, amounts);
            match read_announced(&row.get::<_, String>(4)?) {
                Ok(announced) => drop(self.announced.insert(window, announced)),
                Err(error) => self.unreadable = Some(format!("what was announced of {}: {error}", named(&window))),
            }
        }
        Ok(())
    }

    fn read_open_holds(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement = connection.prepare(OPEN_HOLDS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (request, json): (String, String) = (row.get(0)?, row.get(3)?);
            let (held, expires_at) = (NanoUsd::new(row.get(1)?), from_micros(row.get(2)?));
            let Some(request) = self.parse(&request) else { continue };
            match Hold::from_json(held, expires_at, &json) {
                Ok(hold) => drop(self.open_holds.insert(request, hold)),
                Err(error) => self.unreadable = Some(format!("the open hold of {request} cannot be read: {error}")),
            }
        }
        Ok(())
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, text: &str) -> Option<T> {
        text.parse().inspect_err(|error| self.unreadable = Some(format!("{text}: {error}"))).ok()
    }

    /// What differs between the rows and the fold.
    pub(super) fn must_equal(&self, fold: &Balances, owners: &Owners<Owner>) -> Result<(), String> {
        if let Some(unreadable) = &self.unreadable {
            return Err(unreadable.clone());
        }
        self.balances_must_equal(fold)?;
        self.open_holds_must_equal(fold)?;
        self.owners.must_equal(owners)
    }

    fn balances_must_equal(&self, fold: &Balances) -> Result<(), String> {
        let folded: BTreeMap<&BudgetWindow, &Amounts> = fold.windows().collect();
        if let Some(window) = self.balances.keys().find(|window| !fold.knows_window(window)) {
            return Err(format!("a balance of {}, which no event has moved", named(window)));
        }
        for (window, events) in folded {
            let Some(row) = self.balances.get(window) else {
                return Err(format!("there is no balance of {}", named(window)));
            };
            if row != events {
                return Err(format!(
                    "{} has {} USD charged and {} USD held by its events, and {} and {} in the table of balances",
                    named(window),
                    events.settled,
                    events.held,
                    row.settled,
                    row.held
                ));
            }
            let announced = self.announced.get(window).into_iter().flatten().copied();
            if !announced.eq(fold.announced(window)) {
                return Err(format!("other alerts of {} than its events in the table of balances", named(window)));
            }
        }
        Ok(())
    }

    fn open_holds_must_equal(&self, fold: &Balances) -> Result<(), String> {
        let differs = fold.open_holds().filter(|(request, hold)| self.open_holds.get(request) != Some(hold));
        let not_open = self.open_holds.keys().filter(|request| fold.open_hold(**request).is_none());
        // Hash maps have no order; what is said has one.
        match differs.map(|(request, _)| request).chain(not_open).min() {
            None => Ok(()),
            Some(request) => Err(format!("the table of open holds differs from the events for {request}")),
        }
    }
}

fn named(window: &BudgetWindow) -> String {
    match window.window_start {
        None => window.budget_id.to_string(),
        Some(start) => format!("{} from {}", window.budget_id, start.date_naive()),
    }
}
