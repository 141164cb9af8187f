//! A rate limit: how much its scope may ask for in a minute, an hour and a day, and how much at once. Its scope is its
//! own for ever.

use std::convert::Infallible;

use events::event::admin::RateLimit;
use events::limit::{Bounds, Measure};

use crate::admin::fields::Patched;
use crate::admin::lifecycle::{LifecycleError, Rules};

/// The measures that are set or removed; the others keep what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeRateLimit {
    pub bounds: Vec<(Measure, Patched<u64>)>,
}

/// Why a command to a rate limit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimitError {
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
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

impl Rules for RateLimit {
    type State = Self;
    type Change = ChangeRateLimit;
    type Special = Infallible;
    type Error = RateLimitError;

    fn made(self) -> Result<Self, RateLimitError> {
        limiting(self)
    }

    fn changed(&self, change: ChangeRateLimit) -> Result<Self, RateLimitError> {
        limiting(Self { bounds: change.over(self.bounds), ..self.clone() })
    }
}

fn limiting(limit: RateLimit) -> Result<RateLimit, RateLimitError> {
    if limit.bounds.is_empty() { Err(RateLimitError::NoMeasure) } else { Ok(limit) }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Scope;
    use events::limit::Measure::{RequestsPerMinute, TokensPerDay};

    use super::*;
    use crate::admin::lifecycle::Command::{Change, Create, End};
    use crate::admin::lifecycle::CommandOf;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<RateLimit> {
        spec::given(facts)
    }

    fn limit(bounds: Bounds) -> RateLimit {
        RateLimit { limit_id: id(1), scope: Scope::Key(id(2)), bounds }
    }

    fn minute(requests_per_minute: u64) -> RateLimit {
        limit(Bounds::of(RequestsPerMinute, requests_per_minute))
    }

    fn change(bounds: &[(Measure, Patched<u64>)]) -> CommandOf<RateLimit> {
        Change(ChangeRateLimit { bounds: bounds.to_vec() })
    }

    #[test]
    fn a_rate_limit_is_made_changed_and_ended() {
        let nine = || change(&[(RequestsPerMinute, Patched::Set(9))]);
        let ended = || ended::<RateLimit>(id(1));
        given([]).when(Create(minute(3))).then([created(minute(3))]);
        given([created(minute(3))]).when(nine()).then([changed(minute(9))]);
        given([created(minute(3))]).when(End).then([ended()]);
        given([created(minute(3)), ended()]).when(nine()).then_refused(LifecycleError::Ended.into());
    }

    #[test]
    fn a_change_sets_and_removes_what_it_names_and_keeps_the_rest() {
        let both = limit(Bounds { tokens_per_day: Some(7), ..minute(3).bounds });
        let made = || created(minute(3));
        given([made()]).when(change(&[(TokensPerDay, Patched::Set(7))])).then([changed(both.clone())]);
        given([created(both.clone())])
            .when(change(&[(TokensPerDay, Patched::Removed), (RequestsPerMinute, Patched::Kept)]))
            .then([changed(minute(3))]);
        given([made()]).when(change(&[])).then([changed(minute(3))]);
    }

    #[test]
    fn no_rate_limit_is_left_without_a_measure() {
        let none = change(&[(RequestsPerMinute, Patched::Removed)]);
        given([created(minute(3))]).when(none).then_refused(RateLimitError::NoMeasure);
        given([]).when(Create(limit(Bounds::default()))).then_refused(RateLimitError::NoMeasure);
    }
}
