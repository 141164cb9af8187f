//! `POST /v1/admin/log/key/rotate`: another key for the checkpoints of the published log. It is recorded, and whichever node publishes
//! finds it in the log: the first checkpoint that has its event is signed by the key before and by the new one.

use axum::extract::State;
use axum::response::Response;
use events::event::{Chain, Context, StreamKind};
use events_log::{Append, AppendError, StoredReply};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Operation};
use serde_json::{Value, json};

use super::admin_context::AdminContext;
use super::execution::{ATTEMPTS_MAX, reply, stored_body, wait_until_current, wait_until_in_force};
use super::request::AdminRequest;
use super::{AdminState, CommandError, described};

const PLATFORM_ONLY: &str = "only the platform may rotate the key of the published log";
/// The name of the schema of the reply.
const ROTATED: &str = "RotatedLogKey";

pub fn described() -> Operation {
    let shape = object()
        .required_as("origin", schema::string(), "The name of the log, which never changes")
        .required_as("generation", schema::count(), "The number of the key, from 1")
        .required_as("verifier_key", schema::string(), "The public key, as `/v1/log/key` has it (C2SP `signed-note`)")
        .required_as("position", schema::count(), "The log position of its event, `log_key.created`");
    described::command("rotate_log_key", "Rotates the key that signs checkpoints of the published log")
        .says(
            "The first checkpoint that has the event is signed by the key before and by the new one, and those after it by the new one \
             alone. The caller must reach the whole platform. 404 where the log is not published.",
        )
        .may_take(object().closed())
        .answers(StatusCode::OK, Answer::json("The new key", schema::reference(ROTATED)).recorded())
        .defines(ROTATED, shape.open())
}

/// Errors: 403 for a caller that does not reach the platform; 404 where the log is not published; 409 if it has no key yet.
pub async fn rotate(State(admin): State<AdminState>, request: AdminRequest) -> Result<Response, CommandError> {
    AdminContext::new(&admin, &request.caller)?.require_platform(PLATFORM_ONLY)?;
    request.fields()?.finish()?;
    if !admin.publishes_log {
        return Err(CommandError::LogNotPublished);
    }
    if let Some(stored) = request.earlier_reply(&admin.log).await? {
        return replay(&admin, &stored).await;
    }
    for _ in 0..ATTEMPTS_MAX {
        let cx = AdminContext::new(&admin, &request.caller)?;
        cx.require_platform(PLATFORM_ONLY)?;
        let origin = cx.tables.log_keys().first().map(|first| first.origin.clone()).ok_or(CommandError::NoLogKey)?;
        let (created, mut append) = admin.vault.next_log_key(&origin).await.map_err(CommandError::of_log_key)?;
        append.side.push(request.client_address());
        let body = serde_json::to_value(&created).map_err(|error| CommandError::Defect(error.to_string()))?;
        let key = request.idempotency_key.clone();
        let append = Append {
            context: Context::about(cx.caller.actor.clone(), Chain::default()).in_request(request.request_id),
            idempotency: key.map(|key| key.with_reply(StatusCode::OK, body.to_string())),
            basis: cx.basis(),
            ..append
        };
        match admin.log.append(append).await {
            Ok(appended) => return recorded(&admin, appended.last, body).await,
            Err(AppendError::Replayed(stored)) => return replay(&admin, &stored).await,
            // Another rotation was first: this one follows it.
            Err(AppendError::OptimisticLock) => {}
            Err(AppendError::Outdated { position }) => wait_until_current(&admin, position).await?,
            Err(error) => return Err(CommandError::of_append(StreamKind::LogKey, error)),
        }
    }
    Err(CommandError::Contended { kind: StreamKind::LogKey })
}

/// The reply to a retry.
async fn replay(admin: &AdminState, stored: &StoredReply) -> Result<Response, CommandError> {
    recorded(admin, stored.position, stored_body(stored)?).await
}

/// The reply, once `/v1/log/key` of this node has the key.
async fn recorded(admin: &AdminState, position: u64, mut body: Value) -> Result<Response, CommandError> {
    wait_until_in_force(admin, position).await?;
    body["position"] = json!(position);
    Ok(reply(StatusCode::OK, position, body))
}
