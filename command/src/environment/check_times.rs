//! When it is checked whether something is to be recorded, and when the sources are looked at for that.

use std::time::Duration;

use tokio::time::Instant;

use super::ASK_EVERY;
use crate::admin::CommandError;

/// How often a node checks whether another catalogue was imported, and whether it has become the one that records.
pub const CHECK_EVERY: Duration = Duration::from_secs(2);

/// When the sources were last looked at, and when it was last checked whether they must be.
pub struct CheckTimes {
    looked_at: Instant,
    checked_at: Instant,
    /// The looks since the last one that recorded everything.
    failed_looks: u32,
    /// The last check failed, or the last look.
    is_failing: bool,
}

impl CheckTimes {
    pub fn since_now() -> Self {
        Self { looked_at: Instant::now(), checked_at: Instant::now(), failed_looks: 0, is_failing: false }
    }

    pub const fn checked_at(&self) -> Instant {
        self.checked_at
    }

    pub fn note_check(&mut self) {
        self.checked_at = Instant::now();
    }

    /// True once the sources must be looked at although their time has not come; if looks fail, later after each of them.
    pub fn may_look_early(&self) -> bool {
        self.looked_at.elapsed() >= (CHECK_EVERY * (2_u32.pow(self.failed_looks.min(5)) - 1)).min(ASK_EVERY)
    }

    /// True once their time has come.
    pub fn must_look(&self) -> bool {
        self.looked_at.elapsed() >= ASK_EVERY
    }

    pub fn note_look(&mut self, recorded: &Result<(), CommandError>) {
        self.looked_at = Instant::now();
        self.failed_looks = if recorded.is_ok() { 0 } else { self.failed_looks.saturating_add(1) };
    }

    /// Another node records: what this one could not record is not its own any more.
    pub const fn note_other_recorder(&mut self) {
        self.failed_looks = 0;
    }

    /// The error of a check with which an outage begins. `None` if it succeeded, or if the outage has lasted since an earlier one: a
    /// check between two looks that fail does not end it.
    pub fn new_outage(&mut self, checked: Result<(), CommandError>) -> Option<CommandError> {
        let was_failing = self.is_failing;
        self.is_failing = checked.is_err() || self.failed_looks > 0;
        checked.err().filter(|_| !was_failing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Result<(), CommandError> {
        Err(CommandError::NotYetInForce { position: 1 })
    }

    /// A check at its time, with a look if that is due; true if an outage begins with it.
    async fn check(looks: &mut CheckTimes, recorded: fn() -> Result<(), CommandError>) -> bool {
        tokio::time::sleep_until(looks.checked_at() + CHECK_EVERY).await;
        looks.note_check();
        if !looks.may_look_early() {
            return looks.new_outage(Ok(())).is_some();
        }
        let recorded = recorded();
        looks.note_look(&recorded);
        looks.new_outage(recorded).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn while_nothing_can_be_recorded_looks_are_further_apart_and_the_outage_begins_once() {
        let (mut looks, began) = (CheckTimes::since_now(), Instant::now());
        let (mut looked_at, mut outages) = (Vec::new(), 0);
        while began.elapsed() < Duration::from_secs(240) {
            outages += usize::from(check(&mut looks, failure).await);
            if looks.looked_at == looks.checked_at {
                looked_at.push(began.elapsed().as_secs());
            }
        }
        assert_eq!((looked_at, outages), (vec![2, 4, 10, 24, 54, 114, 174, 234], 1));
        tokio::time::advance(ASK_EVERY).await;
        assert!(!check(&mut looks, || Ok(())).await);
        assert!(check(&mut looks, failure).await, "it begins again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_look_is_none_of_a_node_that_records_no_more() {
        let mut looks = CheckTimes::since_now();
        assert!(check(&mut looks, failure).await);
        looks.note_check();
        looks.note_other_recorder();
        assert!(looks.new_outage(Ok(())).is_none());
        looks.note_check();
        assert!(looks.new_outage(failure()).is_some(), "the database cannot be asked");
    }
}
