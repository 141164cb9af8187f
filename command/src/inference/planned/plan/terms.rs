//! The terms of a plan: what is required of its targets, what the admission records of that, and the refusal if no target meets it.

use std::collections::BTreeMap;

use events::event::admin::Model;
use events::refusal::{ErrorCode, Refusal};
use events::terms::{AdmittedTerms, RequiredBy, Requirements, StatedTerms, Term};
use projections::tables::{KnownTarget, Tables};

/// Returns the terms recorded with an admission for targets that the request can be sent to; `None` if nothing is
/// required.
pub fn admitted<'a>(
    tables: &Tables,
    model: &Model,
    required: Requirements<'_>,
    tried: impl Iterator<Item = &'a KnownTarget<'a>>,
) -> Option<AdmittedTerms> {
    if required.are_none() {
        return None;
    }
    let stated_by = tried.filter_map(|KnownTarget { offer, inputs }| {
        let target = inputs.target;
        let found = tables.stated_terms(model, target, (*offer)?.provider);
        let is_elsewhere = !found.stated_by.is_empty();
        is_elsewhere.then(|| (target.key(), found.stated_by.to_vec()))
    });
    let stated_by: BTreeMap<_, _> = stated_by.collect();
    Some(AdmittedTerms { tenant: required.tenant.clone(), request: required.request.clone(), stated_by })
}

/// The refusal of a request for a target of which this is stated.
pub fn refusal(required: Requirements<'_>, stated: &StatedTerms, requested: &str) -> Refusal {
    let regions = required.contradicting_regions();
    let (term, by) = match required.unmet_by(stated) {
        Some(unmet @ (Term::Residency, _)) => unmet,
        // No region is within both, which comes before other terms. The tenant's own region is met, or it would be the first unmet term.
        Some(_) if regions.is_some() => (Term::Residency, RequiredBy::Request),
        unmet => unmet.unwrap_or((Term::Residency, RequiredBy::Tenant)),
    };
    let value = required.of(by).required_of(term);
    let shown = Model::bounded_name(requested);
    let shown_value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let unmet = match regions {
        Some((of_tenant, of_request)) => format!(
            "the tenant requires residency {of_tenant} and the request residency {of_request}, and no region is within both"
        ),
        None => format!(
            "the {by} requires {term} {shown_value}, and no target of {shown} that could serve the request is stated to meet that and \
             what else is required"
        ),
    };
    let message = format!("{unmet}: nothing was sent to a provider");
    Refusal::new(ErrorCode::TermsNotMet, message)
        .with("model", shown)
        .with("term", term.as_str())
        .with("required", value)
        .with("required_by", by.as_str())
}
