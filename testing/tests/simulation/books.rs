//! The independent checker: the content of the log as plain lists, and the promises that must hold at every position. It uses
//! none of the ledger's structures, and computes windows in another way.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use events::event::admin::{Budget, Enforcement, Scope};
use events::event::hold::{BudgetWindow, CorrectedValue};
use events::event::inference::InferenceAdmitted;
use events::event::{Access, Alert, Change, Context, Event, Hold, Inference, Recorded, Resource};
use events::ids::{BudgetId, RequestId};
use events::ledger::{Balances, PAST_WINDOWS_KEPT_DAYS};
use events::money::NanoUsd;
use events::time::{Period, parse_rfc3339};
use rusqlite::Connection;

use super::alerts::{Alerts, Threshold, threshold};
use super::facts::{CAP, CAP_MIN};

const SELECT_WINDOW: &str =
    "SELECT settled_nanos, held_nanos FROM rows_budget_windows WHERE budget_id = ?1 AND window_start = ?2";

pub type Checked = Result<(), String>;

#[derive(Default)]
pub struct Books {
    /// Name and stream of each event, in order from position 1.
    events: Vec<(&'static str, String)>,
    last_at: DateTime<Utc>,
    sequences: BTreeMap<String, u64>,
    budgets: Vec<OpenBudget>,
    alerts: Alerts,
    /// The admission before the next hold.
    admitted: Option<Box<InferenceAdmitted>>,
    windows: Vec<Window>,
    accounts: Vec<Account>,
    /// The number of denied requests in the log.
    pub denied: u64,
}

struct OpenBudget {
    id: BudgetId,
    limit: i64,
    period: Period,
    scope: Scope,
    thresholds: Vec<Threshold>,
    observes: bool,
}

struct Window {
    name: BudgetWindow,
    settled: i64,
    held: i64,
}

/// The money of one admitted request.
pub struct Account {
    pub request: RequestId,
    pub held: i64,
    /// The sum of its end and its late figures; `None` while the hold is open.
    pub charged: Option<i64>,
    /// The sum of its corrections by prices.
    corrected: i64,
    /// The version of the price that corrected it last.
    revalued_by: u64,
    was_settled: bool,
    windows: Vec<BudgetWindow>,
    expires_at: DateTime<Utc>,
    was_swept: bool,
}

impl Account {
    /// Whether it was charged by what it used.
    pub fn was_settled(&self) -> bool {
        self.was_settled
    }

    /// Whether it has this value of this version of a price, or that of a later version.
    pub fn is_valued(&self, version: u64, value: i64) -> bool {
        self.revalued_by >= version || self.charged.map(|charged| charged + self.corrected) == Some(value)
    }
}

impl Books {
    pub fn position(&self) -> u64 {
        u64::try_from(self.events.len()).expect("few events")
    }

    /// The name and stream of the event at a position.
    pub fn at(&self, position: u64) -> Option<&(&'static str, String)> {
        self.events.get(usize::try_from(position.checked_sub(1)?).ok()?)
    }

    pub fn account(&self, request: RequestId) -> Option<&Account> {
        self.accounts.iter().find(|account| account.request == request)
    }

    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The number of events on a stream.
    pub fn length_of(&self, stream: &str) -> u64 {
        self.sequences.get(stream).copied().unwrap_or(0)
    }

    pub fn last_at(&self) -> DateTime<Utc> {
        self.last_at
    }

    /// Adds the next event, and checks it against all earlier ones.
    pub fn take(&mut self, recorded: &Recorded) -> Checked {
        self.event(recorded).map_err(|reason| format!("position {}: {reason}", recorded.position))
    }

    fn event(&mut self, recorded: &Recorded) -> Checked {
        must(recorded.position == self.position() + 1, || format!("it follows on position {}", self.position()))?;
        must(recorded.recorded_at >= self.last_at, || "recorded before the previous event".to_owned())?;
        let stream = recorded.stream.to_string();
        let before = self.sequences.entry(stream.clone()).or_default();
        must(recorded.sequence == *before + 1, || {
            format!("{stream} has {before} events, and then {}", recorded.sequence)
        })?;
        *before += 1;
        self.last_at = recorded.recorded_at;
        self.events.push((recorded.event.name(), stream));
        if !matches!(recorded.event, Event::Alert(Alert::BudgetThresholdReached(_))) {
            self.alerts.must_be_done()?;
        }
        let request = || recorded.context.request_id.ok_or("it names no request");
        match &recorded.event {
            Event::Resource(Resource::Budget(Change::Created(budget) | Change::Changed(budget))) => {
                self.budget_changed(budget, recorded.recorded_at);
            }
            Event::Inference(Inference::Admitted(admitted)) => self.admitted = Some(admitted.clone()),
            Event::Alert(Alert::BudgetThresholdReached(alert)) => self.alerts.take(alert)?,
            Event::Resource(Resource::Budget(Change::Ended(closed))) => {
                self.budgets.retain(|other| other.id != *closed)
            }
            Event::Hold(Hold::Reserved(reserved)) => {
                let (held, expires_at) = (reserved.held_usd.nanos(), reserved.expires_at);
                self.reserve(request()?, held, &reserved.budgets, expires_at, recorded)?;
            }
            Event::Hold(Hold::Settled(end)) => {
                self.end(request()?, end.held_usd, end.charged_usd.nanos(), &end.budgets, false)?;
                self.accounts
                    .iter_mut()
                    .filter(|other| Some(other.request) == recorded.context.request_id)
                    .for_each(|account| account.was_settled = true);
            }
            Event::Hold(Hold::Released(end)) => self.end(request()?, end.held_usd, 0, &end.budgets, false)?,
            Event::Hold(Hold::Expired(end)) => {
                let (request, charged) = (request()?, end.charged_usd.nanos());
                self.end(request, end.held_usd, charged, &end.budgets, true)?;
                self.must_be_due(request, recorded.recorded_at)?;
            }
            Event::Hold(Hold::Adjusted(adjusted)) => match &adjusted.price {
                Some(value) => self.revalue(adjusted.of, value, adjusted.delta_usd.nanos(), &adjusted.budgets)?,
                None => self.adjust(adjusted.of, adjusted.delta_usd.nanos(), &adjusted.budgets)?,
            },
            Event::Access(Access::Denied(denied)) => self.denied += denied.count,
            _ => {}
        }
        Ok(())
    }

    fn budget_changed(&mut self, budget: &Budget, now: DateTime<Utc>) {
        let (id, limit, period) = (budget.budget_id, budget.limit_usd.nanos(), budget.period);
        let before = self.budgets.iter().find(|other| other.id == id).map(|before| before.limit);
        if before.is_some_and(|before| before < limit) {
            let start = first_day(period, now)
                .map(|day| parse_rfc3339(&format!("{day}T00:00:00Z")).expect("the beginning of a day"));
            let window = BudgetWindow { budget_id: id, window_start: start };
            let settled = self.windows.iter().find(|other| other.name == window).map_or(0, |window| window.settled);
            self.alerts.rearm(window, settled, limit);
        }
        self.budgets.retain(|other| other.id != id);
        let thresholds = budget.alert_at.iter().map(|fraction| threshold(fraction.to_string())).collect();
        let observes = budget.enforcement == Enforcement::Observe;
        self.budgets.push(OpenBudget { id, limit, period, scope: budget.scope.owner, thresholds, observes });
    }

    /// Records that the settled amounts of these windows changed.
    fn settled_changed(&mut self, windows: &[BudgetWindow]) {
        for window in windows {
            let settled = self.window(window).settled;
            if let Some(budget) = self.budgets.iter().find(|budget| budget.id == window.budget_id) {
                self.alerts.settled_changed(*window, settled, &budget.thresholds, budget.limit);
            }
        }
    }

    fn reserve(
        &mut self,
        request: RequestId,
        held: i64,
        windows: &[BudgetWindow],
        expires_at: DateTime<Utc>,
        recorded: &Recorded,
    ) -> Checked {
        let admission = ("inference.admitted", format!("inference-{request}"));
        must(self.at(recorded.position - 1) == Some(&admission), || {
            "a hold that does not follow its admission".to_owned()
        })?;
        must(self.account(request).is_none(), || format!("{request} is held twice"))?;
        let bound = self.budgets.iter().filter(|budget| binds(&budget.scope, &recorded.context)).count();
        must(windows.len() == bound, || format!("{} budgets of {bound} are named", windows.len()))?;
        let admitted = self.admitted.take().ok_or("a hold without an admission")?;
        let mut observed: Vec<BudgetId> = Vec::new();
        for window in windows {
            let budget = self.budgets.iter().find(|budget| budget.id == window.budget_id);
            let (limit, period, observes) = budget
                .map(|budget| (budget.limit, budget.period, budget.observes))
                .ok_or("a budget that is not open")?;
            let day = window.window_start.map(|start| start.format("%Y-%m-%d %H:%M:%S").to_string());
            let expected = first_day(period, recorded.recorded_at).map(|day| format!("{day} 00:00:00"));
            must(day == expected, || format!("the window {day:?} of {} instead of {expected:?}", window.budget_id))?;
            let sums = self.window(window);
            sums.held += held;
            let used = sums.settled + sums.held;
            if observes && used > limit {
                observed.push(window.budget_id);
            }
            must(observes || used <= limit, || {
                format!("{used} of {limit} nano-dollars are used of {}", window.budget_id)
            })?;
        }
        let recorded = admitted.would_have_refused.iter().map(|short| short.budget_id);
        must(recorded.eq(observed.iter().copied()), || {
            format!("{observed:?} would have refused, but the admission names {:?}", admitted.would_have_refused)
        })?;
        let (cap, requested) = (admitted.max_output_tokens, admitted.requested_max_output_tokens);
        must(requested.is_none_or(|requested| requested == CAP && (CAP_MIN..CAP).contains(&cap)), || {
            format!("the cap {requested:?} was lowered to {cap}")
        })?;
        let windows = windows.to_vec();
        self.accounts.push(Account {
            request,
            held,
            charged: None,
            corrected: 0,
            revalued_by: 0,
            was_settled: false,
            windows,
            expires_at,
            was_swept: false,
        });
        Ok(())
    }

    fn end(
        &mut self,
        request: RequestId,
        held: NanoUsd,
        charged: i64,
        windows: &[BudgetWindow],
        was_swept: bool,
    ) -> Checked {
        let inference = format!("inference-{request}");
        let before = self.events.iter().rev().nth(1);
        let has_outcome = before.is_some_and(|(name, stream)| {
            *stream == inference && ["inference.completed", "inference.failed", "inference.aborted"].contains(name)
        });
        must(has_outcome, || format!("the hold of {request} ends without an outcome before it"))?;
        let account = self.accounts.iter_mut().find(|account| account.request == request);
        let account = account.ok_or_else(|| format!("the end of {request}, which has no hold"))?;
        must(account.charged.is_none(), || format!("the hold of {request} ends twice"))?;
        must(account.held == held.nanos() && account.windows == windows, || format!("another hold of {request} ends"))?;
        (account.charged, account.was_swept) = (Some(charged), was_swept);
        for window in windows {
            let sums = self.window(window);
            sums.held -= held.nanos();
            sums.settled += charged;
        }
        if charged != 0 {
            self.settled_changed(windows);
        }
        Ok(())
    }

    fn must_be_due(&self, request: RequestId, now: DateTime<Utc>) -> Checked {
        let is_due = self.account(request).is_some_and(|account| account.expires_at <= now);
        must(is_due, || format!("the hold of {request} expires early"))
    }

    fn adjust(&mut self, request: RequestId, delta: i64, windows: &[BudgetWindow]) -> Checked {
        let account = self.accounts.iter_mut().find(|account| account.request == request && account.was_swept);
        let account = account.ok_or_else(|| format!("{request} is corrected, which did not expire"))?;
        must(account.windows == windows, || format!("a correction of {request} in other windows"))?;
        account.charged = account.charged.map(|charged| charged + delta);
        windows.iter().for_each(|window| self.window(window).settled += delta);
        if delta != 0 {
            self.settled_changed(windows);
        }
        Ok(())
    }

    /// A settled request gets the value of a price, once for each version.
    fn revalue(&mut self, request: RequestId, value: &CorrectedValue, delta: i64, windows: &[BudgetWindow]) -> Checked {
        let account = self.accounts.iter_mut().find(|account| account.request == request && account.was_settled);
        let account = account.ok_or_else(|| format!("a price corrects {request}, which was not settled"))?;
        must(account.windows == windows, || format!("a price corrects {request} in other windows"))?;
        must(account.revalued_by < value.version, || {
            format!("{request} was corrected by {}, and then by {}", account.revalued_by, value.version)
        })?;
        account.revalued_by = value.version;
        account.corrected += delta;
        let now = account.charged.unwrap_or(0) + account.corrected;
        must(delta != 0 && now == value.cost_usd.nanos(), || format!("{request} is corrected by {delta} to {now}"))?;
        windows.iter().for_each(|window| self.window(window).settled += delta);
        self.settled_changed(windows);
        Ok(())
    }

    fn window(&mut self, name: &BudgetWindow) -> &mut Window {
        let at = self.windows.iter().position(|window| window.name == *name).unwrap_or_else(|| {
            self.windows.push(Window { name: *name, settled: 0, held: 0 });
            self.windows.len() - 1
        });
        &mut self.windows[at]
    }

    /// Checks that the writer's balances equal those of the log. `latest` is the latest time that the writer may have read: it
    /// drops windows that ended long before.
    pub fn must_equal(&self, balances: &Balances, latest: DateTime<Utc>) -> Checked {
        let kept_since = self.last_at.max(latest) - TimeDelta::days(PAST_WINDOWS_KEPT_DAYS);
        for window in &self.windows {
            let is_past = window.held == 0 && window.name.window_start.is_some_and(|start| start < kept_since);
            if is_past && !balances.knows_window(&window.name) {
                continue;
            }
            let amounts = balances.amounts(&window.name);
            let (settled, held) = (amounts.settled.nanos(), amounts.held.nanos());
            must((settled, held) == (window.settled.into(), window.held.into()), || {
                let (id, charged, kept) = (window.name.budget_id, window.settled, window.held);
                format!("the ledger has {settled} charged and {held} held of {id}, the log {charged} and {kept}")
            })?;
            let announced: Vec<String> =
                balances.announced(&window.name).map(|fraction| fraction.to_string()).collect();
            must(announced == self.alerts.announced(&window.name), || {
                format!("the ledger has announced {announced:?} of {}", window.name.budget_id)
            })?;
        }
        let unknown = balances.windows().find(|(name, amounts)| {
            **amounts != Default::default() && !self.windows.iter().any(|window| window.name == **name)
        });
        must(unknown.is_none(), || format!("the ledger has amounts of {unknown:?}, the log none"))?;
        let open: Vec<_> = self.accounts.iter().filter(|account| account.charged.is_none()).collect();
        must(open.len() == balances.open_holds().count(), || {
            format!("the ledger has {} open holds, the log {}", balances.open_holds().count(), open.len())
        })?;
        let different = open.iter().find(|account| {
            let same = |hold: &events::ledger::Hold| {
                hold.held.nanos() == account.held && hold.expires_at == account.expires_at
            };
            !balances.open_hold(account.request).is_some_and(same)
        });
        must(different.is_none(), || "a hold of the ledger differs from that of the log".to_owned())
    }
}

impl Books {
    /// Checks the views against the log. Comparing two views is not enough: the same code could make the same error in both.
    pub fn must_equal_views(&self, views: &Path) -> Checked {
        let connection = Connection::open(views).map_err(|error| error.to_string())?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let requests = number("SELECT count(*) FROM rows_inferences WHERE hold_position IS NOT NULL")
            .map_err(|error| error.to_string())?;
        must(requests == i64::try_from(self.accounts.len()).expect("few"), || {
            format!("the views know of {requests} admitted requests, the log of {}", self.accounts.len())
        })?;
        for window in &self.windows {
            let start = window.name.window_start.map_or(0, |start| start.timestamp_micros());
            let key = (window.name.budget_id.to_string(), start);
            let viewed = connection
                .query_row(SELECT_WINDOW, key, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
                .map_err(|error| format!("the views' sums of {}: {error}", window.name.budget_id))?;
            must(viewed == (window.settled, window.held), || {
                format!(
                    "the views have {viewed:?} of {}, the log {} and {}",
                    window.name.budget_id, window.settled, window.held
                )
            })?;
        }
        Ok(())
    }
}

pub fn must(holds: bool, reason: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(reason()) }
}

fn binds(scope: &Scope, context: &Context) -> bool {
    match scope {
        Scope::Partner(id) => context.partner_id == Some(*id),
        Scope::Tenant(id) => context.tenant_id == Some(*id),
        Scope::User(id) => context.user_id == Some(*id),
        Scope::Key(id) => context.key_id == Some(*id),
        // No team is made in the simulation.
        Scope::Team(_) => false,
    }
}

/// The first day of the window as text.
fn first_day(period: Period, at: DateTime<Utc>) -> Option<String> {
    let day = at.date_naive();
    match period {
        Period::Total => None,
        Period::Day => Some(day.to_string()),
        Period::Week => Some((day - TimeDelta::days(i64::from(day.weekday().number_from_monday()) - 1)).to_string()),
        Period::Month => Some(format!("{:04}-{:02}-01", day.year(), day.month())),
    }
}
