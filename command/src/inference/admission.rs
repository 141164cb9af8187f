//! Asking the ledger for the money of a request: once, or where a tokenizer can show that it needs less than its bytes
//! say, once more (ADR-0006).

use dialects::ClientRequest;
use events::event::Context;
use events::event::inference::InferenceAdmitted;
use events::ids::RequestId;
use events::ledger::{Admission, IfShort};
use events::log::{Admitted, InferenceKey, LogError, OpenHold};
use events::refusal::Refusal;
use projections::caller::Caller;
use secrets::hex;
use serde_json::Value;

use super::gateway::Gateway;
use super::ledger_failure::not_admitted;
use super::plan::Plan;
use crate::idempotency::fingerprint;

/// A request that asks for its money.
pub struct Asking<'a> {
    pub id: RequestId,
    pub context: Context,
    pub caller: &'a Caller,
    pub asked: &'a ClientRequest,
    /// The client's own, by which it is known when it is sent again.
    pub idempotency_key: Option<String>,
}

pub async fn admit(gateway: &Gateway, asking: Asking<'_>, plan: &mut Plan) -> Result<OpenHold, Refusal> {
    let asked = asking.asked;
    let cannot_ask = |error: LogError| not_admitted(&asking.id.to_string(), &error);
    let digest = ring::digest::digest(&ring::digest::SHA256, asked.body());
    let body_sha256 = hex::lower(digest.as_ref());
    let key = asking.key(&body_sha256);
    let tokenizers = plan.tokenizers();
    if !tokenizers.is_empty() {
        let admission = asking.admission(gateway, body_sha256.clone(), plan, IfShort::Refuse);
        match gateway.log.admit_unless_short(admission, key.clone()).await.map_err(cannot_ask)? {
            Some(Admitted::Hold(hold)) => return Ok(hold),
            Some(Admitted::Refused(refusal)) => return Err(refusal),
            None => {}
        }
        if let Some(savings) = gateway.tokens.savings(asked.body().clone(), tokenizers).await {
            plan.tighten(asked, &savings);
        }
    }
    let if_short = IfShort::Shrink(plan.shrinking(asked));
    let admission = asking.admission(gateway, body_sha256, plan, if_short);
    match gateway.log.admit_once(admission, key).await.map_err(cannot_ask)? {
        Admitted::Hold(hold) => Ok(hold),
        Admitted::Refused(refusal) => Err(naming_the_cap(refusal, asked.output_cap().field)),
    }
}

/// Says with what the request would fit, as the client calls it: many programs show the message alone.
fn naming_the_cap(mut refusal: Refusal, cap_field: &str) -> Refusal {
    if let Some(cap) = refusal.details.get("affordable_max_output_tokens").and_then(Value::as_u64) {
        refusal.message.push_str(&format!("; with a {cap_field} of {cap} or less it would fit"));
    }
    refusal
}

impl Asking<'_> {
    /// Whoever sends the same body to the same surface for the same tenant asks the same.
    fn key(&self, body_sha256: &str) -> Option<InferenceKey> {
        let (tenant, key) = (self.context.tenant_id?, self.idempotency_key.clone()?);
        let fingerprint = fingerprint(&["inference", self.asked.surface().spec().name], body_sha256.as_bytes());
        Some(InferenceKey { tenant, key, fingerprint })
    }

    fn admission(&self, gateway: &Gateway, body_sha256: String, plan: &Plan, if_short: IfShort) -> Admission {
        let asked = self.asked;
        let admitted = InferenceAdmitted {
            model: asked.model().to_owned(),
            dialect: asked.surface().spec().name.to_owned(),
            streamed: asked.streamed(),
            max_output_tokens: plan.output_cap.tokens(),
            requested_max_output_tokens: None,
            input_tokens_bound: plan.bound.input_tokens,
            body_sha256,
            metadata: asked.metadata().clone(),
            versions: plan.versions(self.caller.key_version),
            would_have_refused: Vec::new(),
        };
        Admission {
            request_id: self.id,
            context: self.context.clone(),
            held: plan.bound.held,
            ttl: gateway.log.hold_ttl(),
            if_short,
            admitted: Box::new(admitted),
        }
    }
}
