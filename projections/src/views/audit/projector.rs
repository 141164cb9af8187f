//! `audit`: who changed what, and who was denied access. Reads administration, `access.*` and `inference.refused`.
//! Rebuild: from the log.
//!
//! The severity of an entry: `info` for ordinary changes; `notice` for changes of access or money, for deletions and for
//! refusals; `warning` for bad keys and missing permissions, and for keys that a provider does not accept.

use std::sync::Arc;

use events::event::admin::Price;
use events::event::{Access, Change, Event, Inference, Recorded, Resource, ResourceState};
use events::named;
use events::time::rfc3339;
use rusqlite::{Connection, params};

use crate::views::View;
use crate::views::projector::{ProjectionError, Projector};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0005_audit.sql");
const INSERT: &str = include_str!("insert.sql");

pub struct Audit;

named! {
    /// The severity of an entry.
    pub enum Severity {
        Info = "info",
        Notice = "notice",
        Warning = "warning",
    }
}

named! {
    /// Whether it was done or refused.
    pub enum Outcome {
        Success = "success",
        Denied = "denied",
    }
}

impl Projector for Audit {
    fn view(&self) -> View {
        View::Audit
    }

    fn version(&self) -> u32 {
        2
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            if let Some((severity, outcome)) = classify(&recorded.event) {
                insert(db, recorded, severity, outcome)?;
            }
        }
        Ok(())
    }
}

/// Severity and outcome of an event; `None` if it is not audited: traffic is in `inferences`, its money in `budgets`.
const fn classify(event: &Event) -> Option<(Severity, Outcome)> {
    match event {
        Event::Resource(change) => Some((severity(change), Outcome::Success)),
        Event::Inference(Inference::Refused(_)) | Event::Access(Access::RateLimited(_)) => {
            Some((Severity::Notice, Outcome::Denied))
        }
        Event::Access(Access::Denied(_)) => Some((Severity::Warning, Outcome::Denied)),
        Event::Access(Access::LimitsLocal(_)) => Some((Severity::Warning, Outcome::Success)),
        Event::Access(Access::LimitsShared(_)) => Some((Severity::Notice, Outcome::Success)),
        Event::Inference(
            Inference::Admitted(_)
            | Inference::Completed(_)
            | Inference::Failed(_)
            | Inference::Aborted(_)
            | Inference::AttemptFailed(_),
        )
        | Event::Hold(_)
        | Event::Alert(_) => None,
    }
}

/// The severity of an administrative change.
const fn severity(change: &Resource) -> Severity {
    match change {
        Resource::Partner(Change::Created(_) | Change::Changed(_))
        | Resource::Tenant(Change::Created(_) | Change::Changed(_))
        | Resource::Model(Change::Created(_) | Change::Changed(_))
        | Resource::RateLimit(Change::Created(_) | Change::Changed(_)) => Severity::Info,
        Resource::Partner(Change::Ended(_))
        | Resource::Tenant(Change::Ended(_))
        | Resource::Model(Change::Ended(_))
        | Resource::RateLimit(Change::Ended(_))
        | Resource::User(_)
        | Resource::Key(_)
        | Resource::KeyRotated(_)
        | Resource::Provider(_)
        | Resource::ProviderKey(_)
        | Resource::ProviderKeyRestored(_)
        | Resource::Price(_)
        | Resource::Budget(_)
        | Resource::NodeKeyReplaced(_)
        | Resource::PriceRevalued(_)
        | Resource::CatalogueImported(_) => Severity::Notice,
        Resource::ProviderKeySetAside(_) => Severity::Warning,
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

/// Kind and id of the resource that an event concerns: its stream, the key for denied access, or the price whose change is
/// complete.
fn resource(recorded: &Recorded) -> (&'static str, String) {
    match (&recorded.event, recorded.context.key_id) {
        (Event::Resource(Resource::PriceRevalued(of)), _) => (Price::KIND.as_str(), of.price_id.to_string()),
        (Event::Access(_), Some(key)) => ("key", key.to_string()),
        _ => (recorded.stream.kind.as_str(), recorded.stream.id.clone()),
    }
}
