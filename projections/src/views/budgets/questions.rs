//! Questions about budgets: what is charged, held and left in the window of an instant.

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

/// A page of budgets, newest first, and one more if there is another page.
pub struct BudgetList {
    pub visible: Visible,
    pub page: PageBounds,
    pub include_ended: bool,
    pub at: DateTime<Utc>,
}

/// One budget; `None` if the caller cannot see it.
pub struct OneBudget {
    pub visible: Visible,
    pub budget: BudgetId,
    pub at: DateTime<Utc>,
}

/// Several budgets, in the order asked for; those that are not in the view are left out.
pub struct Each {
    pub budgets: Vec<BudgetId>,
    pub at: DateTime<Utc>,
}

/// A budget with its balance.
#[derive(Clone, Debug)]
pub struct BudgetStatus {
    /// Log position at which it was opened.
    pub position: u64,
    /// The budget as a resource.
    pub body: Value,
    pub settled: NanoUsdSum,
    pub held: NanoUsdSum,
    pub remaining: NanoUsdSum,
    /// The cost of tenants' own providers, which is not spent from it.
    pub own: NanoUsdSum,
    pub window: CalendarWindow,
    pub ended_at: Option<DateTime<Utc>>,
}

impl Question for BudgetList {
    type Answer = Vec<BudgetStatus>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Vec<BudgetStatus>, ViewsError> {
        let mut statement = db.prepare_cached(LIST)?;
        let parameters = named_params! {
            ":before": self.page.before, ":include_ended": self.include_ended, ":rows": self.page.rows(),
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        statement.query_and_then(parameters, |row| status(db, self.at, row))?.collect()
    }
}

impl Question for OneBudget {
    type Answer = Option<BudgetStatus>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Option<BudgetStatus>, ViewsError> {
        let parameters = named_params! {
            ":budget": self.budget.to_string(),
            ":visible_partner": self.visible.partner(), ":visible_tenant": self.visible.tenant(),
        };
        let mut statement = db.prepare_cached(ONE)?;
        statement.query_and_then(parameters, |row| status(db, self.at, row))?.next().transpose()
    }
}

impl Question for Each {
    type Answer = Vec<BudgetStatus>;
    const VIEWS: &'static [View] = &[View::Budgets];

    fn answer(self, db: &Connection) -> Result<Vec<BudgetStatus>, ViewsError> {
        let one = |budget| OneBudget { visible: Visible::Platform, budget, at: self.at }.answer(db);
        self.budgets.into_iter().filter_map(|budget| one(budget).transpose()).collect()
    }
}

/// Reads a budget with its balance in the window of `at`. A window without any hold has no row.
fn status(db: &Connection, at: DateTime<Utc>, row: &Row<'_>) -> Result<BudgetStatus, ViewsError> {
    let (id, body, period): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let window = serde_json::from_value::<Period>(Value::from(period))?.window(at);
    let start = window.start.map_or(0, |start| start.timestamp_micros());
    let mut window_row = db.prepare_cached(WINDOW)?;
    let sums = window_row.query_row((id, start), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let (Exact(settled), Exact(held), Exact(own)) = sums.unwrap_or_default();
    Ok(BudgetStatus {
        position: row.get(4)?,
        body: completed(&body, StreamKind::Budget)?,
        settled: NanoUsdSum::new(settled),
        held: NanoUsdSum::new(held),
        own: NanoUsdSum::new(own),
        remaining: remaining(NanoUsd::new(row.get(2)?), settled, held),
        window,
        ended_at: row.get::<_, Option<i64>>(5)?.map(from_micros),
    })
}

/// The amount that a hold can still take: never below zero, even if a lowered limit or an overrun exceeded the limit.
fn remaining(limit: NanoUsd, settled: i128, held: i128) -> NanoUsdSum {
    NanoUsdSum::new(i128::from(limit.nanos()).saturating_sub(settled).saturating_sub(held).max(0))
}
