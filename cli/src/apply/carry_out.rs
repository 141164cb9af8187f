//! Carries a plan out: one request, all of which the gateway does or nothing, with an `Idempotency-Key`, so that it can be sent again if
//! its answer was lost.

use std::time::Duration;

use events::refusal::ErrorCode;
use http::Method;
use serde_json::{Value, json};

use super::super::gateway_client::{GatewayClient, GatewayError};
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
}

impl NotApplied<'_> {
    /// What became of the changes, and what to do.
    pub fn outcome(&self) -> &'static str {
        if !self.error.changed_nothing() {
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

/// Carries every change out, or none. `run` tells this run from all others.
pub async fn carry_out<'a>(plan: &'a Plan, gateway: &GatewayClient, run: &str) -> Result<(), NotApplied<'a>> {
    let changes: Vec<Value> = plan.changes().map(request).collect();
    let body = json!({ "changes": changes }).to_string();
    send(&gateway.clone().waiting(ANSWERED_WITHIN), &body, &format!("apply-{run}")).await.map_err(|error| {
        let index =
            error.refused().and_then(|refused| usize::try_from(refused.error["details"]["change"].as_u64()?).ok());
        NotApplied { at: index.and_then(|index| plan.changes().nth(index)), error }
    })
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

async fn send(gateway: &GatewayClient, body: &str, idempotency_key: &str) -> Result<(), GatewayError> {
    let mut attempt = 1;
    loop {
        match gateway.command(Method::POST, PATH, Some(body.to_owned()), idempotency_key).await {
            Err(error) if attempt < ATTEMPTS && error.may_be_retried() => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::gateway_client::Refused;
    use super::*;

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
            assert_eq!(NotApplied { at: None, error }.outcome(), outcome, "{status} {body}");
        }
        let error = GatewayError::TimedOut { url: String::new() };
        assert_eq!(NotApplied { at: None, error }.outcome(), unknown);
    }
}
