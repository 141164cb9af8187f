//! Positions without a gap, time that never goes back, and every event on the stream of its kind. That streams count
//! without a gap is looked at in their own order, see `streams`.

use chrono::{DateTime, Utc};

use crate::event::{Event, Recorded, StreamKind};

/// Where the check stands.
#[derive(Default)]
pub(super) struct Order {
    position: u64,
    recorded_at: Option<DateTime<Utc>>,
}

impl Order {
    /// The last position that was found in order.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn follows(&self, position: u64) -> Result<(), String> {
        let wanted = self.position + 1;
        if position == wanted { Ok(()) } else { Err(format!("position {wanted} is missing")) }
    }

    pub(super) fn take(&mut self, recorded: &Recorded) -> Result<(), String> {
        self.follows(recorded.position)?;
        if self.recorded_at.is_some_and(|last| recorded.recorded_at < last) {
            return Err("it was recorded before the event in front of it".to_owned());
        }
        must_be_on_its_stream(recorded)?;
        (self.position, self.recorded_at) = (recorded.position, Some(recorded.recorded_at));
        Ok(())
    }
}

fn must_be_on_its_stream(recorded: &Recorded) -> Result<(), String> {
    let (kind, id) = stream_of(&recorded.event);
    if recorded.stream.kind != kind || id.is_some_and(|id| id != recorded.stream.id) {
        return Err(format!("{} on the stream {}", recorded.event.name(), recorded.stream));
    }
    if let Some(begins) = begins_its_stream(&recorded.event)
        && begins != (recorded.sequence == 1)
    {
        return Err(format!("{} is number {} of {}", recorded.event.name(), recorded.sequence, recorded.stream));
    }
    Ok(())
}

/// Kind of the stream, and the resource that it has to be of; streams of requests are looked at with their lives.
fn stream_of(event: &Event) -> (StreamKind, Option<String>) {
    let on = |kind, id: &dyn ToString| (kind, Some(id.to_string()));
    match event {
        Event::InferenceAdmitted(_)
        | Event::InferenceRefused(_)
        | Event::InferenceCompleted(_)
        | Event::InferenceFailed(_)
        | Event::InferenceAborted(_)
        | Event::InferenceAttemptFailed(_) => (StreamKind::Inference, None),
        Event::BudgetReserved(_)
        | Event::BudgetSettled(_)
        | Event::BudgetReleased(_)
        | Event::BudgetExpired(_)
        | Event::BudgetAdjusted(_) => (StreamKind::Hold, None),
        Event::PartnerCreated(of) | Event::PartnerChanged(of) => on(StreamKind::Partner, &of.partner_id),
        Event::PartnerEnded(of) => on(StreamKind::Partner, &of.id),
        Event::TenantCreated(of) | Event::TenantChanged(of) => on(StreamKind::Tenant, &of.tenant_id),
        Event::TenantEnded(of) => on(StreamKind::Tenant, &of.id),
        Event::UserCreated(of) | Event::UserChanged(of) => on(StreamKind::User, &of.user_id),
        Event::UserEnded(of) => on(StreamKind::User, &of.id),
        Event::KeyCreated(of) | Event::KeyChanged(of) => on(StreamKind::Key, &of.key_id),
        Event::KeyRotated(of) => on(StreamKind::Key, &of.key_id),
        Event::KeyRevoked(of) => on(StreamKind::Key, &of.id),
        Event::ProviderCreated(of) | Event::ProviderChanged(of) => on(StreamKind::Provider, &of.provider_id),
        Event::ProviderEnded(of) => on(StreamKind::Provider, &of.id),
        Event::ModelCreated(of) | Event::ModelChanged(of) => on(StreamKind::Model, &of.model_id),
        Event::ModelEnded(of) => on(StreamKind::Model, &of.id),
        Event::PriceCreated(of) | Event::PriceChanged(of) => on(StreamKind::Price, &of.price_id),
        Event::PriceEnded(of) => on(StreamKind::Price, &of.id),
        Event::BudgetOpened(of) | Event::BudgetChanged(of) => on(StreamKind::Budget, &of.budget_id),
        Event::BudgetClosed(of) => on(StreamKind::Budget, &of.id),
        Event::BudgetThresholdReached(of) => on(StreamKind::Alert, &of.budget_id),
        Event::RateLimitCreated(of) | Event::RateLimitChanged(of) => on(StreamKind::RateLimit, &of.limit_id),
        Event::RateLimitEnded(of) => on(StreamKind::RateLimit, &of.id),
        Event::NodeKeyReplaced(of) => on(StreamKind::NodeKey, &of.node_key),
        Event::AccessDenied(_) | Event::AccessRateLimited(_) => (StreamKind::Access, None),
    }
}

/// Whether it is the first of its stream; `None` for what may stand anywhere.
const fn begins_its_stream(event: &Event) -> Option<bool> {
    match event {
        // A key can be replaced by one that was in use before.
        Event::NodeKeyReplaced(_)
        | Event::AccessDenied(_)
        | Event::AccessRateLimited(_)
        | Event::BudgetThresholdReached(_) => None,
        Event::InferenceAdmitted(_)
        | Event::InferenceRefused(_)
        | Event::BudgetReserved(_)
        | Event::PartnerCreated(_)
        | Event::TenantCreated(_)
        | Event::UserCreated(_)
        | Event::KeyCreated(_)
        | Event::ProviderCreated(_)
        | Event::ModelCreated(_)
        | Event::PriceCreated(_)
        | Event::BudgetOpened(_)
        | Event::RateLimitCreated(_) => Some(true),
        _ => Some(false),
    }
}
