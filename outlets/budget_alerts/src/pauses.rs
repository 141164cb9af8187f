//! Pauses of all alerts, while nothing says that the receiver takes any. The alerts keep their order meanwhile: the first one after a
//! pause is of another owner than the last one before it, so that no owner's alerts stand in front of the rest.

use std::collections::BTreeSet;
use std::time::Duration;

use events_log::backoff::Backoff;
use tokio::time::Instant;

use crate::delivery::DeliveryError;
use crate::owner::Owner;

/// The owners whose alerts are not taken, one after the other, until the receiver counts as away.
const FAILED_OWNERS_MAX: usize = 8;
/// After so long without any answer, another process may reach the receiver.
const HAND_OVER_AFTER: Duration = Duration::from_secs(600);
/// Short ones: what the receiver does not take may be of these owners alone, and each owner's alerts rest for longer.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));

pub struct Pauses {
    backoff: Backoff,
    /// Owners whose alerts were not taken since one was, or since the last pause.
    failed: BTreeSet<Owner>,
    /// When the first of the attempts failed that had no answer.
    unanswered_since: Option<Instant>,
    ends: Option<Instant>,
}

/// Whether this process should go on with the role after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChoice {
    Keep,
    HandOver,
}

impl Pauses {
    pub const fn new() -> Self {
        Self { backoff: PAUSES, failed: BTreeSet::new(), unanswered_since: None, ends: None }
    }

    /// When the pause ends, if there is one now.
    pub fn end_after(&self, now: Instant) -> Option<Instant> {
        self.ends.filter(|ends| *ends > now)
    }

    /// An alert was accepted.
    pub fn accepted(&mut self) {
        *self = Self::new();
    }

    /// An alert of this owner was not taken.
    pub fn failed(&mut self, owner: Owner, error: &DeliveryError, now: Instant) -> RoleChoice {
        self.failed.insert(owner);
        let is_unreachable = matches!(error, DeliveryError::Unreachable { .. });
        if is_unreachable || matches!(error, DeliveryError::TooLate) {
            let since = *self.unanswered_since.get_or_insert(now);
            if now.duration_since(since) >= HAND_OVER_AFTER {
                return RoleChoice::HandOver;
            }
        } else {
            self.unanswered_since = None;
        }
        if is_unreachable || self.failed.len() >= FAILED_OWNERS_MAX {
            self.failed.clear();
            self.ends = Some(now + self.backoff.next_pause());
        }
        RoleChoice::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> Owner {
        Owner::read(&format!("ten_{number:032x}")).expect("a tenant")
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_pause_after_eight_owners_in_a_row_and_one_that_is_never_long() {
        let (mut pauses, now) = (Pauses::new(), Instant::now());
        let refused = DeliveryError::Refused { status: 403 };
        let mut lasted = Vec::new();
        for number in 0..64 {
            assert_eq!(pauses.failed(tenant(number % 8), &refused, now), RoleChoice::Keep);
            match pauses.end_after(now) {
                Some(ends) if number % 8 == 7 => lasted.push(ends.duration_since(now).as_millis()),
                // The one before.
                Some(_) => assert!(number > 7),
                None => assert!(number < 7),
            }
        }
        assert_eq!(lasted, [500, 1_000, 2_000, 4_000, 5_000, 5_000, 5_000, 5_000]);
        pauses.accepted();
        assert_eq!(pauses.end_after(now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_alert_that_is_not_answered_is_no_pause_and_ten_minutes_without_any_answer_hand_the_role_over() {
        let (mut pauses, began) = (Pauses::new(), Instant::now());
        let too_late = DeliveryError::TooLate;
        let refused = DeliveryError::Refused { status: 403 };
        for error in [&too_late, &refused] {
            assert_eq!(pauses.failed(tenant(1), error, began), RoleChoice::Keep);
            assert_eq!(pauses.end_after(began), None);
        }
        let unreachable = DeliveryError::Unreachable { cause: "no route".to_owned() };
        assert_eq!(pauses.failed(tenant(1), &unreachable, began), RoleChoice::Keep);
        assert!(pauses.end_after(began).is_some());
        let later = began + HAND_OVER_AFTER;
        assert_eq!(pauses.failed(tenant(1), &unreachable, later), RoleChoice::HandOver);
    }
}
