//! Carries a plan out: one request, all of which the gateway does or nothing, with an `Idempotency-Key`, so that it can be sent again if
//! its answer was lost.

use std::time::Duration;

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
