//! `catalogue`: every resource of administration as its last event left it, ended ones too. Reads administration.
//! Rebuild: from the log.

use std::sync::Arc;

use events::event::admin::Scope;
use events::event::{Event, Recorded, StreamKind};
use events::ids::{PartnerId, TenantId, UserId};
use rusqlite::{Connection, params};

use super::View;
use super::projector::{ProjectionError, Projector, must_exist};
use crate::resource::{ResourceState, body_json};

const SCHEMA: &str = include_str!("../../../migrations/sqlite/views/0006_catalogue.sql");
const CREATE: &str = include_str!("catalogue/create.sql");
const CHANGE: &str = include_str!("catalogue/change.sql");
const END: &str = include_str!("catalogue/end.sql");
const TOUCH: &str = include_str!("catalogue/touch.sql");

pub struct Catalogue;

/// What an event does to a row.
enum Step<'a> {
    Create(ResourceState<'a>),
    Change(ResourceState<'a>),
    End(StreamKind, String),
    /// Its state is as it was; only its last event is another.
    Touch(StreamKind, String),
    Nothing,
}

impl Projector for Catalogue {
    fn view(&self) -> View {
        View::Catalogue
    }

    fn version(&self) -> u32 {
        5
    }

    fn schema(&self) -> &'static str {
        SCHEMA
    }

    fn apply(&mut self, db: &Connection, events: &[Arc<Recorded>]) -> Result<(), ProjectionError> {
        for recorded in events {
            match step(&recorded.event) {
                Step::Create(state) => create(db, recorded, state)?,
                Step::Change(state) => change(db, recorded, state)?,
                Step::End(kind, id) => end(db, recorded, kind, &id)?,
                Step::Touch(kind, id) => touch(db, recorded, kind, &id)?,
                Step::Nothing => {}
            }
        }
        Ok(())
    }
}

fn step(event: &Event) -> Step<'_> {
    match event {
        Event::PartnerCreated(partner) => Step::Create(ResourceState::Partner(partner)),
        Event::PartnerChanged(partner) => Step::Change(ResourceState::Partner(partner)),
        Event::PartnerEnded(ended) => Step::End(StreamKind::Partner, ended.id.to_string()),
        Event::TenantCreated(tenant) => Step::Create(ResourceState::Tenant(tenant)),
        Event::TenantChanged(tenant) => Step::Change(ResourceState::Tenant(tenant)),
        Event::TenantEnded(ended) => Step::End(StreamKind::Tenant, ended.id.to_string()),
        Event::UserCreated(user) => Step::Create(ResourceState::User(user)),
        Event::UserChanged(user) => Step::Change(ResourceState::User(user)),
        Event::UserEnded(ended) => Step::End(StreamKind::User, ended.id.to_string()),
        Event::KeyCreated(key) => Step::Create(ResourceState::Key(key)),
        Event::KeyChanged(key) => Step::Change(ResourceState::Key(key)),
        Event::KeyRotated(rotated) => Step::Touch(StreamKind::Key, rotated.key_id.to_string()),
        Event::KeyRevoked(ended) => Step::End(StreamKind::Key, ended.id.to_string()),
        Event::ProviderCreated(provider) => Step::Create(ResourceState::Provider(provider)),
        Event::ProviderChanged(provider) => Step::Change(ResourceState::Provider(provider)),
        Event::ProviderEnded(ended) => Step::End(StreamKind::Provider, ended.id.to_string()),
        Event::ModelCreated(model) => Step::Create(ResourceState::Model(model)),
        Event::ModelChanged(model) => Step::Change(ResourceState::Model(model)),
        Event::ModelEnded(ended) => Step::End(StreamKind::Model, ended.id.to_string()),
        Event::PriceCreated(price) => Step::Create(ResourceState::Price(price)),
        Event::PriceChanged(price) => Step::Change(ResourceState::Price(price)),
        Event::PriceEnded(ended) => Step::End(StreamKind::Price, ended.id.to_string()),
        Event::BudgetOpened(budget) => Step::Create(ResourceState::Budget(budget)),
        Event::BudgetChanged(budget) => Step::Change(ResourceState::Budget(budget)),
        Event::BudgetClosed(ended) => Step::End(StreamKind::Budget, ended.id.to_string()),
        Event::RateLimitCreated(limit) => Step::Create(ResourceState::RateLimit(limit)),
        Event::RateLimitChanged(limit) => Step::Change(ResourceState::RateLimit(limit)),
        Event::RateLimitEnded(ended) => Step::End(StreamKind::RateLimit, ended.id.to_string()),
        Event::InferenceAdmitted(_)
        | Event::InferenceRefused(_)
        | Event::InferenceCompleted(_)
        | Event::InferenceFailed(_)
        | Event::InferenceAborted(_)
        | Event::InferenceAttemptFailed(_)
        | Event::BudgetReserved(_)
        | Event::BudgetSettled(_)
        | Event::BudgetReleased(_)
        | Event::BudgetExpired(_)
        | Event::BudgetAdjusted(_)
        | Event::NodeKeyReplaced(_)
        | Event::AccessDenied(_)
        | Event::AccessRateLimited(_)
        | Event::BudgetThresholdReached(_) => Step::Nothing,
    }
}

/// What a resource's columns take from its state.
struct Columns<'a> {
    kind: StreamKind,
    id: String,
    partner: Option<PartnerId>,
    tenant: Option<TenantId>,
    user: Option<UserId>,
    name: Option<&'a str>,
}

/// Owners are what the state says, and above it what the event was about.
fn columns<'a>(state: ResourceState<'a>, recorded: &Recorded) -> Columns<'a> {
    let context = &recorded.context;
    let owned = |kind, id: String, name: Option<&'a str>| Columns {
        kind,
        id,
        partner: context.partner_id,
        tenant: context.tenant_id,
        user: None,
        name,
    };
    match state {
        ResourceState::Partner(partner) => Columns {
            partner: Some(partner.partner_id),
            tenant: None,
            ..owned(StreamKind::Partner, partner.partner_id.to_string(), Some(&partner.name))
        },
        ResourceState::Tenant(tenant) => Columns {
            partner: Some(tenant.partner_id),
            tenant: Some(tenant.tenant_id),
            ..owned(StreamKind::Tenant, tenant.tenant_id.to_string(), Some(&tenant.name))
        },
        ResourceState::User(user) => Columns {
            tenant: Some(user.tenant_id),
            user: Some(user.user_id),
            ..owned(StreamKind::User, user.user_id.to_string(), None)
        },
        ResourceState::Key(key) => {
            Columns { user: Some(key.user_id), ..owned(StreamKind::Key, key.key_id.to_string(), Some(&key.name)) }
        }
        ResourceState::Provider(provider) => Columns {
            tenant: provider.tenant_id,
            ..owned(StreamKind::Provider, provider.provider_id.to_string(), Some(&provider.name))
        },
        ResourceState::Model(model) => Columns {
            tenant: model.tenant_id,
            ..owned(StreamKind::Model, model.model_id.to_string(), Some(&model.name))
        },
        ResourceState::Price(price) => owned(StreamKind::Price, price.price_id.to_string(), Some(&price.model)),
        ResourceState::Budget(budget) => {
            scoped(budget.scope, owned(StreamKind::Budget, budget.budget_id.to_string(), None))
        }
        ResourceState::RateLimit(limit) => {
            scoped(limit.scope, owned(StreamKind::RateLimit, limit.limit_id.to_string(), None))
        }
    }
}

fn scoped(scope: Scope, columns: Columns<'_>) -> Columns<'_> {
    match scope {
        Scope::Partner(id) => Columns { partner: Some(id), tenant: None, ..columns },
        Scope::Tenant(id) => Columns { tenant: Some(id), ..columns },
        Scope::User(id) => Columns { user: Some(id), ..columns },
        Scope::Key(_) => columns,
    }
}

fn create(db: &Connection, recorded: &Recorded, state: ResourceState<'_>) -> Result<(), ProjectionError> {
    let columns = columns(state, recorded);
    db.prepare_cached(CREATE)?.execute(params![
        columns.kind.as_str(),
        columns.id,
        columns.partner.map(|id| id.to_string()),
        columns.tenant.map(|id| id.to_string()),
        columns.user.map(|id| id.to_string()),
        columns.name,
        body_json(state).to_string(),
        recorded.position,
        recorded.recorded_at.timestamp_micros(),
    ])?;
    Ok(())
}

fn change(db: &Connection, recorded: &Recorded, state: ResourceState<'_>) -> Result<(), ProjectionError> {
    let columns = columns(state, recorded);
    let rows = db.prepare_cached(CHANGE)?.execute(params![
        columns.kind.as_str(),
        columns.id,
        columns.partner.map(|id| id.to_string()),
        columns.tenant.map(|id| id.to_string()),
        columns.user.map(|id| id.to_string()),
        columns.name,
        body_json(state).to_string(),
        recorded.position,
    ])?;
    must_exist(rows, columns.id)
}

fn end(db: &Connection, recorded: &Recorded, kind: StreamKind, id: &str) -> Result<(), ProjectionError> {
    let ended_at = recorded.recorded_at.timestamp_micros();
    let rows = db.prepare_cached(END)?.execute(params![kind.as_str(), id, ended_at, recorded.position])?;
    must_exist(rows, id)
}

fn touch(db: &Connection, recorded: &Recorded, kind: StreamKind, id: &str) -> Result<(), ProjectionError> {
    let rows = db.prepare_cached(TOUCH)?.execute(params![kind.as_str(), id, recorded.position])?;
    must_exist(rows, id)
}
