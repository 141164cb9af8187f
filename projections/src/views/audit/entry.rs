//! An entry of the audit, as the view has it and as an event gives it.

use chrono::{DateTime, Utc};
use events::event::Recorded;
use events::ids::RequestId;
use serde_json::Value;

use super::projector::{classify, resource};

/// An entry of the audit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuditEntry {
    pub position: u64,
    pub recorded_at: DateTime<Utc>,
    pub actor: String,
    pub action: String,
    pub resource: String,
    pub category: String,
    pub severity: String,
    pub outcome: String,
    pub request_id: Option<RequestId>,
    pub changes: Value,
    pub partner_id: Option<String>,
    pub tenant_id: Option<String>,
}

impl AuditEntry {
    /// The entry of an event, for those who follow the log instead of reading the view; `None` if the event is not audited.
    ///
    /// Errors: the event cannot be written as JSON.
    pub fn of(recorded: &Recorded) -> Result<Option<Self>, serde_json::Error> {
        let Some(class) = classify(&recorded.event) else { return Ok(None) };
        let (kind, id) = resource(recorded);
        Ok(Some(Self {
            position: recorded.position,
            recorded_at: recorded.recorded_at,
            actor: recorded.context.actor.to_string(),
            action: recorded.event.name().to_owned(),
            resource: format!("{kind}/{id}"),
            category: class.category.as_str().to_owned(),
            severity: class.severity.as_str().to_owned(),
            outcome: class.outcome.as_str().to_owned(),
            request_id: recorded.context.request_id,
            changes: serde_json::from_str(&recorded.event.payload()?)?,
            partner_id: recorded.context.partner_id.map(|id| id.to_string()),
            tenant_id: recorded.context.tenant_id.map(|id| id.to_string()),
        }))
    }
}
