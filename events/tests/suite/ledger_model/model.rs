//! The model: plain lists, which it sums for every question.

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use events::event::admin::Scope;
use events::time::Period;

use super::bounds::ModelBounds;
use super::scopes::{Conditions, RequestSender};
use crate::facts::{CAP, CAP_MIN};

/// Charges and holds as plain lists.
#[derive(Default)]
pub struct Model {
    pub budgets: Vec<ModelBudget>,
    /// The budget, the window and the fraction in thousandths.
    announced: Vec<(u128, Option<String>, i64)>,
    charges: Vec<(u128, Option<String>, i64)>,
    holds: Vec<ModelHold>,
}

#[derive(Clone)]
pub struct ModelBudget {
    pub number: u128,
    pub limit: i64,
    pub period: Period,
    pub scope: Scope,
    pub conditions: Conditions,
    pub watch: &'static [i64],
    pub shrinks: bool,
    pub observes: bool,
}

/// The model's admission: the amount held, the lowered cap if any, and the number of observing budgets that are short.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    Held { held: i64, cap: Option<u64>, observed: usize },
    Refused,
    Repeated,
}

/// The highest cost of an answer under `cap`, for a request that needs `held` under the default cap.
fn cost(held: i64, cap: u64) -> i64 {
    let millionths = held * 500_000 + i64::try_from(cap).expect("small") * held * 25_000;
    millionths / 1_000_000 + i64::from(millionths % 1_000_000 > 0)
}

struct ModelHold {
    request: u128,
    key: u128,
    held: i64,
    windows: Vec<(u128, Option<String>)>,
    expires_at: DateTime<Utc>,
}

/// A key that asks the model.
struct Asking {
    key: u128,
    has_own_budget: bool,
    bounds: ModelBounds,
}

/// The first day of the window as text, computed differently than in the ledger.
pub fn window(period: Period, now: DateTime<Utc>) -> Option<String> {
    let day = now.date_naive();
    match period {
        Period::Total => None,
        Period::Day => Some(day.to_string()),
        Period::Week => Some((day - TimeDelta::days(i64::from(day.weekday().number_from_monday()) - 1)).to_string()),
        Period::Month => Some(format!("{:04}-{:02}-01", day.year(), day.month())),
    }
}

impl Model {
    pub fn used(&self, budget: u128, window: &Option<String>) -> i64 {
        self.settled(budget, window) + self.held(budget, window, |_| true)
    }

    fn held(&self, budget: u128, window: &Option<String>, counts: impl Fn(&ModelHold) -> bool) -> i64 {
        let holds = self.holds.iter().filter(|hold| counts(hold));
        let of_window = holds.filter(|hold| hold.windows.iter().any(|(of, at)| *of == budget && at == window));
        of_window.map(|hold| hold.held).sum()
    }

    /// The least of what is left of a budget and of the shares of it. All keys are of one tenant.
    fn room(&self, budget: &ModelBudget, asking: &Asking, now: DateTime<Utc>) -> i64 {
        let at = window(budget.period, now);
        let left = budget.limit - self.used(budget.number, &at);
        let Some(share) = asking.bounds.share else { return left };
        let may_hold = (budget.limit - self.settled(budget.number, &at)) * share / 1000;
        let is_of_key = matches!(budget.scope, Scope::Key(_));
        let of_key = may_hold - self.held(budget.number, &at, |hold| hold.key == asking.key);
        let of_key = if is_of_key || asking.has_own_budget { left } else { of_key };
        let of_tenant = may_hold - self.held(budget.number, &at, |_| true);
        let shares_with_tenants = asking.bounds.with_tenants && matches!(budget.scope, Scope::Partner(_));
        let of_tenant = if shares_with_tenants { of_tenant } else { left };
        left.min(of_key).min(of_tenant)
    }

    fn settled(&self, budget: u128, window: &Option<String>) -> i64 {
        let charges = self.charges.iter().filter(|(of, at, _)| *of == budget && at == window);
        charges.map(|(_, _, nanos)| nanos).sum()
    }

    pub fn admit(
        &mut self,
        request: u128,
        sender: RequestSender,
        asked: i64,
        now: DateTime<Utc>,
        ttl: TimeDelta,
        bounds: ModelBounds,
    ) -> Verdict {
        if self.holds.iter().any(|hold| hold.request == request) {
            return Verdict::Repeated;
        }
        let binding = self.budgets.iter().filter(|budget| sender.is_bound_by(&budget.scope, &budget.conditions));
        let bound: Vec<_> = binding.cloned().collect();
        if bound.len() > bounds.budgets_max {
            return Verdict::Refused;
        }
        let has_own_budget = bound.iter().any(|budget| !budget.observes && matches!(budget.scope, Scope::Key(_)));
        let asking = Asking { key: sender.key, has_own_budget, bounds };
        let room = |budget: &ModelBudget| self.room(budget, &asking, now);
        let left = |budget: &ModelBudget| budget.limit - self.used(budget.number, &window(budget.period, now));
        let short: Vec<_> = bound.iter().filter(|budget| !budget.observes && room(budget) < asked).collect();
        let cap = if short.is_empty() {
            None
        } else {
            let fits = |cap: &u64| short.iter().all(|budget| budget.shrinks && cost(asked, *cap) <= room(budget));
            let Some(cap) = (CAP_MIN..CAP).rev().find(fits) else { return Verdict::Refused };
            Some(cap)
        };
        let held = cap.map_or(asked, |cap| cost(asked, cap));
        let observed = bound.iter().filter(|budget| budget.observes && left(budget) < held).count();
        let windows = bound.iter().map(|budget| (budget.number, window(budget.period, now))).collect();
        self.holds.push(ModelHold { request, key: sender.key, held, windows, expires_at: now + ttl });
        Verdict::Held { held, cap, observed }
    }

    pub fn open(&mut self, budget: ModelBudget, now: DateTime<Utc>) {
        let before = self.budgets.iter().find(|other| other.number == budget.number).map(|before| before.limit);
        let at = window(budget.period, now);
        let settled = self.settled(budget.number, &at);
        if before.is_some_and(|before| before < budget.limit) {
            self.announced.retain(|(of, window, thousandths)| {
                *of != budget.number || *window != at || settled * 1000 >= thousandths * budget.limit
            });
        }
        self.budgets.retain(|other| other.number != budget.number);
        self.budgets.push(budget);
    }

    pub fn end(&mut self, request: u128, charged: i64) -> Option<Vec<Alert>> {
        let at = self.holds.iter().position(|hold| hold.request == request)?;
        let hold = self.holds.remove(at);
        self.charges.extend(hold.windows.iter().map(|(budget, window)| (*budget, window.clone(), charged)));
        Some(if charged == 0 { Vec::new() } else { self.announce(&hold.windows) })
    }

    fn announce(&mut self, windows: &[(u128, Option<String>)]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        for (number, window) in windows {
            let Some(budget) = self.budgets.iter().find(|budget| budget.number == *number) else { continue };
            let settled = self.settled(*number, window);
            for thousandths in budget.watch {
                let mark = (*number, window.clone(), *thousandths);
                if settled * 1000 >= thousandths * budget.limit && !self.announced.contains(&mark) {
                    self.announced.push(mark);
                    alerts.push(Alert { number: *number, window: window.clone(), thousandths: *thousandths, settled });
                }
            }
        }
        alerts.sort();
        alerts
    }

    pub fn sweep(&mut self, now: DateTime<Utc>) -> (usize, Vec<Alert>) {
        let due: Vec<_> =
            self.holds.iter().filter(|hold| hold.expires_at <= now).map(|hold| (hold.request, hold.held)).collect();
        // In the ledger's order, because the amount of an alert depends on which end crossed the limit.
        let mut in_order: Vec<_> = due;
        in_order.sort_by_key(|(request, _)| {
            let hold = self.holds.iter().find(|hold| hold.request == *request);
            (hold.map(|hold| hold.expires_at), *request)
        });
        let mut alerts = Vec::new();
        for (request, held) in &in_order {
            alerts.extend(self.end(*request, *held).expect("it is open"));
        }
        alerts.sort();
        (in_order.len(), alerts)
    }
}

/// An alert, of the ledger or of the model.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    pub number: u128,
    pub window: Option<String>,
    pub thousandths: i64,
    pub settled: i64,
}
