//! What budgets have left in the window that a time lies in.

use chrono::{DateTime, Utc};
use events::event::StreamKind;
use events::ids::BudgetId;
use events::money::{NanoUsd, NanoUsdSum};
use events::time::{CalendarWindow, Period, from_micros};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde_json::Value;

use crate::resource::completed;
use crate::views::exact::Exact;
use crate::views::{PageBounds, Question, View, ViewsError};
use crate::visible::Visible;

const LIST: &str = include_str!("list.sql");
const ONE: &str = include_str!("one.sql");
const WINDOW: &str = include_str!("window.sql");

/// A page of them, newest first; one more than the page where there is another.
pub struct List {
    pub visible: Visible,
    pub page: PageBounds,
    pub include_ended: bool,
    pub at: DateTime<Utc>,
}

/// One of them; `None` for what the caller cannot see.
pub struct One {
    pub visible: Visible,
    pub budget: BudgetId,
    pub at: DateTime<Utc>,
}

/// These, in their order; what is not in the view is left out.
pub struct Each {
    pub budgets: Vec<BudgetId>,
    pub at: DateTime<Utc>,
}

/// What a budget has left.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Where it was opened.
    pub position: u64,
    /// The budget as a resource.
    pub body: Value,
    pub settled: NanoUsdSum,
    pub held: NanoUsdSum,
    pub remaining: NanoUsdSum,
    pub window: CalendarWindow,
    pub ended_at: Option<DateTime<Utc>>,
}

impl Question for List {
    type Answer = Vec<Standing>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Vec<Standing>, ViewsError> {
        let mut statement = db.prepare_cached(LIST)?;
        let parameters = named_params! {
            ":before": self.page.before, ":include_ended": self.include_ended, ":rows": self.page.rows(),
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        let budgets: Vec<BudgetRow> = statement.query_map(parameters, BudgetRow::read)?.collect::<Result<_, _>>()?;
        budgets.iter().map(|budget| budget.standing(db, self.at)).collect()
    }
}

impl Question for One {
    type Answer = Option<Standing>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Option<Standing>, ViewsError> {
        let parameters = named_params! {
            ":budget": self.budget.to_string(),
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        let budget = db.prepare_cached(ONE)?.query_row(parameters, BudgetRow::read).optional()?;
        budget.map(|budget| budget.standing(db, self.at)).transpose()
    }
}

impl Question for Each {
    type Answer = Vec<Standing>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Vec<Standing>, ViewsError> {
        let one = |budget| One { visible: Visible::Platform, budget, at: self.at }.answer(db);
        self.budgets.into_iter().filter_map(|budget| one(budget).transpose()).collect()
    }
}

struct BudgetRow {
    id: String,
    body: String,
    limit: NanoUsd,
    period: String,
    opened_position: u64,
    closed_at: Option<i64>,
}

impl BudgetRow {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            id: row.get(0)?,
            body: row.get(1)?,
            limit: NanoUsd::new(row.get(2)?),
            period: row.get(3)?,
            opened_position: row.get(4)?,
            closed_at: row.get(5)?,
        })
    }

    /// In the window that the time lies in. A window that nothing was held in has no row.
    fn standing(&self, db: &Connection, at: DateTime<Utc>) -> Result<Standing, ViewsError> {
        let period: Period = serde_json::from_value(Value::from(self.period.as_str()))?;
        let window = period.window(at);
        let start = window.start.map_or(0, |start| start.timestamp_micros());
        let sums =
            db.prepare_cached(WINDOW)?.query_row((&self.id, start), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (Exact(settled), Exact(held)) = sums.unwrap_or_default();
        Ok(Standing {
            position: self.opened_position,
            body: completed(&self.body, StreamKind::Budget)?,
            settled: NanoUsdSum::new(settled),
            held: NanoUsdSum::new(held),
            remaining: remaining(self.limit, settled, held),
            window,
            ended_at: self.closed_at.map(from_micros),
        })
    }
}

/// What a hold could still take; never below zero, also where a lowered limit or an overrun went past it.
fn remaining(limit: NanoUsd, settled: i128, held: i128) -> NanoUsdSum {
    NanoUsdSum::new(i128::from(limit.nanos()).saturating_sub(settled).saturating_sub(held).max(0))
}
