//! A rate limit: how many requests its scope may send in a minute. Its scope is its own for ever.

use events::event::admin::{Ended, RateLimit};
use events::ids::LimitId;

use crate::admin::life::{Life, LifeError, admin_aggregate};

/// What can be done to a rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateLimitCommand {
    /// As it will stand in the log.
    CreateRateLimit(RateLimit),
    ChangeRateLimit(ChangeRateLimit),
    EndRateLimit,
}

/// `None` keeps what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeRateLimit {
    pub requests_per_minute: Option<u64>,
}

admin_aggregate! {
    RateLimit, RateLimit, "rate_limit", RateLimitCommand, LifeError,
    /// What can have happened to a rate limit.
    RateLimitFact { RateLimitCreated(RateLimit), RateLimitChanged(RateLimit), RateLimitEnded(Ended<LimitId>) }
}

fn decide(life: &Life<RateLimit>, command: RateLimitCommand) -> Result<Vec<RateLimitFact>, LifeError> {
    match command {
        RateLimitCommand::CreateRateLimit(made) => {
            life.absent()?;
            Ok(vec![RateLimitFact::RateLimitCreated(made)])
        }
        RateLimitCommand::ChangeRateLimit(change) => {
            let current = life.live()?;
            let requests_per_minute = change.requests_per_minute.unwrap_or(current.requests_per_minute);
            Ok(vec![RateLimitFact::RateLimitChanged(RateLimit { requests_per_minute, ..current.clone() })])
        }
        RateLimitCommand::EndRateLimit => life.end(|state| RateLimitFact::RateLimitEnded(Ended { id: state.limit_id })),
    }
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

    use super::RateLimitCommand::{ChangeRateLimit as Change, CreateRateLimit, EndRateLimit};
    use super::RateLimitFact::{RateLimitChanged, RateLimitCreated, RateLimitEnded};
    use super::*;
    use crate::admin::life::spec::id;

    fn limit(requests_per_minute: u64) -> RateLimit {
        RateLimit { limit_id: id(1), scope: Scope::Key(id(2)), requests_per_minute }
    }

    #[test]
    fn a_rate_limit_is_made_changed_and_ended() {
        let change = || Change(ChangeRateLimit { requests_per_minute: Some(9) });
        let ended = || RateLimitEnded(Ended { id: id(1) });
        given([]).when(CreateRateLimit(limit(3))).then([RateLimitCreated(limit(3))]);
        given([RateLimitCreated(limit(3))]).when(change()).then([RateLimitChanged(limit(9))]);
        given([RateLimitCreated(limit(3))]).when(EndRateLimit).then([ended()]);
        given([RateLimitCreated(limit(3)), ended()]).when(change()).then_refused(LifeError::Ended);
    }
}
