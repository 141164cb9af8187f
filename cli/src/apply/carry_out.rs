//! Carries a plan out by one request, which the gateway carries out as a whole or not at all. Its `Idempotency-Key` lets it be sent again
//! if its answer was lost.

use std::time::Duration;

use events::refusal::ErrorCode;
use http::Method;
use serde_json::{Value, json};

use super::super::gateway_client::{GatewayClient, GatewayError, Refused};
use super::plan::{Action, Change, Plan};
use super::prune::Deletion;

/// Attempts of the request.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// How long one attempt may take: far longer than the most changes do.
const ANSWERED_WITHIN: Duration = Duration::from_mins(2);
const PATH: &str = "/v1/admin/apply";

/// The changes were not made, or this is unknown.
#[derive(Debug)]
pub struct NotApplied<'a> {
    /// The change that the gateway refused; `None` if that is not the reason.
    pub at: Option<Change<'a>>,
    pub error: GatewayError,
    /// An earlier attempt may have made the changes, or may still do so.
    pub may_be_made: bool,
}

impl NotApplied<'_> {
    /// Whether others have made or changed something meanwhile, so that a plan made anew may be carried out.
    pub fn was_overtaken(&self) -> bool {
        let is_overtaken = |refused: &Refused| {
            let details = &refused.error["details"];
            let is_name_taken = matches!(details["field"].as_str(), Some("name" | "slug"));
            let is_later = !details["changed_at"].is_null() || details["contended"] == true || is_name_taken;
            refused.code() == ErrorCode::Conflict.as_str() && is_later
        };
        !self.may_be_made && self.error.refused().is_some_and(is_overtaken)
    }

    /// The fate of the changes, and what to do.
    pub fn outcome(&self) -> &'static str {
        if self.may_be_made || !self.error.changed_nothing() {
            return "whether the changes were made is unknown: apply again, which makes those that are missing";
        }
        match self.error.refused() {
            // That of one of the changes has its index.
            Some(refused) if refused.status == 404 && refused.error["details"]["change"].is_null() => {
                "nothing was changed: the gateway is of an earlier version, which must be upgraded first"
            }
            // Others may have made or changed the same since the gateway was read.
            Some(refused) if refused.code() == ErrorCode::Conflict.as_str() => {
                "nothing was changed: apply again, and correct it if it is refused again"
            }
            Some(refused) if refused.status == 429 || refused.status >= 500 => "nothing was changed: apply again",
            _ => "nothing was changed; correct it and apply again",
        }
    }
}

/// A plan, and what tells it from others.
#[derive(Clone, Copy, Debug)]
pub struct NewPlan<'a> {
    pub plan: &'a Plan,
    /// The log position of what it was made for: the gateway refuses it if others have changed that since.
    pub based_on: Option<u64>,
    /// Tells this plan from all others.
    pub run: &'a str,
}

/// Carries every change out, or none.
pub async fn carry_out<'a>(
    NewPlan { plan, based_on, run }: NewPlan<'a>,
    gateway: &GatewayClient,
) -> Result<(), NotApplied<'a>> {
    let changes: Vec<Value> = plan.changes().map(request).collect();
    let mut body = json!({ "changes": changes });
    if let Some(position) = based_on {
        body["based_on"] = position.into();
    }
    let body = body.to_string();
    let (gateway, idempotency_key) = (gateway.clone().waiting(ANSWERED_WITHIN), format!("apply-{run}"));
    let (mut attempt, mut may_be_made) = (1, false);
    loop {
        let error = match gateway.command(Method::POST, PATH, Some(body.clone()), &idempotency_key).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if attempt == ATTEMPTS || !error.may_be_retried() {
            let index = |refused: &Refused| usize::try_from(refused.error["details"]["change"].as_u64()?).ok();
            let at = error.refused().and_then(index).and_then(|index| plan.changes().nth(index));
            return Err(NotApplied { at, error, may_be_made });
        }
        may_be_made |= !error.changed_nothing();
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// The request that would make a change alone.
fn request(change: Change<'_>) -> Value {
    let step = match change {
        Change::Deletion(Deletion { kind, id, .. }) => {
            return json!({ "method": "DELETE", "path": format!("{}/{id}", kind.format().path) });
        }
        Change::Step(step) => step,
    };
    let collection = step.desired.kind.format().path;
    match &step.action {
        Action::Create => {
            json!({ "method": "POST", "path": collection, "body": step.body(), "id_as": step.desired.id })
        }
        Action::Change { id, .. } => {
            json!({ "method": "PATCH", "path": format!("{collection}/{id}"), "body": step.body() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_made_anew_if_others_were_faster_and_it_was_certainly_not_carried_out() {
        for (status, code, details, may_be_made, was_overtaken) in [
            (409, "CONFLICT", json!({ "change": 0, "based_on": 4, "changed_at": 5 }), false, true),
            (409, "CONFLICT", json!({ "change": 0, "field": "slug" }), false, true),
            (409, "CONFLICT", json!({ "change": 0, "contended": true }), false, true),
            (409, "CONFLICT", json!({ "change": 0, "bound": "budgets" }), false, false),
            (409, "CONFLICT", json!({ "change": 0, "field": "tenant_id" }), false, false),
            (409, "CONFLICT", json!({ "change": 0 }), false, false),
            (409, "LEGAL_HOLD", json!({ "change": 0 }), false, false),
            (409, "CONFLICT", json!({ "change": 0, "based_on": 4, "changed_at": 5 }), true, false),
            (503, "LEDGER_UNAVAILABLE", json!({ "recorded": "no" }), false, false),
        ] {
            let body = json!({ "error": { "code": code, "message": "m", "details": details } }).to_string();
            let error = GatewayError::Refused { url: String::new(), refused: Refused::of(status, body.as_bytes()) };
            assert_eq!(NotApplied { at: None, error, may_be_made }.was_overtaken(), was_overtaken, "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_is_followed_by_what_to_do_about_it() {
        let correct = "nothing was changed; correct it and apply again";
        let again = "nothing was changed: apply again";
        let conflict = "nothing was changed: apply again, and correct it if it is refused again";
        let upgrade = "nothing was changed: the gateway is of an earlier version, which must be upgraded first";
        let unknown = "whether the changes were made is unknown: apply again, which makes those that are missing";
        for (status, code, details, outcome) in [
            (400, "INVALID_REQUEST", json!({ "field": "name", "change": 0 }), correct),
            (403, "FORBIDDEN", json!({ "change": 1 }), correct),
            (404, "NOT_FOUND", json!({ "field": "tenant_id", "change": 0 }), correct),
            (404, "NOT_FOUND", json!({}), upgrade),
            (409, "CONFLICT", json!({ "field": "slug", "change": 2 }), conflict),
            (409, "CONFLICT", json!({ "change": 2 }), conflict),
            (409, "LEGAL_HOLD", json!({ "change": 0 }), correct),
            (429, "RATE_LIMITED", json!({}), again),
            (503, "LEDGER_UNAVAILABLE", json!({ "recorded": "no" }), again),
            (503, "LEDGER_UNAVAILABLE", json!({ "recorded": "unknown" }), unknown),
            (502, "", json!({}), unknown),
        ] {
            let body = json!({ "error": { "code": code, "message": "m", "details": details } }).to_string();
            let error = GatewayError::Refused { url: String::new(), refused: Refused::of(status, body.as_bytes()) };
            assert_eq!(NotApplied { at: None, error, may_be_made: false }.outcome(), outcome, "{status} {body}");
        }
        let error = GatewayError::TimedOut { url: String::new() };
        assert_eq!(NotApplied { at: None, error, may_be_made: false }.outcome(), unknown);
        let refused = Refused::of(409, b"{}");
        let error = GatewayError::Refused { url: String::new(), refused };
        assert_eq!(NotApplied { at: None, error, may_be_made: true }.outcome(), unknown, "an attempt before it");
    }
}
