//! Asking the ledger to hold the money for a request: once, or a second time if a tokenizer shows that the request needs
//! less than its byte count suggests (ADR-0006).

use std::collections::BTreeMap;

use access_control::limits::LimitRefusal;
use dialects::ClientRequest;
use events::event::inference::InferenceAdmitted;
use events::event::{Context, TeamVersions};
use events::hex;
use events::ids::RequestId;
use events::ledger::{
    Admission, AdmissionBounds, BINDING_BUDGETS_MAX, BrokeredBound, HoldShare, IfShort, SharedScopes,
};
use events::refusal::Refusal;
use events_log::{Admitted, InferenceKey, LogError, OpenHold};
use projections::caller::Caller;
use ring::digest::Digest;
use serde_json::Value;
use tokio::time::Instant;

use super::ledger_failure::{not_admitted, not_read};
use crate::idempotency::{fingerprint, fingerprint_key};
use crate::inference::node::content::RequestContent;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::bound::BrokeredTargets;
use crate::inference::planned::plan::Plan;
use crate::tokens;

/// A request that asks for its hold.
pub struct AdmissionRequest<'a> {
    pub id: RequestId,
    pub context: Context,
    pub caller: &'a Caller,
    /// The teams of its user in its tenant, as it was planned.
    pub teams: &'a TeamVersions,
    pub request: &'a ClientRequest,
    pub body_sha256: Digest,
    /// The content that is kept of the request.
    pub content: &'a RequestContent,
    pub prompt_digest: Option<String>,
    /// The client's `Idempotency-Key`, which identifies the request when it is sent again.
    pub idempotency_key: Option<&'a str>,
    /// The log position of the tables that caller and plan come from.
    pub planned_at: u64,
    /// Until then, the plan counts although it may be stale; `None` if it never does.
    pub stands_until: Option<Instant>,
    /// The owners whose budgets it shares with others, by these tables.
    pub shared: SharedScopes,
    /// Whether its user is one of another tenant.
    pub is_guest: bool,
    /// The tokens that it counts against limits that nodes share.
    pub rate_limited_tokens: Option<u64>,
    /// The request that it is a copy of.
    pub shadow_of: Option<RequestId>,
}

/// Why a request has no hold.
pub enum NotAdmitted {
    /// The state that the plan depends on may have changed at this position: plan again.
    Stale {
        changed_at: u64,
    },
    Refused(Refusal),
}

pub async fn ask_for_hold(
    gateway: &Gateway,
    admission_request: AdmissionRequest<'_>,
    plan: &mut Plan,
) -> Result<OpenHold, NotAdmitted> {
    let request = admission_request.request;
    let failed = |error: LogError| NotAdmitted::Refused(not_admitted(&admission_request.id.to_string(), &error));
    let mut tokenizers = plan.tokenizers();
    let key = match admission_request.idempotency_key {
        Some(key) => Box::pin(admission_request.key(gateway, key)).await.map_err(NotAdmitted::Refused)?,
        None => None,
    };
    // Twice at most: the second attempt has no tokenizers left, so it does not ask again.
    loop {
        let if_short = match plan.shrinking(request) {
            _ if !tokenizers.is_empty() => IfShort::AskAgain,
            Some(shrinking) => IfShort::Shrink(shrinking),
            None => IfShort::Refuse,
        };
        let body_sha256 = hex::lower(admission_request.body_sha256.as_ref());
        let admission = admission_request.admission(gateway, body_sha256, plan, if_short);
        match gateway.log.admit(admission, key.clone()).await.map_err(failed)? {
            Admitted::Hold(hold) => return Ok(hold),
            Admitted::Stale { changed_at } => return Err(NotAdmitted::Stale { changed_at }),
            Admitted::Refused(refusal) => return Err(NotAdmitted::Refused(with_affordable_cap(refusal, request))),
            // Some money is left, but too little for the byte count: counting the tokens may show that it is enough.
            Admitted::Short => {
                let tokenizers = std::mem::take(&mut tokenizers);
                let tenant = admission_request.caller.chain.tenant;
                if let Some(savings) = tokens::savings(tenant, request.body().clone(), tokenizers).await {
                    plan.tighten(request, &savings);
                }
            }
        }
    }
}

/// The position since when no change may concern the plan.
fn checked_since(planned_at: u64, stands_until: Option<Instant>, now: Instant) -> u64 {
    if stands_until.is_some_and(|until| now < until) { u64::MAX } else { planned_at }
}

/// Adds the output cap that fits to the refusal of a request that exceeds the whole of a limit of tokens.
pub fn with_fitting_cap(refusal: Refusal, refused: &LimitRefusal, plan: &Plan, request: &ClientRequest) -> Refusal {
    let excess = match refused {
        LimitRefusal::RateLimited(limited) => limited.excess_tokens(),
        LimitRefusal::Unavailable(_) | LimitRefusal::TooMany => None,
    };
    match excess.and_then(|excess| plan.cap_with_fewer_tokens(request, excess)) {
        Some(cap) => with_affordable_cap(refusal.with("affordable_max_output_tokens", cap), request),
        None => refusal,
    }
}

/// Adds the affordable cap to the message, under the client's own name for the field: many programs show the message alone.
fn with_affordable_cap(mut refusal: Refusal, request: &ClientRequest) -> Refusal {
    let affordable = refusal.details.get("affordable_max_output_tokens").and_then(Value::as_u64);
    if let (Some(requested), Some(cap)) = (request.facts.output_cap, affordable) {
        refusal.message.push_str(&format!("; with a {} of {cap} or less it would fit", requested.field));
    }
    refusal
}

impl AdmissionRequest<'_> {
    /// The idempotency key, with a fingerprint of the surface, of the headers that go on to providers, of the terms and the
    /// strategy that it asks for, and of the body: equal fingerprints are equal requests of one user.
    async fn key(&self, gateway: &Gateway, key: &str) -> Result<Option<InferenceKey>, Refusal> {
        let Some(tenant) = self.context.tenant_id else { return Ok(None) };
        let secret = fingerprint_key(&gateway.log, &gateway.admission.key_check, self.caller.chain).await;
        let secret = secret.map_err(|error| not_read(&self.id.to_string(), &error))?;
        let mut parts = vec!["inference", self.request.surface().spec().name];
        for (name, value) in self.request.forwarded_headers() {
            parts.extend([name.as_str(), value.to_str().unwrap_or_default()]);
        }
        let terms = &self.request.facts.directives.required_terms;
        let terms = if terms.is_empty() { None } else { serde_json::to_string(terms).ok() };
        parts.extend(terms.iter().flat_map(|terms| ["terms", terms.as_str()]));
        parts.extend(
            self.request.facts.directives.strategy.into_iter().flat_map(|strategy| ["strategy", strategy.as_str()]),
        );
        let body_sha256 = hex::lower(self.body_sha256.as_ref());
        let fingerprint = fingerprint(&secret, &parts, body_sha256.as_bytes());
        Ok(Some(InferenceKey { tenant, key: key.to_owned(), fingerprint }))
    }

    fn admission(&self, gateway: &Gateway, body_sha256: String, plan: &Plan, if_short: IfShort) -> Admission {
        let request = self.request;
        let admitted = InferenceAdmitted {
            model: request.facts.model.clone(),
            dialect: request.surface().spec().name.to_owned(),
            streamed: request.facts.streamed,
            max_output_tokens: plan.output_tokens_max(),
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: Some(plan.output_tokens_beyond_cap).filter(|tokens| *tokens > 0),
            input_tokens_bound: plan.bound.input_tokens,
            body_sha256: match self.content {
                RequestContent::Nothing | RequestContent::Sealed(_) => String::new(),
                RequestContent::Digests(_) => body_sha256,
            },
            prompt_digest: self.prompt_digest.clone(),
            content_policy: self.content.policy(),
            metadata: request.facts.directives.metadata.clone(),
            versions: plan.versions(self.caller.key_version, self.teams),
            would_have_refused: Vec::new(),
            rate_limited_tokens: self.rate_limited_tokens,
            hedge_after_ms: plan.hedge_after_ms(),
            route: plan.route.recorded(self.content.salt()),
            shadow_of: self.shadow_of,
            hold_shares: BTreeMap::new(),
        };
        Admission {
            request_id: self.id,
            context: self.context.clone(),
            planned_at: checked_since(self.planned_at, self.stands_until, Instant::now()),
            held: plan.bound.held,
            brokered: plan.bound.brokered.map(|BrokeredTargets { held, line, .. }| BrokeredBound {
                held,
                line,
                is_guest: self.is_guest,
            }),
            ttl: gateway.log.hold_ttl(),
            if_short,
            bounds: AdmissionBounds {
                budgets_max: BINDING_BUDGETS_MAX,
                share: Some(HoldShare::OfShared { fraction: gateway.admission.hold_share, shared: self.shared }),
            },
            admitted: Box::new(admitted),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_plan_counts_for_a_while_and_is_then_checked_as_any_other() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        assert_eq!(checked_since(7, None, now), 7);
        assert_eq!(checked_since(7, Some(later), now), u64::MAX);
        assert_eq!(checked_since(7, Some(later), later), 7);
    }
}
