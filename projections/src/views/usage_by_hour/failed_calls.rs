//! Failed calls by hour and backend, whatever model was asked for: of those that another target answered, no request counts as failed.
//! The provider is known by its id, because two providers may have one name. A call that was cancelled has not failed, nor has one that the
//! gateway did not make.

use events::event::Recorded;
use events::event::inference::{AttemptFailed, CLIENT_CLOSED, HEDGED};
use events::ids::{IdMap, PartnerId, ProviderId, TenantId};
use rusqlite::{Connection, named_params, params};

use super::range::{SECONDS_PER_HOUR, Span};
use crate::views::{Question, View, ViewsError};
use crate::visible::Visible;

const ADD: &str = include_str!("add_failed_calls.sql");
const SELECT: &str = include_str!("failed_calls.sql");

/// The reasons of calls that say nothing about the target: they were cancelled, or the gateway had no room, no key or no way to make them.
const NO_FAILURES_OF_TARGETS: [&str; 10] = [
    CLIENT_CLOSED, HEDGED, "busy", "credentials", "forbidden", "key_limits", "no_place", "provider_changed",
    "untranslatable", "wrong_settings",
];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key<'a> {
    provider: ProviderId,
    model: &'a str,
    /// Seconds since 1970 at which the hour begins.
    hour: i64,
    tenant: Option<TenantId>,
    partner: Option<PartnerId>,
}

/// The failed calls of a batch.
#[derive(Default)]
pub(super) struct FailedCallCounts<'a>(IdMap<Key<'a>, i64>);

impl<'a> FailedCallCounts<'a> {
    pub(super) fn count(&mut self, recorded: &'a Recorded, failed: &'a AttemptFailed) {
        if NO_FAILURES_OF_TARGETS.contains(&&*failed.reason) {
            return;
        }
        let (seconds, chain) = (recorded.recorded_at.timestamp(), recorded.context.chain());
        let key = Key {
            provider: failed.backend.provider_id,
            model: &failed.backend.model,
            hour: seconds - seconds.rem_euclid(SECONDS_PER_HOUR),
            tenant: chain.tenant,
            partner: chain.partner,
        };
        *self.0.entry(key).or_default() += 1;
    }

    pub(super) fn write(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        for (Key { provider, model, hour, tenant, partner }, calls) in &self.0 {
            let tenant = tenant.map(|id| id.to_string()).unwrap_or_default();
            let partner = partner.map(|id| id.to_string()).unwrap_or_default();
            db.prepare_cached(ADD)?.execute(params![provider.to_string(), model, hour, tenant, partner, calls])?;
        }
        Ok(())
    }
}

/// A provider's model.
#[derive(Clone)]
pub struct CalledBackend {
    pub provider: ProviderId,
    pub model: String,
}

/// How many calls to each of the backends have failed.
pub struct FailedCalls {
    pub visible: Visible,
    /// Only those of this tenant, if it is given.
    pub tenant: Option<TenantId>,
    /// Seconds since 1970, on the hour.
    pub hours: Span,
    pub backends: Vec<CalledBackend>,
}

impl Question for FailedCalls {
    /// In the order of the backends.
    type Answer = Vec<u64>;
    const VIEWS: &'static [View] = &[View::UsageByHour];

    fn answer(self, db: &Connection) -> Result<Vec<u64>, ViewsError> {
        let Self { visible, tenant, hours, backends } = self;
        let mut statement = db.prepare_cached(SELECT)?;
        let tenant = tenant.map(|id| id.to_string());
        let mut failed = Vec::with_capacity(backends.len());
        for CalledBackend { provider, model } in backends {
            let calls: i64 = statement.query_row(
                named_params! {
                    ":provider": provider.to_string(),
                    ":model": model,
                    ":visible_partner": visible.partner(),
                    ":visible_tenant": visible.tenant(),
                    ":tenant": tenant,
                    ":from": hours.from,
                    ":to": hours.to,
                },
                |row| row.get(0),
            )?;
            failed.push(u64::try_from(calls).unwrap_or(0));
        }
        Ok(failed)
    }
}

#[cfg(test)]
mod tests {
    use events::event::{Event, Inference};

    use super::*;
    use crate::views::tests::facts::Story;
    use crate::views::tests::plan;

    #[test]
    fn calls_that_were_not_made_are_no_failed_calls_of_the_target() {
        let facts = Story::whole();
        let mut attempts = facts.iter().filter_map(|recorded| match &recorded.event {
            Event::Inference(Inference::AttemptFailed(failed)) => Some((recorded, failed)),
            _ => None,
        });
        let (recorded, failed) = attempts.next().expect("a failed call");
        let counted = |reason: &str| {
            let failed = AttemptFailed { reason: reason.to_owned(), ..AttemptFailed::clone(failed) };
            let mut counts = FailedCallCounts::default();
            counts.count(recorded, &failed);
            counts.0.into_values().sum::<i64>()
        };
        for reason in ["status", "timeout", "resolve", "connect", "connect_timeout", "tls", "refused", "closed"] {
            assert_eq!(counted(reason), 1, "{reason}");
        }
        for reason in NO_FAILURES_OF_TARGETS {
            assert_eq!(counted(reason), 0, "{reason}");
        }
    }

    #[test]
    fn failed_calls_are_read_by_their_backend_and_hours() {
        let steps = plan::of(include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql"), SELECT);
        let by_backend = "SEARCH rows_failed_calls USING PRIMARY KEY (provider_id=? AND model=? AND hour>? AND hour<?)";
        assert!(steps.iter().any(|step| step.contains(by_backend)), "{steps:?}");
    }
}
