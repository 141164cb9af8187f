//! A rate limit: how much its scope may ask for in a minute, an hour and a day, and how much at once. Its scope is its
//! own for ever.

use events::event::admin::{Ended, RateLimit};
use events::ids::LimitId;
use events::limit::{Bounds, Measure};

use crate::admin::fields::Patched;
use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitCommand {
    /// As it will stand in the log.
    CreateRateLimit(RateLimit),
    ChangeRateLimit(ChangeRateLimit),
    EndRateLimit,
}

/// The measures that are set or removed; the others keep what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeRateLimit {
    pub bounds: Vec<(Measure, Patched<u64>)>,
}

/// Why a command to a rate limit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimitError {
    #[error(transparent)]
    Life(#[from] LifeError),
    /// Without a measure it would limit nothing: that is what ending it is for.
    #[error("has no measure left")]
    NoMeasure,
}

impl ChangeRateLimit {
    fn over(self, mut bounds: Bounds) -> Bounds {
        for (measure, patched) in self.bounds {
            bounds.set(measure, patched.over(bounds.get(measure)));
        }
        bounds
    }
}

admin_aggregate! {
    RateLimit, RateLimit, "rate_limit", RateLimitCommand, RateLimitError,
    /// What can have happened to a rate limit.
    RateLimitFact { RateLimitCreated(RateLimit), RateLimitChanged(RateLimit), RateLimitEnded(Ended<LimitId>) }
}

fn decide(life: &Life<RateLimit>, command: RateLimitCommand) -> Result<Vec<RateLimitFact>, RateLimitError> {
    match command {
        RateLimitCommand::CreateRateLimit(made) => {
            life.absent()?;
            Ok(vec![RateLimitFact::RateLimitCreated(limiting(made)?)])
        }
        RateLimitCommand::ChangeRateLimit(change) => {
            let current = life.live()?.clone();
            let changed = RateLimit { bounds: change.over(current.bounds), ..current };
            Ok(vec![RateLimitFact::RateLimitChanged(limiting(changed)?)])
        }
        RateLimitCommand::EndRateLimit => {
            Ok(life.end(|state| RateLimitFact::RateLimitEnded(Ended { id: state.limit_id }))?)
        }
    }
}

fn limiting(limit: RateLimit) -> Result<RateLimit, RateLimitError> {
    if limit.bounds.is_empty() { Err(RateLimitError::NoMeasure) } else { Ok(limit) }
}

fn evolve(life: &mut Life<RateLimit>, fact: RateLimitFact) {
    match fact {
        RateLimitFact::RateLimitCreated(state) | RateLimitFact::RateLimitChanged(state) => *life = Life::Live(state),
        RateLimitFact::RateLimitEnded(_) => life.has_ended(),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Scope;
    use events::limit::Measure::{RequestsPerMinute, TokensPerDay};

    use super::RateLimitCommand::{ChangeRateLimit as Change, CreateRateLimit, EndRateLimit};
    use super::RateLimitFact::{RateLimitChanged, RateLimitCreated, RateLimitEnded};
    use super::*;
    use crate::admin::life::spec::id;

    fn limit(bounds: Bounds) -> RateLimit {
        RateLimit { limit_id: id(1), scope: Scope::Key(id(2)), bounds }
    }

    fn minute(requests_per_minute: u64) -> RateLimit {
        limit(Bounds::of(RequestsPerMinute, requests_per_minute))
    }

    fn change(bounds: &[(Measure, Patched<u64>)]) -> RateLimitCommand {
        Change(ChangeRateLimit { bounds: bounds.to_vec() })
    }

    #[test]
    fn a_rate_limit_is_made_changed_and_ended() {
        let nine = || change(&[(RequestsPerMinute, Patched::Set(9))]);
        let ended = || RateLimitEnded(Ended { id: id(1) });
        given([]).when(CreateRateLimit(minute(3))).then([RateLimitCreated(minute(3))]);
        given([RateLimitCreated(minute(3))]).when(nine()).then([RateLimitChanged(minute(9))]);
        given([RateLimitCreated(minute(3))]).when(EndRateLimit).then([ended()]);
        given([RateLimitCreated(minute(3)), ended()]).when(nine()).then_refused(LifeError::Ended.into());
    }

    #[test]
    fn a_change_sets_and_removes_what_it_names_and_keeps_the_rest() {
        let both = limit(Bounds { tokens_per_day: Some(7), ..minute(3).bounds });
        let made = || RateLimitCreated(minute(3));
        given([made()]).when(change(&[(TokensPerDay, Patched::Set(7))])).then([RateLimitChanged(both.clone())]);
        given([RateLimitCreated(both.clone())])
            .when(change(&[(TokensPerDay, Patched::Removed), (RequestsPerMinute, Patched::Kept)]))
            .then([RateLimitChanged(minute(3))]);
        given([made()]).when(change(&[])).then([RateLimitChanged(minute(3))]);
    }

    #[test]
    fn no_rate_limit_is_left_without_a_measure() {
        let none = change(&[(RequestsPerMinute, Patched::Removed)]);
        given([RateLimitCreated(minute(3))]).when(none).then_refused(RateLimitError::NoMeasure);
        given([]).when(CreateRateLimit(limit(Bounds::default()))).then_refused(RateLimitError::NoMeasure);
    }
}
