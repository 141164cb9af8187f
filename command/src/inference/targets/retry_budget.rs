//! Retry budgets: how many further calls a provider gets when calls fail, so that an outage does not multiply the load of providers
//! that are in trouble already.
//!
//! A budget is of one provider, as this node calls it, and of the last ten seconds. There are two of the same size, so that neither kind
//! of calls uses up the other's: one for other tries at a target that has just failed and for calls beside a target that is slow (hedges),
//! and one for calls in the place of another target's once they have failed too. A call in another one's place that is answered takes nothing: it is what moves the load of a target that is
//! down, as its breaker does a moment later, and to forbid it would show clients errors that another target could have served. First calls
//! of requests are never forbidden, and calls that were not sent take nothing.
//!
//! No tenant takes more of a budget than twice what it leaves to the next one ([`share_left`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use events::ids::{IdMap, ProviderId};
use events::time::Clock;
use provider_client::Owner;

/// The seconds that a budget is of.
const WINDOW: usize = 10;
/// Lower bound of a budget, so that gateways with few requests always fail over: ten a second.
const TAKEN_MIN: u64 = 10 * WINDOW as u64;
/// So many providers are watched. Of further ones, nothing is forbidden.
const PROVIDERS_MAX: usize = 10_000;

/// How many further calls there may be, beyond the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// For a hundred other calls.
    pub percent: u32,
}

/// The relation of a further call to the provider that gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// In the place of another target's.
    Failover,
    /// To the target that has just failed.
    SameTarget,
    /// Beside that of another target, which has not answered yet.
    Hedge,
}

/// The budgets of all providers. One for the whole process.
pub struct RetryBudgets {
    settings: RetrySettings,
    clock: Arc<dyn Clock>,
    /// The second in which the process began to count calls.
    began: u64,
    /// Windows of providers that got a further call lately.
    windows: Mutex<IdMap<ProviderId, RetryWindow>>,
}

impl RetryBudgets {
    pub fn new(settings: RetrySettings, clock: Arc<dyn Clock>) -> Self {
        let began = clock.monotonic().as_secs();
        Self { settings, clock, began, windows: Mutex::default() }
    }

    /// Whether the provider may get this call of an owner, which takes from its budget at once unless it is a failover. `calls` is the number
    /// of all calls that the provider has got from this process.
    pub fn allows(&self, provider: ProviderId, calls: u64, owner: Owner, retry: Retry) -> bool {
        let mut windows = self.windows();
        let Some(window) = self.current(&mut windows, provider, calls) else { return true };
        let budget = self.settings.budget(window.others());
        let second = window.second;
        let taken = window.taken_by(retry);
        let is_allowed = share_left(budget, taken.total(), taken.of(owner)) > 0;
        if is_allowed && retry != Retry::Failover {
            taken.add(second, owner);
        }
        is_allowed
    }

    /// A call in the place of another target's has failed as well.
    pub fn failover_failed(&self, provider: ProviderId, calls: u64, owner: Owner) {
        if let Some(window) = self.current(&mut self.windows(), provider, calls) {
            window.failovers.add(window.second, owner);
        }
    }

    /// Another try, or a hedge, that was allowed was not sent.
    pub fn was_not_sent(&self, provider: ProviderId, calls: u64, owner: Owner) {
        if let Some(window) = self.current(&mut self.windows(), provider, calls) {
            window.tries.give_back(owner);
        }
    }

    /// The provider's window up to now; `None` if too many are watched.
    fn current<'w>(
        &self,
        windows: &'w mut IdMap<ProviderId, RetryWindow>,
        provider: ProviderId,
        calls: u64,
    ) -> Option<&'w mut RetryWindow> {
        let second = self.clock.monotonic().as_secs();
        if windows.len() >= PROVIDERS_MAX && !windows.contains_key(&provider) {
            windows.retain(|_, window| second.saturating_sub(window.second) < WINDOW as u64);
            if windows.len() >= PROVIDERS_MAX {
                return None;
            }
        }
        let window = windows.entry(provider).or_insert_with(|| RetryWindow::since(self.began));
        window.move_to(second, calls);
        Some(window)
    }

    fn windows(&self) -> MutexGuard<'_, IdMap<ProviderId, RetryWindow>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RetrySettings {
    fn budget(self, others: u64) -> u64 {
        TAKEN_MIN.saturating_add(others.saturating_mul(self.percent.into()) / 100)
    }
}

/// The last ten seconds of one provider. It is only looked at when a call has failed: calls cost nothing here.
struct RetryWindow {
    /// The newest second.
    second: u64,
    /// All calls so far, when it was looked at last.
    calls_seen: u64,
    /// All calls. A second has the slot of its remainder.
    calls: [u64; WINDOW],
    /// Calls taken from the budget for other tries and hedges, and from the one for calls in the place of others.
    tries: Taken,
    failovers: Taken,
}

/// The calls that were taken from one budget, by second and owner.
#[derive(Default)]
struct Taken {
    totals: [u64; WINDOW],
    by_owner: [HashMap<Owner, u64>; WINDOW],
}

impl Taken {
    fn total(&self) -> u64 {
        self.totals.iter().sum()
    }

    fn of(&self, owner: Owner) -> u64 {
        self.by_owner.iter().filter_map(|taken| taken.get(&owner)).sum()
    }

    fn add(&mut self, second: u64, owner: Owner) {
        let slot = slot(second);
        self.totals[slot] += 1;
        *self.by_owner[slot].entry(owner).or_default() += 1;
    }

    /// Gives back one of an owner's, if it is not over yet.
    fn give_back(&mut self, owner: Owner) {
        let taken = self.by_owner.iter_mut().zip(&mut self.totals);
        let found =
            taken.filter_map(|(taken, total)| Some((taken.get_mut(&owner).filter(|taken| **taken > 0)?, total)));
        if let Some((of_owner, total)) = { found }.next() {
            *of_owner -= 1;
            *total -= 1;
        }
    }

    fn clear(&mut self, slot: usize) {
        self.totals[slot] = 0;
        self.by_owner[slot].clear();
    }
}

/// How many more calls an owner may take from a budget of which so many are taken, and so many by itself: it never has more than twice
/// what it leaves.
const fn share_left(budget: u64, taken: u64, by_owner: u64) -> u64 {
    let left = budget.saturating_sub(taken);
    let most = (left + by_owner).saturating_mul(2).div_ceil(3);
    let of_owner = most.saturating_sub(by_owner);
    if of_owner < left { of_owner } else { left }
}

impl RetryWindow {
    fn since(second: u64) -> Self {
        let (tries, failovers) = (Taken::default(), Taken::default());
        Self { second, calls_seen: 0, calls: [0; WINDOW], tries, failovers }
    }

    const fn taken_by(&mut self, retry: Retry) -> &mut Taken {
        match retry {
            Retry::SameTarget | Retry::Hedge => &mut self.tries,
            Retry::Failover => &mut self.failovers,
        }
    }

    /// Moves on to this second. The calls since the last look count evenly in the seconds since then.
    fn move_to(&mut self, second: u64, calls: u64) {
        let new = calls.saturating_sub(self.calls_seen);
        self.calls_seen = calls;
        let passed = second.saturating_sub(self.second);
        let each = new.checked_div(passed).unwrap_or(0);
        for second in (self.second + 1..=second).rev().take(WINDOW) {
            let slot = slot(second);
            self.calls[slot] = each;
            self.tries.clear(slot);
            self.failovers.clear(slot);
        }
        self.second = self.second.max(second);
        self.calls[slot(self.second)] += new - each * passed;
    }

    /// The calls that took nothing.
    fn others(&self) -> u64 {
        self.calls.iter().sum::<u64>().saturating_sub(self.tries.total() + self.failovers.total())
    }
}

const fn slot(second: u64) -> usize {
    (second % WINDOW as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;

    /// A clock whose second the test sets.
    #[derive(Default)]
    struct SetClock(Mutex<u64>);

    impl Clock for SetClock {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(*self.0.lock().expect("the second"))
        }
    }

    struct Budgets {
        clock: Arc<SetClock>,
        budgets: RetryBudgets,
        calls: u64,
    }

    impl Budgets {
        fn of(percent: u32) -> Self {
            let clock = Arc::new(SetClock::default());
            let budgets = RetryBudgets::new(RetrySettings { percent }, Arc::clone(&clock) as Arc<dyn Clock>);
            Self { clock, budgets, calls: 0 }
        }

        fn at(&self, second: u64) {
            *self.clock.0.lock().expect("the second") = second;
        }

        /// Another try, which is a call if it is allowed.
        fn tries_again(&mut self) -> bool {
            self.tries_again_for(owner(1))
        }

        fn tries_again_for(&mut self, owner: Owner) -> bool {
            let is_allowed = self.budgets.allows(provider(1), self.calls, owner, Retry::SameTarget);
            self.calls += u64::from(is_allowed);
            is_allowed
        }

        /// A call in another one's place.
        fn fails_over(&mut self, is_answered: bool) -> bool {
            let is_allowed = self.budgets.allows(provider(1), self.calls, owner(1), Retry::Failover);
            self.calls += u64::from(is_allowed);
            if is_allowed && !is_answered {
                self.budgets.failover_failed(provider(1), self.calls, owner(1));
            }
            is_allowed
        }

        /// How many further tries are allowed now, at most a million.
        fn tries_left(&mut self) -> usize {
            (0..1_000_000).take_while(|_| self.tries_again()).count()
        }
    }

    fn provider(number: u128) -> ProviderId {
        Uuid::from_u128(number).into()
    }

    fn owner(number: u128) -> Owner {
        Some(Uuid::from_u128(number).into())
    }

    /// Returns one owner's share of a budget.
    fn share(budget: usize) -> usize {
        (2 * budget).div_ceil(3)
    }

    #[test]
    fn ten_a_second_are_always_allowed_and_no_more_without_other_calls() {
        let mut budgets = Budgets::of(20);
        assert_eq!(budgets.tries_left(), share(100));
        budgets.at(9);
        assert_eq!(budgets.tries_left(), 0, "the first ones are nine seconds old");
        budgets.at(10);
        assert_eq!(budgets.tries_left(), share(100));
        budgets.at(1_000_000_000);
        assert_eq!(budgets.tries_left(), share(100));
    }

    #[test]
    fn a_tenant_leaves_half_of_what_it_takes_to_the_next_and_all_together_have_no_more_than_the_budget() {
        let mut budgets = Budgets::of(0);
        let mut taken = Vec::new();
        for number in 1..=40 {
            taken.push((0..1000).take_while(|_| budgets.tries_again_for(owner(number))).count());
        }
        assert_eq!((&taken[..3], taken.iter().sum::<usize>()), (&[67, 22, 8][..], 100));
    }

    #[test]
    fn other_tries_leave_the_budget_of_failovers_alone_and_what_was_not_sent_takes_nothing() {
        let mut budgets = Budgets::of(0);
        assert_eq!(budgets.tries_left(), share(100));
        let failed = (0..1000).take_while(|_| budgets.fails_over(false)).count();
        assert_eq!((failed, budgets.tries_left()), (share(100), 0));
        budgets.at(5);
        budgets.budgets.was_not_sent(provider(1), budgets.calls, owner(1));
        assert_eq!(budgets.tries_left(), 1);
        budgets.budgets.was_not_sent(provider(1), budgets.calls, owner(2));
        assert_eq!(budgets.tries_left(), 0, "another one had nothing to give back");
    }

    #[test]
    fn hedges_and_other_tries_share_a_budget() {
        let mut budgets = Budgets::of(0);
        let hedges = (0..1000)
            .take_while(|_| budgets.budgets.allows(provider(1), budgets.calls, owner(1), Retry::Hedge))
            .count();
        assert_eq!((hedges, budgets.tries_left()), (share(100), 0));
        assert!(budgets.fails_over(false), "failovers have their own");
        budgets.budgets.was_not_sent(provider(1), budgets.calls, owner(1));
        assert_eq!(budgets.tries_left(), 1);
    }

    #[test]
    fn a_share_of_the_other_calls_of_the_last_ten_seconds_is_allowed_beyond_that() {
        for (percent, calls, allowed) in [(20, 1000, 300), (20, 4, 100), (20, 5, 101), (0, 1000, 100), (100, 50, 150)] {
            let mut budgets = Budgets::of(percent);
            budgets.at(3);
            budgets.calls += calls;
            assert_eq!(budgets.tries_left(), share(allowed), "{percent} % of {calls}");
        }
        // Nobody has looked for a hundred seconds: the calls of a tenth of that time count.
        let mut budgets = Budgets::of(20);
        budgets.at(100);
        budgets.calls += 10_000;
        assert_eq!(budgets.tries_left(), share(300));
        // They are over ten seconds later, and so is what was taken.
        budgets.at(110);
        assert_eq!(budgets.tries_left(), share(100));
    }

    #[test]
    fn calls_in_the_place_of_others_take_only_if_they_fail() {
        let mut budgets = Budgets::of(20);
        assert!((0..10_000).all(|_| budgets.fails_over(true)), "the load of a target that is down moves to another");
        let failed = (0..100_000).take_while(|_| budgets.fails_over(false)).count();
        assert_eq!(failed, share(100 + 10_000 / 5));
        assert!(!budgets.fails_over(true), "it is not known before whether it is answered");
        budgets.at(11);
        assert!(budgets.fails_over(true) && budgets.tries_again());
    }

    #[test]
    fn a_provider_has_a_budget_of_its_own() {
        let mut budgets = Budgets::of(20);
        assert_eq!(budgets.tries_left(), share(100));
        assert!(budgets.budgets.allows(provider(2), 0, owner(1), Retry::SameTarget));
        assert!(!budgets.budgets.allows(provider(1), 67, owner(1), Retry::SameTarget));
    }

    #[test]
    fn providers_beyond_those_that_are_watched_are_forbidden_nothing_until_others_are_quiet() {
        let budgets = Budgets::of(0);
        for number in 0..PROVIDERS_MAX as u128 {
            budgets.budgets.failover_failed(provider(number), 1, owner(1));
        }
        let may = || budgets.budgets.allows(provider(1 << 70), 1, owner(1), Retry::SameTarget);
        let allowed = || (0..500).take_while(|_| may()).count();
        assert_eq!(allowed(), 500);
        budgets.at(10);
        assert_eq!((allowed(), budgets.budgets.windows().len()), (share(100), 1));
    }
}
