//! The ledger: balances, and the decisions about money, which are pure functions of them.
//!
//! It guarantees that a request gets a hold on every budget that binds it or on none, that no hold takes a hard budget above
//! its limit, and that a hold ends once. It runs in the log's writer, one step after the other in commit order, so that no
//! two decisions can spend the same money. Locks per budget would not do: several budgets bind one request, and the events
//! need one order anyway.
//!
//! Nothing here awaits, reads a clock, draws a random number or does I/O: time is an argument, which is never earlier than at
//! the decision before, and a decision is a list of events. Balances are therefore the fold of the log and nothing else, and
//! `verify` can compute them again. The changes of a batch are kept in a journal and undone if the batch is not committed, so
//! that a batch costs what it changes and not what there is.
//!
//! The ledger deliberately does not know prices, tokens or providers: a request brings its upper bound, and an end its cost.
//! A charge above the hold is recorded as an overrun and not refused, because the provider has done the work.

mod admit;
mod alerts;
mod brokered;
mod end;
pub mod fold;
mod hold_share;
mod journal;
mod refusals;
mod refuse;
mod revalue;
mod sweep;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::event::admin::{Budget, Scope};
use crate::event::hold::BudgetWindow;
use crate::event::inference::{AttemptFailed, InferenceAdmitted, InferenceEnded};
use crate::event::{Context, Event, ScopeSubject, Stream};
use crate::fraction::Fraction;
use crate::ids::{BudgetId, IdMap, IdSet, RequestId};
use crate::money::{NanoUsd, NanoUsdSum};
use crate::output_cap::{LoweredCap, Shrinking};
use crate::refusal::Refusal;
use crate::scope_index::{ScopeIndex, binding_of};

pub use admit::BudgetRoom;
use brokered::Moved;
pub use brokered::{BrokeredBound, BrokeredCharge, BrokeredHold};
pub use hold_share::{AdmissionBounds, HoldShare, Holder, SharedScopes, SummedWindows};
use journal::Undo;
pub use refusals::RefusedRequest;
pub use refuse::RECORDED_REFUSALS_A_SECOND;
pub use revalue::Revaluation;
pub use sweep::UnknownUsage;

/// The most budgets that may bind one request: its events name each of them with its figures, and stay below what NATS takes.
pub const BINDING_BUDGETS_MAX: usize = 64;

/// Windows that began within this many days stay in memory: longer than any period.
pub const PAST_WINDOWS_KEPT_DAYS: i64 = 32;

/// A budget in force, as its events left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetInForce {
    pub budget: Budget,
    /// The log position of its last event.
    pub version: u64,
}

/// A budget that binds a request, with its window.
type Binding<'a> = (BudgetWindow, &'a BudgetInForce);

/// The amounts of one window of a budget: charged, and held by open holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub settled: NanoUsdSum,
    pub held: NanoUsdSum,
}

impl Amounts {
    /// The amount that cannot be held for other requests.
    pub fn used(self) -> NanoUsdSum {
        self.settled + self.held
    }

    fn moved(self, settled: NanoUsdSum, held: NanoUsdSum) -> Self {
        Self { settled: self.settled + settled, held: self.held + held }
    }
}

/// A hold that has not ended. In its row of the side table, the amount and the expiry have columns of their own; the rest is
/// JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    #[serde(skip)]
    pub held: NanoUsd,
    pub windows: Vec<BudgetWindow>,
    /// The part held of budgets above its tenant, if that is another amount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokered: Option<Box<BrokeredHold>>,
    #[serde(with = "crate::time::wire")]
    pub admitted_at: DateTime<Utc>,
    #[serde(skip)]
    pub expires_at: DateTime<Utc>,
    /// The frontend name, for the outcome of a request whose process died.
    pub model: String,
    pub context: Context,
    /// Not stored: found whenever the hold is opened or restored.
    #[serde(skip)]
    pub summed: SummedWindows,
}

/// The state from which all decisions about money follow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Balances {
    budgets: IdMap<BudgetId, BudgetInForce>,
    by_scope: ScopeIndex<BudgetId>,
    windows: IdMap<BudgetWindow, Amounts>,
    /// The fractions announced per window; a window without any has no entry.
    announced: IdMap<BudgetWindow, BTreeSet<Fraction>>,
    open: IdMap<RequestId, Hold>,
    /// The amounts of open holds by the party that holds, where it matters: see [`SummedWindows`]. Zero has no entry. It follows from
    /// `open`.
    held_by: IdMap<(Holder, BudgetWindow), NanoUsdSum>,
    /// Open holds by expiry.
    by_expiry: BTreeSet<(DateTime<Utc>, RequestId)>,
    refusals: refusals::Refusals,
    changes: Changes,
    journal: journal::Journal,
    /// The request and model of an admission that the fold has read and whose hold comes next.
    admitted: Option<(RequestId, String)>,
}

/// The differences from the rows that were last written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub windows: IdSet<BudgetWindow>,
    /// Open holds that are not in the rows.
    pub opened: IdSet<RequestId>,
    /// Holds in the rows that are no longer open.
    pub closed: IdSet<RequestId>,
}

/// A request for admission.
#[derive(Clone, Debug)]
pub struct Admission {
    pub request_id: RequestId,
    /// The requester; every budget of its partner, tenant, teams, user and key binds the request, if its scope
    /// includes the model and the metadata of `admitted`.
    pub context: Context,
    /// The log position of the rights, prices and routes that it was planned on. It is not decided on if any of these may have
    /// changed since.
    pub planned_at: u64,
    /// The upper bound on the cost.
    pub held: NanoUsd,
    /// `None` if no target is one of its tenant's own providers.
    pub brokered: Option<BrokeredBound>,
    pub ttl: Duration,
    pub if_short: IfShort,
    pub bounds: AdmissionBounds,
    /// The event to record; the decision fills in the budgets' versions, a lowered cap with the shares that lowered it, and observed
    /// shortfalls.
    pub admitted: Box<InferenceAdmitted>,
}

/// How to proceed if a budget has not enough left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfShort {
    /// Record nothing if it has some money left, since a tighter bound may fit (ADR-0006); otherwise refuse.
    AskAgain,
    /// Lower the cap if the budgets allow that, otherwise refuse.
    Shrink(Shrinking),
    /// Refuse: the request has no output, and so no cap to lower.
    Refuse,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Completed(Box<InferenceEnded>),
    Failed(Box<InferenceEnded>),
    Aborted(Box<InferenceEnded>),
}

/// How the hold ends with its request.
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
    /// The calls that failed on the way, in order.
    pub attempts: Vec<AttemptFailed>,
    pub outcome: Outcome,
    pub charge: Charge,
    /// The part of the charge that its tenant's own providers cost, which does not count above the tenant.
    pub own: NanoUsd,
}

/// A hold that was charged and may have to be corrected, as read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedHold {
    pub windows: Vec<BudgetWindow>,
    pub charged: NanoUsd,
    /// The part charged above its tenant, if that is another amount.
    pub brokered: Option<BrokeredCharge>,
}

/// An event emitted by a decision; the writer gives it its position.
#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    pub stream: Stream,
    pub context: Context,
    pub event: Event,
}

// Decisions. Their events must be recorded in order, all or none.

#[derive(Clone, Debug, PartialEq)]
pub enum AdmitDecision {
    /// The hold stands: `inference.admitted`, then `budget.reserved`.
    Admitted {
        held: NanoUsd,
        /// The amount held above the tenant; `None` if that is no other amount.
        brokered_held: Option<NanoUsd>,
        /// The lower output cap, if there was not enough money for the requested one.
        lowered_cap: Option<LoweredCap>,
        expires_at: DateTime<Utc>,
        events: Vec<Emitted>,
    },
    /// The same request was admitted before.
    AlreadyAdmitted,
    /// A budget has some money left, but too little: see [`IfShort::AskAgain`].
    Short,
    /// A budget has not enough left.
    Refused(RefuseDecision),
}

#[derive(Clone, Debug, PartialEq)]
pub enum RefuseDecision {
    Now(DecidedRefusal),
    /// Too many refusals in this second: the step must be repeated in the next one.
    NextSecond(DecidedRefusal),
}

/// A refusal, with the events to record. Its own event is not among them if it was rolled up.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedRefusal {
    pub refusal: Refusal,
    pub events: Vec<Emitted>,
}

/// The end of a request. The last of `events` ends the hold, or corrects what was charged when it expired; `alerts` follow.
#[derive(Clone, Debug, PartialEq)]
pub struct DecidedEnd {
    pub events: Vec<Emitted>,
    pub alerts: Vec<Emitted>,
}

/// The error for amounts beyond what money can count; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is too large to be counted")]
pub struct Overflow;

impl Balances {
    /// Restores a stored window with the fractions announced for it, unless it is in memory: there it is newer than its row.
    pub fn restore_window(&mut self, window: BudgetWindow, amounts: Amounts, announced: BTreeSet<Fraction>) {
        if self.knows_window(&window) {
            return;
        }
        self.windows.insert(window, amounts);
        if !announced.is_empty() {
            self.announced.insert(window, announced);
        }
    }

    /// Restores a stored hold, when loading, after the budgets. Amounts stay as they are: they were stored with it.
    pub fn restore_hold(&mut self, request: RequestId, mut hold: Hold) {
        hold.summed = self.summed_windows(&hold);
        self.count_opened(&hold);
        self.by_expiry.insert((hold.expires_at, request));
        self.open.insert(request, hold);
    }

    /// The changes to write to make the rows equal these balances.
    pub const fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The changes were written: the rows equal these balances.
    pub fn rows_are_written(&mut self) {
        self.changes = Changes::default();
    }

    pub fn budget(&self, id: BudgetId) -> Option<&BudgetInForce> {
        self.budgets.get(&id)
    }

    /// All open budgets.
    pub fn budgets(&self) -> impl Iterator<Item = (BudgetId, &BudgetInForce)> {
        self.budgets.iter().map(|(id, budget)| (*id, budget))
    }

    pub fn amounts(&self, window: &BudgetWindow) -> Amounts {
        self.windows.get(window).copied().unwrap_or_default()
    }

    /// All windows in memory, in no particular order.
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

    /// When the request was admitted whose open hold expires first.
    pub fn oldest_hold(&self) -> Option<DateTime<Utc>> {
        let (_, request) = self.by_expiry.first()?;
        self.open.get(request).map(|hold| hold.admitted_at)
    }

    /// True if a sweep at `now` would find anything to do.
    pub fn is_sweep_due(&self, now: DateTime<Utc>) -> bool {
        self.by_expiry.first().is_some_and(|(expires_at, _)| *expires_at <= now) || self.refusals.is_due(now)
    }

    /// Forgets windows that began long ago and hold nothing: they are in their table, and are loaded for a late correction.
    /// No window is longer than the time kept, whatever period its budget changes to. A window that is not written yet is
    /// kept until it is, since its row is out of date.
    pub fn forget_past_windows(&mut self, now: DateTime<Utc>) {
        let oldest = now - chrono::TimeDelta::days(PAST_WINDOWS_KEPT_DAYS);
        self.windows.retain(|window, amounts| {
            amounts.held != NanoUsdSum::ZERO
                || window.window_start.is_none_or(|start| start >= oldest)
                || self.changes.windows.contains(window)
        });
        self.announced.retain(|window, _| self.windows.contains_key(window));
    }

    /// The windows in which a request counts at `now`.
    pub fn windows_that_bind(&self, request: &ScopeSubject<'_>, now: DateTime<Utc>) -> Vec<BudgetWindow> {
        self.windows_of(request, now).into_iter().map(|(window, _)| window).collect()
    }

    /// The budgets that bind a request, in a fixed order, each with its window at `now`.
    fn windows_of(&self, request: &ScopeSubject<'_>, now: DateTime<Utc>) -> Vec<Binding<'_>> {
        self.windows_within(usize::MAX, request, now).unwrap_or_default()
    }

    /// The same; `None` if more than so many bind it, or too many would have to be looked at.
    fn windows_within<'a>(
        &'a self,
        budgets_max: usize,
        request: &ScopeSubject<'_>,
        now: DateTime<Utc>,
    ) -> Option<Vec<Binding<'a>>> {
        let of = |owner| self.by_scope.whole(owner).chain(self.by_scope.narrowed(owner, request));
        let in_force = Scope::all_of(&request.chain, request.teams)
            .flat_map(of)
            .filter_map(|id| Some((id, self.budgets.get(&id)?)));
        let binding = |(budget_id, in_force): (BudgetId, &'a BudgetInForce)| {
            let Budget { scope, period, .. } = &in_force.budget;
            scope
                .includes(request)
                .then(|| (BudgetWindow { budget_id, window_start: period.window_start(now) }, in_force))
        };
        binding_of(in_force, binding, budgets_max, budgets_max)
    }

    /// Moves every window by the same amounts.
    fn move_all(&mut self, windows: &[BudgetWindow], settled: NanoUsdSum, held: NanoUsdSum) {
        for window in windows {
            let before = match self.windows.get_mut(window) {
                Some(amounts) => {
                    let before = *amounts;
                    *amounts = before.moved(settled, held);
                    Some(before)
                }
                None => self.windows.insert(*window, Amounts::default().moved(settled, held)),
            };
            self.journal.note(|| Undo::Window { window: *window, amounts: before });
            self.mark_changed(*window);
        }
    }

    /// Moves the windows of a hold at its beginning.
    fn move_opened(&mut self, hold: &Hold) {
        for (held, windows) in hold.parts() {
            self.move_all(windows, NanoUsdSum::ZERO, held);
        }
    }

    /// Moves the windows of a hold at its end, or at a correction of it.
    fn move_each<'a>(&mut self, moves: impl Iterator<Item = Moved<'a>>) {
        for Moved { windows, settled, released } in moves {
            self.move_all(windows, settled.into(), NanoUsdSum::ZERO - released.into());
        }
    }

    /// Notes that the window differs from its row.
    fn mark_changed(&mut self, window: BudgetWindow) {
        if self.changes.windows.insert(window) {
            self.journal.note(|| Undo::WindowWritten(window));
        }
    }

    fn open(&mut self, request: RequestId, mut hold: Hold) {
        hold.summed = self.summed_windows(&hold);
        self.count_opened(&hold);
        self.by_expiry.insert((hold.expires_at, request));
        self.changes.opened.insert(request);
        self.open.insert(request, hold);
        self.journal.note(|| Undo::NotHeld(request));
    }

    fn close(&mut self, request: RequestId) {
        if let Some(hold) = self.take_open(request) {
            self.note_closed(request, hold);
        }
    }

    /// Takes out an open hold, for [`Self::note_closed`].
    fn take_open(&mut self, request: RequestId) -> Option<Hold> {
        let hold = self.open.remove(&request)?;
        self.count_closed(&hold);
        self.by_expiry.remove(&(hold.expires_at, request));
        Some(hold)
    }

    /// Notes that a hold was taken out.
    fn note_closed(&mut self, request: RequestId, hold: Hold) {
        // A hold that begins and ends between two writes is never in the rows.
        let is_in_rows = !self.changes.opened.remove(&request);
        if is_in_rows {
            self.changes.closed.insert(request);
        }
        self.journal.note(|| Undo::Held { request, hold, is_in_rows });
    }
}
