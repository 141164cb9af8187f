//! The terms: what the tenant required when the request was admitted, and what was stated of its targets.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use events::decision_time::may_have_known;
use events::event::admin::{Model, Provider, Target, Tenant};
use events::event::inference::InferenceAdmitted;
use events::event::{Event, Recorded, Resource, Stream, StreamKind};
use events::ids::ProviderId;
use events::terms::{AdmittedTerms, AgreedTerms, RequiredTerms, StatedTerms};
use serde_json::json;

use super::in_force::was_in_force;
use super::verdict::Verdict;
use crate::{LogError, Reader};

/// Evidence about the terms of a request.
#[derive(Default)]
pub(super) struct TermsEvidence {
    /// The versions of the tenant, each since when, in order.
    of_tenant: Vec<(DateTime<Utc>, Tenant)>,
    /// The versions of models that are named for stating the terms of targets.
    stating: Vec<Recorded>,
    /// Those of them that had been replaced, or had ended, when the request was planned.
    out_of_force: Vec<u64>,
    /// The providers of the model that belong to a tenant.
    tenants_own: HashSet<ProviderId>,
}

impl TermsEvidence {
    pub(super) fn read(
        reader: &dyn Reader,
        recorded: &Recorded,
        admitted: &InferenceAdmitted,
        model: Option<&Model>,
    ) -> Result<Self, LogError> {
        let mut evidence = Self::default();
        if let Some(tenant) = recorded.context.tenant_id {
            let changes = reader.stream(&Stream::new(StreamKind::Tenant, tenant))?;
            for change in changes.iter().take_while(|change| change.position < recorded.position) {
                if let Event::Resource(Resource::Tenant(of_tenant)) = &change.event
                    && let Some(state) = of_tenant.state()
                {
                    evidence.of_tenant.push((change.recorded_at, state.clone()));
                }
            }
        }
        let Some(terms) = admitted.route.as_ref().and_then(|route| route.terms.as_ref()) else { return Ok(evidence) };
        let named: Vec<u64> = terms.stated_by.values().flatten().copied().collect();
        for stating in reader.at(&named)?.into_values() {
            if !was_in_force(reader, &stating, recorded)? {
                evidence.out_of_force.push(stating.position);
            }
            evidence.stating.push(stating);
        }
        let Some(model) = model.filter(|model| model.tenant_id.is_some()) else { return Ok(evidence) };
        for target in &model.targets {
            let changes = reader.stream(&Stream::new(StreamKind::Provider, target.provider_id))?;
            let owner = changes.iter().find_map(|change| change.event.state::<Provider>()?.tenant_id);
            if owner.is_some() {
                evidence.tenants_own.insert(target.provider_id);
            }
        }
        Ok(evidence)
    }

    /// The versions of models that the admission names for stating the terms of its targets.
    pub(super) fn stating(&self) -> impl Iterator<Item = &Recorded> {
        self.stating.iter()
    }

    /// Whether the tenant had these settings when the request was planned.
    pub(super) fn tenant_had(&self, admitted_at: DateTime<Utc>, has: impl Fn(&Tenant) -> bool) -> bool {
        for (since, tenant) in self.of_tenant.iter().rev() {
            if has(tenant) {
                return true;
            }
            if !may_have_known(*since, admitted_at) {
                return false;
            }
        }
        false
    }

    /// The tenant at the time of the admission; `None` if the log has none.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.of_tenant.last().map(|(_, tenant)| tenant)
    }

    /// The terms stated of a target: by the model's row, or by shared models. `None` if the log has no such statement.
    pub(super) fn stated(
        &self,
        model: &Model,
        target: &Target,
        admitted: &InferenceAdmitted,
        before: u64,
    ) -> Option<StatedTerms> {
        let is_in_row = model.tenant_id.is_none() || self.tenants_own.contains(&target.provider_id);
        if is_in_row {
            return Some(target.terms.clone());
        }
        let mut stated = Vec::new();
        for version in admitted.route.as_ref()?.terms.as_ref()?.stated_by.get(&target.key())? {
            let recorded = self.stating.iter().find(|recorded| recorded.position == *version && *version < before)?;
            let Event::Resource(Resource::Model(change)) = &recorded.event else { return None };
            let shared = change.state().filter(|model| model.tenant_id.is_none())?;
            let same = |of: &&Target| of.provider_id == target.provider_id && of.model == target.model;
            stated.push((&shared.targets.iter().find(same)?.terms, *version));
        }
        Some(AgreedTerms::of(stated.into_iter()).terms)
    }
}

/// Compares the recorded requirements with those of the tenant, and checks that the versions that state terms were in force.
pub(super) fn check(
    evidence: &TermsEvidence,
    recorded: &Recorded,
    admitted: &InferenceAdmitted,
    verdict: &mut Verdict,
) {
    let position = recorded.position;
    let route = admitted.route.as_deref();
    let nothing = AdmittedTerms::default();
    let terms = route.and_then(|route| route.terms.as_ref()).unwrap_or(&nothing);
    let has_required = match evidence.tenant() {
        Some(_) => evidence.tenant_had(recorded.recorded_at, |tenant| tenant.required_terms == terms.tenant),
        None => terms.tenant.is_empty(),
    };
    if !has_required {
        let required = evidence.tenant().map_or(&RequiredTerms::NONE, |tenant| &tenant.required_terms);
        verdict.differ(position, "route.terms.tenant", json!(terms.tenant), json!(required));
    }
    for version in &evidence.out_of_force {
        verdict.differ(position, "route.terms.stated_by", version, "a version of a model that was in force");
    }
}
