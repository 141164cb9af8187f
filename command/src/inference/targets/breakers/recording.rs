//! The events of breakers that open and close. Many requests, on several nodes, may meet the same failures: the stream of the provider
//! decides which of them records it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::admin::{BreakerClosed, BreakerOpened};
use events::event::{Actor, Resource, Stream, StreamKind};
use events::ids::ProviderId;
use events_log::LogError;
use projections::tables::Tables;

use super::Breakers;
use crate::inference::targets::gateway_facts;
use crate::inference::targets::health::CallError;
use crate::inference::targets::target::PlannedTarget;

const ACTOR: Actor = Actor::System("breakers");
/// How often a recording is decided at most, if others change the provider meanwhile.
const ATTEMPTS_MAX: usize = 10;
/// How long to wait until the tables have the event.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

impl Breakers {
    pub(super) fn record_opened(
        self: &Arc<Self>,
        target: &PlannedTarget,
        CallError { reason, status }: CallError,
        failures: u32,
        until: DateTime<Utc>,
    ) {
        let fact = BreakerOpened {
            provider_id: target.backend.provider_id,
            model: target.backend.model.clone(),
            failures,
            reason: reason.to_owned(),
            status,
            until,
        };
        self.start_recording(target, Resource::BreakerOpened(Box::new(fact)));
    }

    pub(super) fn record_closed(self: &Arc<Self>, target: &PlannedTarget) {
        let fact = BreakerClosed { provider_id: target.backend.provider_id, model: target.backend.model.clone() };
        self.start_recording(target, Resource::BreakerClosed(Box::new(fact)));
    }

    fn start_recording(self: &Arc<Self>, target: &PlannedTarget, fact: Resource) {
        let (breakers, name) = (Arc::clone(self), target.name.clone());
        let (provider, model) = (target.backend.provider_id, target.backend.model.clone());
        self.recordings.spawn(async move {
            match breakers.record(provider, &fact).await {
                Ok(Some(position)) => {
                    announce(&name, &fact);
                    breakers.tables.wait_for(position, IN_FORCE_WITHIN).await;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, target = name, "it was not recorded whether a target is left alone");
                }
            }
            // From here on, the tables say it; unrecorded, the next failures try again.
            breakers.with(provider, &model, |known| known.opened_here = None);
        });
    }

    /// Records the fact if it changes anything; `None` if it is recorded already, or no longer of interest.
    async fn record(&self, provider: ProviderId, fact: &Resource) -> Result<Option<u64>, LogError> {
        for _ in 0..ATTEMPTS_MAX {
            let stream = Stream::new(StreamKind::Provider, provider);
            let of = stream.clone();
            let events = self.log.read(move |reader| reader.last_of_each_type(&of, None)).await?;
            let sequence = events.iter().map(|recorded| recorded.sequence).max().unwrap_or(0);
            if !self.tables.catch_up(IN_FORCE_WITHIN).await {
                return Err(LogError::Append("the tables are behind the log".to_owned()));
            }
            let tables = self.tables.load();
            if !is_news(fact, &tables, self.clock.now()) {
                return Ok(None);
            }
            let Some(row) = tables.live_provider(provider) else { return Ok(None) };
            let recorded = gateway_facts::append(&self.log, ACTOR, stream, sequence, fact, &row.value, &tables).await?;
            if let Some(position) = recorded {
                return Ok(Some(position));
            }
        }
        Err(LogError::Append("other changes of the provider came before".to_owned()))
    }
}

/// Whether another state follows from the fact.
fn is_news(fact: &Resource, tables: &Tables, now: DateTime<Utc>) -> bool {
    match fact {
        // Another node may have met the same failures. One that has been open for its time is opened again by a probe that fails.
        Resource::BreakerOpened(fact) => {
            tables.open_breaker(fact.provider_id, &fact.model).is_none_or(|open| open.until <= now)
        }
        Resource::BreakerClosed(fact) => tables.open_breaker(fact.provider_id, &fact.model).is_some(),
        _ => false,
    }
}

/// Logs what was recorded, for the operator.
fn announce(target: &str, fact: &Resource) {
    if let Resource::BreakerOpened(fact) = fact {
        let BreakerOpened { failures, reason, status, until, .. } = &**fact;
        tracing::warn!(target, failures, reason, status, %until, "a target fails: requests go to others for a while");
    } else {
        tracing::info!(target, "a target answers again");
    }
}
