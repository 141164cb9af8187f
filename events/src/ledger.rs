//! The ledger: balances, and the one pure function that decides about money. It runs inside the append transaction,
//! one step after the other in commit order; nothing here awaits, reads a clock, draws a random number or does I/O.

mod admit;
mod alerts;
mod end;
pub mod fold;
mod journal;
mod refusals;
mod refuse;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::admin::{Budget, Enforcement, Scope, WhenShort};
use crate::event::hold::BudgetWindow;
use crate::event::inference::{AttemptFailed, InferenceAdmitted, InferenceEnded};
use crate::event::{Chain, Change, Context, Event, Stream};
use crate::fraction::Fraction;
use crate::ids::{BudgetId, IdMap, IdSet, RequestId};
use crate::money::NanoUsd;
use crate::output_cap::{LoweredCap, Shrinking};
use crate::refusal::Refusal;
use crate::time::Period;

use journal::Before;
pub use refusals::RefusedRequest;
pub use refuse::RECORDED_REFUSALS_A_SECOND;
pub use sweep::UnknownUsage;

/// Windows that began within so many days are kept in memory: longer than any period.
pub const PAST_WINDOWS_KEPT_DAYS: i64 = 32;

/// A budget as its events left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetInForce {
    pub scope: Scope,
    pub limit: NanoUsd,
    pub period: Period,
    /// In ascending order.
    pub alert_at: Vec<Fraction>,
    pub when_short: WhenShort,
    pub enforcement: Enforcement,
    /// Log position of its last event.
    pub version: u64,
}

/// What one window of a budget has been charged, and what open holds keep of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub settled: NanoUsd,
    pub held: NanoUsd,
}

/// A hold that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub held: NanoUsd,
    pub windows: Vec<BudgetWindow>,
    pub admitted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Frontend name, for the outcome of a request whose process died.
    pub model: String,
    pub context: Context,
}

/// All that decisions about money are taken from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balances {
    budgets: IdMap<BudgetId, BudgetInForce>,
    by_scope: IdMap<Scope, Vec<BudgetId>>,
    windows: IdMap<BudgetWindow, Amounts>,
    /// Of windows in which anything was announced.
    announced: IdMap<BudgetWindow, BTreeSet<Fraction>>,
    open: IdMap<RequestId, Hold>,
    /// Without those that were put off.
    by_expiry: BTreeSet<(DateTime<Utc>, RequestId)>,
    put_off: sweep::PutOff,
    refusals: refusals::Refusals,
    changes: Changes,
    journal: journal::Journal,
    /// What the fold has read of a request whose hold comes next.
    admitted: Option<(RequestId, String)>,
}

/// What differs from the rows that were last written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub windows: IdSet<BudgetWindow>,
    /// Open, and not in the rows.
    pub opened: IdSet<RequestId>,
    /// In the rows, and not open any more.
    pub closed: IdSet<RequestId>,
}

/// A request that asks for its money.
#[derive(Clone, Debug)]
pub struct Admission {
    pub request_id: RequestId,
    /// Who asks; every budget of its partner, tenant, user and key binds.
    pub context: Context,
    /// Upper bound on the cost.
    pub held: NanoUsd,
    pub ttl: Duration,
    pub if_short: IfShort,
    /// As it will be recorded; the versions of budgets, and what they make of the request, are filled in by the decision.
    pub admitted: Box<InferenceAdmitted>,
}

/// What is done where a budget has not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfShort {
    Refuse,
    /// The cap is lowered, if the budgets want that; else it is refused.
    Shrink(Shrinking),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Completed(Box<InferenceEnded>),
    Failed(Box<InferenceEnded>),
    Aborted(Box<InferenceEnded>),
}

/// What becomes of the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    Settle(NanoUsd),
    Release { reason: String },
}

/// The end of an admitted request.
#[derive(Clone, Debug)]
pub struct Ending {
    pub request_id: RequestId,
    pub context: Context,
    /// Targets that failed on the way, in order.
    pub attempts: Vec<AttemptFailed>,
    pub outcome: Outcome,
    pub charge: Charge,
}

/// What was found in the log of a hold that had ended before its real figures came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedHold {
    pub windows: Vec<BudgetWindow>,
    pub charged: NanoUsd,
}

/// One thing to decide, and what can be decided of it.
pub trait Step {
    type Decision;

    /// Decides on these balances, at `now` (never earlier than at the step before).
    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> Self::Decision;
}

/// A request asks for its money.
#[derive(Debug)]
pub struct Admit<'a>(pub &'a Admission);

/// The same of a request for which a tighter bound can be found (ADR-0006). `None`: a budget has too little left, though
/// not nothing; nothing is to be recorded, and it is asked for again with the tighter bound. No cap is lowered for it.
#[derive(Debug)]
pub struct AdmitUnlessShort<'a>(pub &'a Admission);

/// A request has ended.
#[derive(Debug)]
pub struct End<'a>(pub &'a Ending);

/// The end of a request whose hold expired: its windows must have been loaded.
#[derive(Debug)]
pub struct EndLate<'a>(pub &'a Ending, pub &'a EndedHold);

/// A request is turned away.
#[derive(Debug)]
pub struct Refuse<'a>(pub &'a RefusedRequest);

/// The same refusal again, after [`RefuseDecision::NextSecond`], in a later second.
#[derive(Debug)]
pub struct RefuseWaiting<'a>(pub &'a RefusedRequest);

/// Ends what has expired and writes out refusals of seconds gone by; at most that many holds.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    pub policy: UnknownUsage,
    pub holds_max: usize,
}

/// What happens to a budget itself is taken in, at the position that it gets.
#[derive(Debug)]
pub struct FoldBudget<'a> {
    pub change: &'a Change<Budget>,
    pub position: u64,
}

/// An event that a decision brings forth; the writer gives it its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    pub stream: Stream,
    pub context: Context,
    pub event: Event,
}

// What was decided. The events are to be recorded in their order, all or none.

#[derive(Clone, Debug, PartialEq)]
pub enum AdmitDecision {
    /// The hold stands: `inference.admitted`, then `budget.reserved`.
    Admitted {
        held: NanoUsd,
        /// The output cap, where there was not enough for the one that was requested.
        lowered_cap: Option<LoweredCap>,
        expires_at: DateTime<Utc>,
        events: Vec<Emitted>,
    },
    /// The same request was admitted before.
    AlreadyAdmitted,
    /// No money.
    Refused(RefuseDecision),
    Overflow(Overflow),
}

#[derive(Clone, Debug, PartialEq)]
pub enum RefuseDecision {
    Now(DecidedRefusal),
    /// Too many refusals in this second: it is to be put again in the next one.
    NextSecond(DecidedRefusal),
}

/// The refusal's own event is not among them when it was rolled up.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedRefusal {
    pub refusal: Refusal,
    pub events: Vec<Emitted>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EndDecision {
    Ended(DecidedEnd),
    /// There is no open hold of that request.
    NoOpenHold,
    Overflow(Overflow),
}

/// The last event ends the hold, or puts right what was charged when it expired; what that announces follows.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedEnd {
    pub events: Vec<Emitted>,
    pub alerts: Vec<Emitted>,
}

/// What came due; empty when nothing did. Holds that came due and whose charge cannot be counted stay open, and are tried
/// again later.
#[derive(Clone, Debug, PartialEq)]
pub struct Swept {
    pub events: Vec<Emitted>,
    pub uncountable: Vec<RequestId>,
}

/// Amounts beyond what money can count: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount that cannot be counted")]
pub struct Overflow;

/// Decides one step on these balances, at `now` (never earlier than at the step before).
pub fn decide<S: Step>(balances: &mut Balances, step: &S, now: DateTime<Utc>) -> S::Decision {
    step.decide(balances, now)
}

impl Step for Admit<'_> {
    type Decision = AdmitDecision;

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> AdmitDecision {
        balances.admit(self.0, now)
    }
}

impl Step for AdmitUnlessShort<'_> {
    type Decision = Option<AdmitDecision>;

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> Option<AdmitDecision> {
        balances.admit_unless_short(self.0, now)
    }
}

impl Step for End<'_> {
    type Decision = EndDecision;

    fn decide(&self, balances: &mut Balances, _now: DateTime<Utc>) -> EndDecision {
        balances.end(self.0)
    }
}

impl Step for EndLate<'_> {
    type Decision = Result<DecidedEnd, Overflow>;

    fn decide(&self, balances: &mut Balances, _now: DateTime<Utc>) -> Self::Decision {
        balances.end_late(self.0, self.1)
    }
}

impl Step for Refuse<'_> {
    type Decision = RefuseDecision;

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> RefuseDecision {
        balances.refuse(self.0, now)
    }
}

impl Step for RefuseWaiting<'_> {
    type Decision = DecidedRefusal;

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> DecidedRefusal {
        balances.refuse_waiting(self.0, now)
    }
}

impl Step for Sweep {
    type Decision = Swept;

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) -> Swept {
        balances.sweep(self.policy, self.holds_max, now)
    }
}

impl Step for FoldBudget<'_> {
    type Decision = ();

    fn decide(&self, balances: &mut Balances, now: DateTime<Utc>) {
        balances.fold_budget(self.change, self.position, now);
    }
}

/// A row of the table of open holds, as JSON in one column: what the hold itself needs beyond its events.
#[derive(Serialize, Deserialize)]
struct StoredHold {
    windows: Vec<BudgetWindow>,
    #[serde(with = "crate::time::wire")]
    admitted_at: DateTime<Utc>,
    model: String,
    context: Context,
}

impl Hold {
    /// For the side table: everything but the amount and the deadline, which have columns of their own.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&StoredHold {
            windows: self.windows.clone(),
            admitted_at: self.admitted_at,
            model: self.model.clone(),
            context: self.context.clone(),
        })
    }

    pub fn from_json(held: NanoUsd, expires_at: DateTime<Utc>, json: &str) -> Result<Self, serde_json::Error> {
        let StoredHold { windows, admitted_at, model, context } = serde_json::from_str(json)?;
        Ok(Self { held, windows, admitted_at, expires_at, model, context })
    }
}

impl Balances {
    /// Puts a stored window back; for loading.
    pub fn restore_window(&mut self, window: BudgetWindow, amounts: Amounts) {
        self.windows.insert(window, amounts);
    }

    /// Puts a stored window back that may have been forgotten; one that is in memory is newer than its row.
    pub fn restore_forgotten(&mut self, window: BudgetWindow, amounts: Amounts, announced: BTreeSet<Fraction>) {
        if !self.knows_window(&window) {
            self.restore_window(window, amounts);
            self.restore_announced(window, announced);
        }
    }

    /// Puts a stored hold back without touching amounts, which were stored with it; for loading.
    pub fn restore_hold(&mut self, request: RequestId, hold: Hold) {
        self.by_expiry.insert((hold.expires_at, request));
        self.open.insert(request, hold);
    }

    /// What has to be written for the rows to be as these balances.
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The rows are as these balances.
    pub fn rows_are_written(&mut self) {
        self.changes = Changes::default();
    }

    pub fn budget(&self, id: BudgetId) -> Option<&BudgetInForce> {
        self.budgets.get(&id)
    }

    /// Every budget that is open.
    pub fn budgets(&self) -> impl Iterator<Item = (BudgetId, &BudgetInForce)> {
        self.budgets.iter().map(|(id, budget)| (*id, budget))
    }

    pub fn amounts(&self, window: &BudgetWindow) -> Amounts {
        self.windows.get(window).copied().unwrap_or_default()
    }

    /// Every window that is in memory, in no order.
    pub fn windows(&self) -> impl Iterator<Item = (&BudgetWindow, &Amounts)> {
        self.windows.iter()
    }

    pub fn knows_window(&self, window: &BudgetWindow) -> bool {
        self.windows.contains_key(window)
    }

    pub fn open_hold(&self, request: RequestId) -> Option<&Hold> {
        self.open.get(&request)
    }

    pub fn open_holds(&self) -> impl ExactSizeIterator<Item = (&RequestId, &Hold)> {
        self.open.iter()
    }

    /// Open holds that have expired and whose charge could not be counted.
    pub fn uncountable_holds(&self) -> usize {
        self.put_off.len()
    }

    /// When the open hold was admitted that expires first, of those that can be counted.
    pub fn oldest_hold(&self) -> Option<DateTime<Utc>> {
        let (_, request) = self.by_expiry.first()?;
        self.open.get(request).map(|hold| hold.admitted_at)
    }

    /// Whether a sweep at `now` would find anything to do.
    pub fn is_sweep_due(&self, now: DateTime<Utc>) -> bool {
        self.by_expiry.first().is_some_and(|(expires_at, _)| *expires_at <= now)
            || self.put_off.is_due(now)
            || self.refusals.is_due(now)
    }

    /// Forgets windows that began long ago and hold nothing: they stand in their table, and are loaded when a late
    /// correction asks for them. No window is longer than what is kept, whatever period its budget changes to. What is
    /// still to be written is kept until it is: its row would say zero.
    pub fn forget_past_windows(&mut self, now: DateTime<Utc>) {
        let oldest = now - chrono::TimeDelta::days(PAST_WINDOWS_KEPT_DAYS);
        self.windows.retain(|window, amounts| {
            amounts.held != NanoUsd::ZERO
                || window.window_start.is_none_or(|start| start >= oldest)
                || self.changes.windows.contains(window)
        });
        self.announced.retain(|window, _| self.windows.contains_key(window));
    }

    /// The windows that a request of this chain counts in, at `now`.
    pub fn windows_that_bind(&self, chain: &Chain, now: DateTime<Utc>) -> Vec<BudgetWindow> {
        self.windows_of(chain, now).into_iter().map(|(window, _)| window).collect()
    }

    /// Budgets that bind a request, in a fixed order, each with its window at `now`.
    fn windows_of(&self, chain: &Chain, now: DateTime<Utc>) -> Vec<(BudgetWindow, &BudgetInForce)> {
        let scopes = [
            chain.partner.map(Scope::Partner),
            chain.tenant.map(Scope::Tenant),
            chain.user.map(Scope::User),
            chain.key.map(Scope::Key),
        ];
        let ids = scopes.into_iter().flatten().filter_map(|scope| self.by_scope.get(&scope)).flatten();
        ids.filter_map(|id| {
            let budget = self.budgets.get(id)?;
            let window = BudgetWindow { budget_id: *id, window_start: budget.period.window_start(now) };
            Some((window, budget))
        })
        .collect()
    }

    /// Adds to the window's amounts, or changes nothing where that cannot be counted.
    fn moved(&self, window: &BudgetWindow, settled: NanoUsd, held: NanoUsd) -> Option<Amounts> {
        let before = self.amounts(window);
        Some(Amounts { settled: before.settled.checked_add(settled)?, held: before.held.checked_add(held)? })
    }

    /// Moves every window by the same amounts, all or none. `None` on overflow.
    fn move_all(&mut self, windows: &[BudgetWindow], settled: NanoUsd, held: NanoUsd) -> Option<()> {
        let after: Option<Vec<_>> = windows.iter().map(|window| self.moved(window, settled, held)).collect();
        for (window, amounts) in windows.iter().zip(after?) {
            let amounts = self.windows.insert(*window, amounts);
            self.journal.note(|| Before::Window { window: *window, amounts });
            self.window_differs(*window);
        }
        Some(())
    }

    /// From its row.
    fn window_differs(&mut self, window: BudgetWindow) {
        if self.changes.windows.insert(window) {
            self.journal.note(|| Before::WindowWritten(window));
        }
    }

    fn open(&mut self, request: RequestId, hold: Hold) {
        self.by_expiry.insert((hold.expires_at, request));
        self.changes.opened.insert(request);
        self.open.insert(request, hold);
        self.journal.note(|| Before::NotHeld(request));
    }

    fn close(&mut self, request: RequestId) {
        if let Some(hold) = self.open.remove(&request) {
            self.by_expiry.remove(&(hold.expires_at, request));
            let put_off_until = self.put_off.remove(request);
            // A hold that began and ended between two writings never is in the rows.
            let is_in_rows = !self.changes.opened.remove(&request);
            if is_in_rows {
                self.changes.closed.insert(request);
            }
            self.journal.note(|| Before::Held { request, hold, put_off_until, is_in_rows });
        }
    }
}

/// Versions of the budgets that bound a request, as they are recorded with it.
fn budget_versions(windows: &[(BudgetWindow, &BudgetInForce)]) -> BTreeMap<BudgetId, u64> {
    windows.iter().map(|(window, budget)| (window.budget_id, budget.version)).collect()
}
