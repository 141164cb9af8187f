//! `audit`: who changed what, who was refused, and who read what. Reads administration, `access.*`, `admin.rejected` and
//! `inference.refused`. Rebuild: from the log.
//!
//! The severity of an entry: `info` for reads and ordinary changes; `notice` for changes of access or money or of what auditors look
//! for, for deletions and for refusals; `warning` for bad keys and missing permissions, and for keys that a provider does not accept. Its category is
//! what it is about, whatever its severity.

use std::sync::Arc;

use events::event::admin::Price;
use events::event::{Access, Actor, Change, Event, Inference, Recorded, Resource, ResourceState};
use events::named;
use events::time::rfc3339;
use rusqlite::{Connection, params};

use crate::views::View;
use crate::views::projector::{ProjectionError, Projector};

const SCHEMA: &str = include_str!("../../../../migrations/sqlite/views/0005_audit.sql");
const INSERT: &str = include_str!("insert.sql");

pub struct Audit;

named! {
    /// The subject of an entry.
    pub enum Category {
        /// Resources that decide who may do what, and by which providers and models.
        Administration = "administration",
        /// Callers that were refused at the door, and how rate limits are counted.
        Access = "access",
        /// Prices and budgets.
        Money = "money",
        /// Requests to models that were refused.
        Inference = "inference",
        /// Reads of what is recorded, the audit included.
        Reads = "reads",
    }
}

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
        3
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            if let Some(class) = classify(&recorded.event) {
                insert(db, recorded, class)?;
            }
        }
        Ok(())
    }
}

/// How an entry is classified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub(super) category: Category,
    pub(super) severity: Severity,
    pub(super) outcome: Outcome,
}

impl Class {
    const fn new(category: Category, severity: Severity, outcome: Outcome) -> Self {
        Self { category, severity, outcome }
    }
}

/// The class of an event; `None` if it is not audited: traffic is in `inferences`, its money in `budgets`.
pub(super) const fn classify(event: &Event) -> Option<Class> {
    use Outcome::{Denied, Success};
    use Severity::{Info, Notice, Warning};
    Some(match event {
        Event::Resource(change) => Class::new(category(change), severity(change), Success),
        Event::Inference(Inference::Refused(_)) => Class::new(Category::Inference, Notice, Denied),
        Event::Access(Access::Rejected(_)) => Class::new(Category::Administration, Notice, Denied),
        Event::Access(Access::Read(_)) => Class::new(Category::Reads, Info, Success),
        Event::Access(Access::RateLimited(_)) => Class::new(Category::Access, Notice, Denied),
        Event::Access(Access::Denied(_)) => Class::new(Category::Access, Warning, Denied),
        Event::Access(Access::LimitsLocal(_)) => Class::new(Category::Access, Warning, Success),
        Event::Access(Access::LimitsShared(_)) => Class::new(Category::Access, Notice, Success),
        Event::Inference(
            Inference::Admitted(_)
            | Inference::Completed(_)
            | Inference::Failed(_)
            | Inference::Aborted(_)
            | Inference::AttemptFailed(_),
        )
        | Event::Hold(_)
        | Event::Alert(_) => return None,
    })
}

/// The category of an administrative change.
const fn category(change: &Resource) -> Category {
    match change {
        Resource::Price(_) | Resource::PriceRevalued(_) | Resource::Budget(_) => Category::Money,
        Resource::Partner(_)
        | Resource::Tenant(_)
        | Resource::User(_)
        | Resource::Team(_)
        | Resource::UserErased(_)
        | Resource::Key(_)
        | Resource::KeyRotated(_)
        | Resource::Provider(_)
        | Resource::BreakerOpened(_)
        | Resource::BreakerClosed(_)
        | Resource::ProviderKey(_)
        | Resource::ProviderKeySetAside(_)
        | Resource::ProviderKeyRestored(_)
        | Resource::Model(_)
        | Resource::RateLimit(_)
        | Resource::AuditSearch(_)
        | Resource::NodeKeyReplaced(_)
        | Resource::LogKeyCreated(_)
        | Resource::CatalogueImported(_)
        | Resource::PublishedLogRepaired(_) => Category::Administration,
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
        | Resource::Team(_)
        | Resource::Key(_)
        | Resource::KeyRotated(_)
        | Resource::Provider(_)
        | Resource::BreakerClosed(_)
        | Resource::ProviderKey(_)
        | Resource::ProviderKeyRestored(_)
        | Resource::Price(_)
        | Resource::Budget(_)
        | Resource::AuditSearch(_)
        | Resource::NodeKeyReplaced(_)
        | Resource::LogKeyCreated(_)
        | Resource::PriceRevalued(_)
        | Resource::CatalogueImported(_) => Severity::Notice,
        Resource::UserErased(_)
        | Resource::BreakerOpened(_)
        | Resource::ProviderKeySetAside(_)
        | Resource::PublishedLogRepaired(_) => Severity::Warning,
    }
}

fn insert(db: &Connection, recorded: &Recorded, class: Class) -> Result<(), ProjectionError> {
    let (category, severity, outcome) = (class.category.as_str(), class.severity.as_str(), class.outcome.as_str());
    let (kind, id) = resource(recorded);
    let Recorded { position, context, event, .. } = recorded;
    let (at, actor) = (rfc3339(recorded.recorded_at), context.actor.to_string());
    let (name, resource, payload) = (event.name(), format!("{kind}/{id}"), event.payload()?);
    let request = context.request_id.map(|id| id.to_string());
    let [partner, tenant, _, _] = context.chain().texts();
    db.prepare_cached(INSERT)?.execute(params![
        position, at, actor, name, resource, id, category, severity, outcome, request, partner, tenant, payload,
    ])?;
    Ok(())
}

/// Kind and id of the resource that an event concerns: its stream; for `access.*` the key that did it; for a rejected change
/// the resource that it was to change, or the key if there is none; or the price whose change is complete.
pub(super) fn resource(recorded: &Recorded) -> (&'static str, String) {
    if let Event::Access(Access::Rejected(rejected)) = &recorded.event
        && let Some(id) = &rejected.resource_id
    {
        return (rejected.resource.as_str(), id.clone());
    }
    let key = match recorded.context.actor {
        Actor::Key(key) => Some(key),
        Actor::Operator | Actor::System(_) | Actor::Other(_) => recorded.context.key_id,
    };
    match (&recorded.event, key) {
        (Event::Resource(Resource::PriceRevalued(of)), _) => (Price::KIND.as_str(), of.price_id.to_string()),
        (Event::Access(_), Some(key)) => ("key", key.to_string()),
        _ => (recorded.stream.kind.as_str(), recorded.stream.id.clone()),
    }
}
