//! The amounts of budgets before a request: the sums of the events that moved money in their windows.
//!
//! A window has no movement before it begins, and none before its budget was opened, so that reading can begin there. The log
//! finds the events of a tenant or a partner without reading the others.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::{Budget, Scope};
use events::event::hold::{BudgetWindow, Movement};
use events::event::{Change, Context, Event, Hold, Recorded, Resource};
use events::ids::BudgetId;
use events::ledger::{Amounts, Balances, Holder};
use events::money::NanoUsdSum;

use super::evidence::Evidence;
use crate::owners::Owner;
use crate::{EventFilter, LogError, PAGE_EVENTS, READ_POSITIONS_MAX, Reader};

/// How long a decision may wait before it is recorded: refusals of one key wait for the next second, and jobs for the writer.
const RECORDING_WAIT_MAX: TimeDelta = TimeDelta::seconds(12);
/// The movements of an owner's budgets between which a refusal may have been decided.
const RECENT_MAX: usize = 200;

/// When a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecidedAt {
    /// At the position at which it is recorded.
    Recording,
    /// Then, or a little before.
    OrBefore,
}

/// The money in the windows of the budgets that bind a request.
pub(super) struct Spending<'a> {
    /// The context of the request.
    context: Context,
    /// The changes of these budgets, in order.
    changes: &'a [Recorded],
    amounts: HashMap<BudgetWindow, Amounts>,
    /// The part of them that the key and the tenant of the request hold.
    held_by: HashMap<(Holder, BudgetWindow), NanoUsdSum>,
    /// The last movements, which are not in the amounts: of a decision that may have been made before some of them.
    recent: Vec<WindowMovement>,
    /// Some of the last movements are too many to be looked at one by one.
    has_forgotten: bool,
    /// The last position of the movements that are in the amounts.
    counted_until: u64,
    /// Positions that are examined at most for the budgets of one owner.
    positions_max: u64,
    /// The budgets whose events would be too many to read.
    unread: HashSet<BudgetId>,
}

/// The movement of one event in the windows of an owner's budgets.
struct WindowMovement {
    position: u64,
    recorded_at: DateTime<Utc>,
    windows: Vec<BudgetWindow>,
    by: Amounts,
    /// Those parties of the request whose hold it is.
    holders: Vec<Holder>,
}

impl WindowMovement {
    /// The movements of money of these budgets by an event. `request` is the context of the request.
    fn all_of(recorded: &Recorded, budgets: &BTreeSet<BudgetId>, request: &Context) -> Vec<Self> {
        let Event::Hold(hold) = &recorded.event else { return Vec::new() };
        let moved = |Movement { windows, settled, held, released }: Movement<'_>| {
            let of_budgets = windows.iter().filter(|window| budgets.contains(&window.budget_id));
            let windows: Vec<BudgetWindow> = of_budgets.copied().collect();
            let by = Amounts { settled: settled.into(), held: NanoUsdSum::from(held) - released.into() };
            let (position, recorded_at) = (recorded.position, recorded.recorded_at);
            let is_of_request = |holder: &Holder| Holder::all_of(request).any(|of_request| of_request == *holder);
            let holders = Holder::all_of(&recorded.context).filter(is_of_request).collect();
            (!windows.is_empty()).then_some(Self { position, recorded_at, windows, by, holders })
        };
        hold.movements().filter_map(moved).collect()
    }

    /// The sums of holders that it moves.
    fn holdings(&self) -> impl Iterator<Item = (Holder, BudgetWindow)> {
        self.holders.iter().flat_map(move |holder| self.windows.iter().map(move |window| (*holder, *window)))
    }
}

/// A moment at which a decision may have been made: after all events before this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub before: u64,
    pub at: DateTime<Utc>,
}

/// The position after which an owner's events have all movements of these budgets.
struct OwnersScan {
    after: u64,
    budgets: BTreeSet<BudgetId>,
}

impl<'a> Spending<'a> {
    pub(super) fn read(
        reader: &dyn Reader,
        evidence: &'a Evidence,
        recorded: &Recorded,
        decided: DecidedAt,
    ) -> Result<Self, LogError> {
        let mut spending = Self {
            context: recorded.context.clone(),
            changes: &evidence.budgets,
            amounts: HashMap::new(),
            held_by: HashMap::new(),
            recent: Vec::new(),
            has_forgotten: false,
            counted_until: 0,
            positions_max: evidence.bounds.positions,
            unread: HashSet::new(),
        };
        let since = match decided {
            DecidedAt::Recording => None,
            DecidedAt::OrBefore => recorded.recorded_at.checked_sub_signed(RECORDING_WAIT_MAX),
        };
        let now = Moment { before: recorded.position, at: recorded.recorded_at };
        for (of, OwnersScan { after, budgets }) in spending.scans(now, since, evidence.acts_elsewhere, reader)? {
            spending.scan(reader, of, after, &budgets, now.before, since)?;
        }
        spending.recent.sort_by_key(|movement| movement.position);
        Ok(spending)
    }

    /// Whose events to read, or everybody's.
    fn scans(
        &self,
        now: Moment,
        since: Option<DateTime<Utc>>,
        acts_elsewhere: bool,
        reader: &dyn Reader,
    ) -> Result<HashMap<Option<Owner>, OwnersScan>, LogError> {
        let mut scans: HashMap<Option<Owner>, OwnersScan> = HashMap::new();
        for budget in self.budgets_before(now.before, since) {
            let of = match (budget.scope.owner, self.context.tenant_id) {
                (Scope::Partner(partner), _) => Some(Owner::Partner(partner)),
                (Scope::Tenant(tenant), _) => Some(Owner::Tenant(tenant)),
                // Only requests in its own tenant count for a team.
                (Scope::Team(_), Some(tenant)) => Some(Owner::Tenant(tenant)),
                (Scope::User(_) | Scope::Key(_), Some(tenant)) if !acts_elsewhere => Some(Owner::Tenant(tenant)),
                (Scope::Team(_) | Scope::User(_) | Scope::Key(_), _) => None,
            };
            let opened = self.changes.iter().find(|change| is_of(change, budget.budget_id));
            let opened = opened.map_or(0, |change| change.position);
            let began = match budget.period.window_start(since.unwrap_or(now.at)) {
                Some(start) => reader.first_since(start)?.saturating_sub(1),
                None => 0,
            };
            let after = opened.max(began);
            let scan = scans.entry(of).or_insert_with(|| OwnersScan { after, budgets: BTreeSet::new() });
            scan.after = scan.after.min(after);
            scan.budgets.insert(budget.budget_id);
        }
        Ok(scans)
    }

    fn scan(
        &mut self,
        reader: &dyn Reader,
        of: Option<Owner>,
        mut after: u64,
        budgets: &BTreeSet<BudgetId>,
        before: u64,
        since: Option<DateTime<Utc>>,
    ) -> Result<(), LogError> {
        let (partner, tenant) = match of {
            Some(Owner::Partner(partner)) => (Some(partner), None),
            Some(Owner::Tenant(tenant)) => (None, Some(tenant)),
            None => (None, None),
        };
        let types = Hold::TYPES.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
        let filter = EventFilter { types: Some(types), partner, tenant, ..EventFilter::default() };
        let (mut examined, mut recent) = (0, VecDeque::new());
        while after + 1 < before {
            if examined >= self.positions_max {
                self.unread.extend(budgets);
                return Ok(());
            }
            reader.check_interrupt()?;
            let part = reader.filtered(&filter, after, PAGE_EVENTS)?;
            let has_more = part.has_more();
            examined += part.until.saturating_sub(after).clamp(1, READ_POSITIONS_MAX);
            after = part.until;
            for recorded in part.events.iter().take_while(|recorded| recorded.position < before) {
                let movements = WindowMovement::all_of(recorded, budgets, &self.context);
                match since {
                    Some(since) if recorded.recorded_at >= since => recent.extend(movements),
                    _ => movements.into_iter().for_each(|movement| self.count(movement)),
                }
                if recent.len() > RECENT_MAX {
                    recent.pop_front().into_iter().for_each(|movement| self.count(movement));
                    self.has_forgotten = true;
                }
            }
            if !has_more {
                break;
            }
        }
        self.recent.extend(recent);
        Ok(())
    }

    fn count(&mut self, movement: WindowMovement) {
        self.counted_until = self.counted_until.max(movement.position);
        movement.windows.iter().for_each(|window| add(&mut self.amounts, *window, movement.by));
        for (holder, window) in movement.holdings() {
            let held = self.held_by.entry((holder, window)).or_default();
            *held = *held + movement.by.held;
        }
    }

    /// The moments at which the decision may have been made, the last one first: each ends with a movement or a change of a
    /// budget.
    pub(super) fn moments(&self, recorded: &Recorded) -> Vec<Moment> {
        let since = recorded.recorded_at.checked_sub_signed(RECORDING_WAIT_MAX);
        let changes = self.changes.iter().filter(|change| {
            change.position < recorded.position && since.is_some_and(|since| change.recorded_at >= since)
        });
        let changes = changes.map(|change| Moment { before: change.position, at: change.recorded_at });
        let movements =
            self.recent.iter().map(|movement| Moment { before: movement.position, at: movement.recorded_at });
        let mut moments: Vec<Moment> =
            changes.chain(movements).filter(|moment| moment.before > self.counted_until).collect();
        moments.push(Moment { before: recorded.position, at: recorded.recorded_at });
        moments.sort_by_key(|moment| std::cmp::Reverse(moment.before));
        moments
    }

    /// Whether the decision may have been made at a moment that is none of [`moments`](Self::moments): before one of too many movements,
    /// or in the window before the one in which it was recorded.
    pub(super) fn may_have_been_earlier(&self, recorded: &Recorded) -> bool {
        let Some(since) = recorded.recorded_at.checked_sub_signed(RECORDING_WAIT_MAX) else { return true };
        let begins_lately =
            |budget: &Budget| budget.period.window_start(recorded.recorded_at).is_some_and(|start| start > since);
        self.has_forgotten || self.budgets_before(recorded.position, Some(since)).any(begins_lately)
    }

    /// The balances of these budgets after all events before the moment.
    pub(super) fn balances(&self, moment: Moment) -> Balances {
        let mut balances = Balances::default();
        for recorded in self.changes.iter().take_while(|recorded| recorded.position < moment.before) {
            if let Event::Resource(Resource::Budget(change)) = &recorded.event {
                balances.fold_budget(change, recorded.position, recorded.recorded_at);
            }
        }
        let mut amounts = self.amounts.clone();
        for movement in self.recent.iter().take_while(|movement| movement.position < moment.before) {
            movement.windows.iter().for_each(|window| add(&mut amounts, *window, movement.by));
            for (holder, window) in movement.holdings() {
                balances.add_held_by(holder, window, movement.by.held);
            }
        }
        for (window, amounts) in amounts {
            balances.restore_window(window, amounts, BTreeSet::new());
        }
        for ((holder, window), held) in &self.held_by {
            balances.add_held_by(*holder, *window, *held);
        }
        balances
    }

    pub(super) fn is_unread(&self, budget: BudgetId) -> bool {
        self.unread.contains(&budget)
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Every budget in its last state before this position, without those that were closed before `since`.
    fn budgets_before(&self, position: u64, since: Option<DateTime<Utc>>) -> impl Iterator<Item = &Budget> {
        let mut last: HashMap<BudgetId, &Budget> = HashMap::new();
        for recorded in self.changes.iter().take_while(|recorded| recorded.position < position) {
            let Event::Resource(Resource::Budget(change)) = &recorded.event else { continue };
            match change {
                Change::Created(budget) | Change::Changed(budget) => drop(last.insert(budget.budget_id, budget)),
                Change::Ended(id) if since.is_none_or(|since| recorded.recorded_at < since) => drop(last.remove(id)),
                Change::Ended(_) => {}
            }
        }
        last.into_values()
    }
}

fn is_of(recorded: &Recorded, id: BudgetId) -> bool {
    matches!(&recorded.event, Event::Resource(Resource::Budget(change)) if change.id() == id)
}

fn add(amounts: &mut HashMap<BudgetWindow, Amounts>, window: BudgetWindow, by: Amounts) {
    let before = amounts.entry(window).or_default();
    *before = Amounts { settled: before.settled + by.settled, held: before.held + by.held };
}
