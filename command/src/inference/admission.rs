//! Asking the ledger to hold the money for a request: once, or a second time if a tokenizer shows that the request needs
//! less than its byte count suggests (ADR-0006).

use dialects::ClientRequest;
use events::event::inference::InferenceAdmitted;
use events::event::{Context, TeamVersions};
use events::hex;
use events::ids::RequestId;
use events::ledger::{Admission, IfShort};
use events::log::{Admitted, InferenceKey, LogError, OpenHold};
use events::refusal::Refusal;
use projections::caller::Caller;
use ring::digest::Digest;
use serde_json::Value;

use super::content::RequestContent;
use super::gateway::Gateway;
use super::ledger_failure::not_admitted;
use super::plan::Plan;
use crate::idempotency::fingerprint;

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

pub async fn admit(
    gateway: &Gateway,
    admission_request: AdmissionRequest<'_>,
    plan: &mut Plan,
) -> Result<OpenHold, NotAdmitted> {
    let request = admission_request.request;
    let failed = |error: LogError| NotAdmitted::Refused(not_admitted(&admission_request.id.to_string(), &error));
    let mut tokenizers = plan.tokenizers();
    // Twice at most: the second attempt has no tokenizers left, so it does not ask again.
    loop {
        let if_short = match plan.shrinking(request) {
            _ if !tokenizers.is_empty() => IfShort::AskAgain,
            Some(shrinking) => IfShort::Shrink(shrinking),
            None => IfShort::Refuse,
        };
        let body_sha256 = hex::lower(admission_request.body_sha256.as_ref());
        let key = admission_request.key(&body_sha256);
        let admission = admission_request.admission(gateway, body_sha256, plan, if_short);
        match gateway.log.admit(admission, key).await.map_err(failed)? {
            Admitted::Hold(hold) => return Ok(hold),
            Admitted::Stale { changed_at } => return Err(NotAdmitted::Stale { changed_at }),
            Admitted::Refused(refusal) => return Err(NotAdmitted::Refused(with_affordable_cap(refusal, request))),
            // Some money is left, but too little for the byte count: counting the tokens may show that it is enough.
            Admitted::Short => {
                let tokenizers = std::mem::take(&mut tokenizers);
                if let Some(savings) = gateway.tokens.savings(request.body().clone(), tokenizers).await {
                    plan.tighten(request, &savings);
                }
            }
        }
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
    /// strategy that it asks for, and of the body: equal fingerprints are equal requests.
    fn key(&self, body_sha256: &str) -> Option<InferenceKey> {
        let (tenant, key) = (self.context.tenant_id?, self.idempotency_key?.to_owned());
        let mut parts = vec!["inference", self.request.surface().spec().name];
        for (name, value) in self.request.forwarded_headers() {
            parts.extend([name.as_str(), value.to_str().unwrap_or_default()]);
        }
        let terms = &self.request.facts.required_terms;
        let terms = if terms.is_empty() { None } else { serde_json::to_string(terms).ok() };
        parts.extend(terms.iter().flat_map(|terms| ["terms", terms.as_str()]));
        parts.extend(
            self.request.facts.requested_strategy.into_iter().flat_map(|strategy| ["strategy", strategy.as_str()]),
        );
        let fingerprint = fingerprint(&parts, body_sha256.as_bytes());
        Some(InferenceKey { tenant, key, fingerprint })
    }

    fn admission(&self, gateway: &Gateway, body_sha256: String, plan: &Plan, if_short: IfShort) -> Admission {
        let request = self.request;
        let admitted = InferenceAdmitted {
            model: request.facts.model.clone(),
            dialect: request.surface().spec().name.to_owned(),
            streamed: request.facts.streamed,
            max_output_tokens: plan.output_tokens_max(),
            requested_max_output_tokens: None,
            input_tokens_bound: plan.bound.input_tokens,
            body_sha256: match self.content {
                RequestContent::Nothing | RequestContent::Sealed(_) => String::new(),
                RequestContent::Digests(_) => body_sha256,
            },
            prompt_digest: self.prompt_digest.clone(),
            content_policy: self.content.policy(),
            metadata: request.facts.metadata.clone(),
            versions: plan.versions(self.caller.key_version, self.teams),
            would_have_refused: Vec::new(),
            rate_limited_tokens: self.rate_limited_tokens,
            hedge_after_ms: plan.hedge_after_ms(),
            route: plan.route.clone().map(|route| self.content.kept_of(route)),
            shadow_of: self.shadow_of,
        };
        Admission {
            request_id: self.id,
            context: self.context.clone(),
            planned_at: self.planned_at,
            held: plan.bound.held,
            ttl: gateway.log.hold_ttl(),
            if_short,
            admitted: Box::new(admitted),
        }
    }
}
