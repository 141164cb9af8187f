//! The money: every cost from its tokens and its price, every prefix of every budget, and at the end the rows beside
//! the log against the fold of its events.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::event::hold::{BudgetReserved, BudgetSettled, BudgetWindow};
use crate::event::inference::InferenceEnded;
use crate::event::{Event, Recorded};
use crate::ledger::{Amounts, Balances};
use crate::log::LogError;
use crate::money::{NanoUsd, Rates};
use crate::time::from_micros;
use crate::usage::UsageSource;

#[derive(Default)]
pub(super) struct Books {
    balances: Balances,
    /// By the position at which they were recorded.
    prices: HashMap<u64, Rates>,
}

impl Books {
    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), String> {
        match &recorded.event {
            Event::PriceCreated(price) | Event::PriceChanged(price) => {
                self.prices.insert(recorded.position, price.rates);
            }
            Event::BudgetReserved(reserved) => self.must_bind_all(recorded, reserved)?,
            Event::BudgetSettled(settled) => overrun(settled)?,
            Event::InferenceCompleted(ended) | Event::InferenceFailed(ended) | Event::InferenceAborted(ended) => {
                self.cost(ended)?;
            }
            _ => {}
        }
        self.balances.fold(recorded).map_err(|error| error.to_string())?;
        // What the fold would write is nobody's business here, and must not pile up.
        self.balances.take_changes();
        match &recorded.event {
            Event::BudgetReserved(reserved) => self.must_be_within(reserved),
            _ => Ok(()),
        }
    }

    /// Every budget of its chain, and no other, each in the window of that instant.
    fn must_bind_all(&self, recorded: &Recorded, reserved: &BudgetReserved) -> Result<(), String> {
        let bound = self.balances.windows_that_bind(&recorded.context.chain(), recorded.recorded_at);
        let mut named = reserved.budgets.clone();
        let mut wanted = bound;
        named.sort();
        wanted.sort();
        if named != wanted {
            return Err(format!("the hold names {} budgets of the {} that bind it", named.len(), wanted.len()));
        }
        if reserved.held_usd.is_negative() {
            return Err(format!("a hold of {} USD", reserved.held_usd));
        }
        Ok(())
    }

    fn must_be_within(&self, reserved: &BudgetReserved) -> Result<(), String> {
        for window in &reserved.budgets {
            let Some(budget) = self.balances.budget(window.budget_id) else {
                return Err(format!("{} is not open", window.budget_id));
            };
            let Amounts { settled, held } = self.balances.amounts(window);
            if settled.checked_add(held).is_none_or(|used| used > budget.limit) {
                let (id, limit) = (window.budget_id, budget.limit);
                return Err(format!("{id} has {settled} USD charged and {held} USD held of {limit} USD"));
            }
        }
        Ok(())
    }

    fn cost(&self, ended: &InferenceEnded) -> Result<(), String> {
        let (Some(version), Some(usage)) = (ended.price_version, &ended.usage) else { return Ok(()) };
        if usage.source == UsageSource::Unknown {
            return Ok(());
        }
        let rates = self.prices.get(&version).ok_or_else(|| format!("there is no price at position {version}"))?;
        match rates.cost(&usage.tokens) {
            Some(cost) if cost == ended.cost_usd => Ok(()),
            Some(cost) => Err(format!("its tokens cost {cost} USD at its price, and it says {} USD", ended.cost_usd)),
            None => Err("its tokens cost more than money can count".to_owned()),
        }
    }

    pub(super) fn open_holds(&self) -> u64 {
        self.balances.open_holds().count() as u64
    }

    /// What differs between the rows beside the log and the fold so far.
    pub(super) fn compare(&self, connection: &Connection) -> Result<Result<(), String>, LogError> {
        let stored = stored_balances(connection)?;
        let folded = self.balances.windows().map(|(window, amounts)| (*window, *amounts)).collect();
        if let Some(reason) = difference(&folded, &stored) {
            return Ok(Err(reason));
        }
        let stored = stored_holds(connection)?;
        let folded: BTreeMap<String, NanoUsd> =
            self.balances.open_holds().map(|(request, hold)| (request.to_string(), hold.held)).collect();
        if stored == folded {
            return Ok(Ok(()));
        }
        let different = folded.iter().find(|(request, held)| stored.get(*request) != Some(held));
        let different = different.or_else(|| stored.iter().find(|(request, _)| !folded.contains_key(*request)));
        let request = different.map_or("", |(request, _)| request.as_str());
        Ok(Err(format!("the table of open holds differs from the events for {request}")))
    }
}

/// The position as of which the rows beside the log were written.
pub(super) fn state_position(connection: &Connection) -> Result<u64, LogError> {
    Ok(connection.query_row("SELECT position FROM ledger_checkpoint", [], |row| row.get(0))?)
}

fn overrun(settled: &BudgetSettled) -> Result<(), String> {
    if settled.charged_usd.is_negative() {
        return Err(format!("{} USD were charged", settled.charged_usd));
    }
    let above = settled.charged_usd.checked_sub(settled.held_usd).filter(|above| *above > NanoUsd::ZERO);
    if above == settled.overrun_usd {
        return Ok(());
    }
    Err(format!("{} USD charged of {} USD held, with another overrun", settled.charged_usd, settled.held_usd))
}

fn stored_balances(connection: &Connection) -> Result<BTreeMap<BudgetWindow, Amounts>, LogError> {
    let mut statement = connection.prepare("SELECT budget_id, window_start, settled, held FROM balances")?;
    let mut rows = statement.query([])?;
    let mut balances = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let budget: String = row.get(0)?;
        let start: i64 = row.get(1)?;
        let budget_id = budget.parse().map_err(|_| LogError::Stored(format!("budget {budget}")))?;
        let window = BudgetWindow { budget_id, window_start: (start >= 0).then(|| from_micros(start)) };
        balances.insert(window, Amounts { settled: NanoUsd::new(row.get(2)?), held: NanoUsd::new(row.get(3)?) });
    }
    Ok(balances)
}

fn stored_holds(connection: &Connection) -> Result<BTreeMap<String, NanoUsd>, LogError> {
    let mut statement = connection.prepare("SELECT request_id, held FROM open_holds")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, NanoUsd::new(row.get(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn difference(folded: &BTreeMap<BudgetWindow, Amounts>, stored: &BTreeMap<BudgetWindow, Amounts>) -> Option<String> {
    let of =
        |side: &BTreeMap<BudgetWindow, Amounts>, window: &BudgetWindow| side.get(window).copied().unwrap_or_default();
    let window = folded.keys().chain(stored.keys()).find(|window| of(folded, window) != of(stored, window))?;
    let (events, table) = (of(folded, window), of(stored, window));
    Some(format!(
        "{} has {} USD charged and {} USD held by its events, and {} and {} in the table of balances",
        window.budget_id, events.settled, events.held, table.settled, table.held
    ))
}
