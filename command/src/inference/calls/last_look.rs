//! The look before each call of a request at what may have changed since it was planned: its rights, the terms that are required and
//! those that are stated, and maintenance. A request may have waited for its hold, for a target with room, or for one that failed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use dialects::ClientRequest;
use events::event::admin::Target;
use events::ids::TenantId;
use events::refusal::Refusal;
use events::routing::left_out::Maintenance;
use events::routing::{LeftOut, PassedOverFor, RouteQuestion, TargetInputs};
use events::terms::{Requirements, StatedTerms};
use projections::caller::Caller;
use projections::tables::Tables;

use crate::inference::authorized::{authorize, not_current, require_live_tenant};
use crate::inference::node::gateway::{Gateway, TABLES_WAIT_MAX};
use crate::inference::planned::plan::{Plan, not_allowed, terms_not_met, under_maintenance};
use crate::inference::targets::target::PlannedTarget;

/// Why a target is not called.
pub enum NotToBeCalled {
    /// Others may be called; the refusal is for the case that none is.
    PassedOver(PassedOverFor, Box<Refusal>),
    /// The request may not be sent to any target any more.
    NoLongerAllowed(Refusal),
}

/// The starting point for the looks of one request.
#[derive(Clone)]
pub struct LastLook {
    caller: Arc<Caller>,
    /// The log position of the tables that caller and plan come from.
    planned_at: u64,
    /// The tenant whose conversation it is: its terms bind the request, and it must not have ended.
    terms_of: Option<TenantId>,
    is_first: bool,
}

impl LastLook {
    pub const fn since(caller: Arc<Caller>, planned_at: u64, terms_of: Option<TenantId>) -> Self {
        Self { caller, planned_at, terms_of, is_first: true }
    }

    /// Looks before a call to the target. `has_waited`: for a target with room.
    pub async fn before_call(
        &mut self,
        gateway: &Gateway,
        request: &ClientRequest,
        plan: &Plan,
        target: &PlannedTarget,
        has_waited: bool,
    ) -> Result<(), NotToBeCalled> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        // Nearly all requests: just planned, and nothing has changed.
        if is_first && !has_waited && !plan.is_near_maintenance && gateway.tables.are_current(self.planned_at) {
            return Ok(());
        }
        if !gateway.tables.catch_up(TABLES_WAIT_MAX).await {
            return Err(NotToBeCalled::NoLongerAllowed(not_current()));
        }
        let tables = gateway.tables.load();
        let model = &request.facts.model;
        let caller = authorize(&tables, &self.caller, request.facts.directives.strategy, gateway.clock.now())
            .map_err(NotToBeCalled::NoLongerAllowed)?;
        // Of a copy, it may be another one than the caller's.
        require_live_tenant(&tables, self.terms_of).map_err(NotToBeCalled::NoLongerAllowed)?;
        if !caller.may_use_model(&tables, model) {
            return Err(NotToBeCalled::NoLongerAllowed(not_allowed(model)));
        }
        let required = Requirements {
            tenant: tables.required_terms(self.terms_of),
            request: &request.facts.directives.required_terms,
        };
        must_serve(&tables, plan, target, required, model, gateway.now())
    }
}

/// Errors: the target, or its provider, is under maintenance now, or is not stated now to meet what is required of it now.
fn must_serve(
    tables: &Tables,
    plan: &Plan,
    target: &PlannedTarget,
    required: Requirements<'_>,
    requested: &str,
    now: DateTime<Utc>,
) -> Result<(), NotToBeCalled> {
    let backend = &target.backend;
    let model = tables.model(plan.model_id()).filter(|model| model.is_live()).map(|entry| &*entry.value);
    let is_it = |row: &&Target| row.provider_id == backend.provider_id && row.model == backend.model;
    let row = model.and_then(|model| Some((model, model.targets.iter().find(is_it)?)));
    let provider = tables.provider(backend.provider_id).map_or(&target.provider, |entry| &entry.value);
    // A model that is gone, or no longer has the target, states nothing of it.
    let gone = Target::new(backend.provider_id, &*backend.model);
    let stated = row.filter(|_| !required.are_none());
    let inputs = TargetInputs::known_by(
        row.map_or(&gone, |(_, row)| row),
        &provider.maintenance,
        target.tariff(),
        stated.map_or(&StatedTerms::NONE, |(model, row)| tables.stated_terms(model, row, provider).terms),
    );
    let (why, refusal) = match LeftOut::judge(&RouteQuestion::of_none(now, required), &inputs) {
        Some(LeftOut::Maintenance(Maintenance { until })) => {
            (PassedOverFor::Maintenance, under_maintenance(requested, until, now))
        }
        Some(LeftOut::TermNotMet(_)) => (PassedOverFor::TermsNotMet, terms_not_met(required, inputs.terms, requested)),
        None => return Ok(()),
        // The inputs above have nothing that these judge by.
        Some(
            LeftOut::NotInRule(_)
            | LeftOut::NoProvider(_)
            | LeftOut::NoPrice(_)
            | LeftOut::KindUnknown(_)
            | LeftOut::NoSuchApi(_)
            | LeftOut::ForAnotherApi(_)
            | LeftOut::FieldNotAllowed(_)
            | LeftOut::ContextUnknown(_)
            | LeftOut::CapAbove(_)
            | LeftOut::AbilityLacked(_)
            | LeftOut::ContextWindow(_)
            | LeftOut::BreakerOpen(_),
        ) => return Ok(()),
    };
    Err(NotToBeCalled::PassedOver(why, Box::new(refusal)))
}
