//! `audit`: who changed what, and who was turned away. Reads administration, `access.*` and `inference.refused`.
//! Rebuild: from the log.
//!
//! Severity says how closely to look: `info` for ordinary changes; `notice` for what touches access or money, for what
//! ends something and for refusals; `warning` for bad keys and missing permissions.

use std::sync::Arc;

use events::event::{Event, Recorded};
use events::time::rfc3339;
use rusqlite::{Connection, params};

use super::View;
use super::projector::{ProjectionError, Projector};

const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0005_audit.sql");
const INSERT: &str = include_str!("audit/insert.sql");

pub struct Audit;

/// How closely to look at an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Info,
    Notice,
    Warning,
}

impl Severity {
    pub const ALL: &'static [Self] = &[Self::Info, Self::Notice, Self::Warning];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
        }
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Success,
    Denied,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
        }
    }
}

impl Projector for Audit {
    fn view(&self) -> View {
        View::Audit
    }

    fn version(&self) -> u32 {
        1
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            if let Some((severity, outcome)) = judge(&recorded.event) {
                insert(db, recorded, severity, outcome)?;
            }
        }
        Ok(())
    }
}

/// `None` for what is no business of an auditor: the traffic itself stands in `inferences`.
const fn judge(event: &Event) -> Option<(Severity, Outcome)> {
    match event {
        Event::PartnerCreated(_)
        | Event::PartnerChanged(_)
        | Event::TenantCreated(_)
        | Event::TenantChanged(_)
        | Event::ModelCreated(_)
        | Event::ModelChanged(_)
        | Event::RateLimitCreated(_)
        | Event::RateLimitChanged(_) => Some((Severity::Info, Outcome::Success)),
        Event::PartnerEnded(_)
        | Event::TenantEnded(_)
        | Event::UserCreated(_)
        | Event::UserChanged(_)
        | Event::UserEnded(_)
        | Event::KeyCreated(_)
        | Event::KeyChanged(_)
        | Event::KeyRotated(_)
        | Event::KeyRevoked(_)
        | Event::ProviderCreated(_)
        | Event::ProviderChanged(_)
        | Event::ProviderEnded(_)
        | Event::ModelEnded(_)
        | Event::PriceCreated(_)
        | Event::PriceChanged(_)
        | Event::PriceEnded(_)
        | Event::BudgetOpened(_)
        | Event::BudgetChanged(_)
        | Event::BudgetClosed(_)
        | Event::RateLimitEnded(_)
        | Event::NodeKeyReplaced(_) => Some((Severity::Notice, Outcome::Success)),
        Event::InferenceRefused(_) | Event::AccessRateLimited(_) => Some((Severity::Notice, Outcome::Denied)),
        Event::AccessDenied(_) => Some((Severity::Warning, Outcome::Denied)),
        Event::InferenceAdmitted(_)
        | Event::InferenceCompleted(_)
        | Event::InferenceFailed(_)
        | Event::InferenceAborted(_)
        | Event::InferenceAttemptFailed(_)
        | Event::BudgetReserved(_)
        | Event::BudgetSettled(_)
        | Event::BudgetReleased(_)
        | Event::BudgetExpired(_)
        | Event::BudgetAdjusted(_)
        | Event::BudgetThresholdReached(_) => None,
    }
}

fn insert(db: &Connection, recorded: &Recorded, severity: Severity, outcome: Outcome) -> Result<(), ProjectionError> {
    let (kind, id) = resource(recorded);
    db.prepare_cached(INSERT)?.execute(params![
        recorded.position,
        rfc3339(recorded.recorded_at),
        recorded.context.actor.to_string(),
        recorded.event.name(),
        format!("{kind}/{id}"),
        id,
        severity.as_str(),
        outcome.as_str(),
        recorded.context.request_id.map(|id| id.to_string()),
        recorded.context.partner_id.map(|id| id.to_string()),
        recorded.context.tenant_id.map(|id| id.to_string()),
        recorded.event.payload()?,
    ])?;
    Ok(())
}

/// Kind and id of what an event is about: its stream; for those turned away the key that they used.
fn resource(recorded: &Recorded) -> (&'static str, String) {
    match (&recorded.event, recorded.context.key_id) {
        (Event::AccessDenied(_) | Event::AccessRateLimited(_), Some(key)) => ("key", key.to_string()),
        _ => (recorded.stream.kind.as_str(), recorded.stream.id.clone()),
    }
}
