//! `GET /v1/inferences/{request_id}/content`: what the record keeps of a prompt and its answer (ADR-0029), with the salt of its
//! digest. Every answer of this route is recorded.

use std::slice;

use axum::extract::Path;
use events::content::ContentPolicy;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::event::{Event, Inference, Recorded};
use events::ids::RequestId;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use projections::views::inferences::One;
use serde_json::{Value, json};

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::inferences::{self, REQUEST};
use crate::lookup;
use crate::query_context::QueryContext;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/inferences/{request_id}/content", one, described_one)
}

fn described_one() -> Operation {
    let summary = "What the record keeps of a prompt and its answer";
    described::permitted("get_content", "Usage", summary, Permission::ContentRead)
        .says(
            "By the policy that the tenant had when the request was admitted. Each answer of this route is recorded, as \
             `access.read` of the kind `content`.",
        )
        .path("request_id", schema::id(RequestId::PREFIX), "Id of the request")
        .answers(StatusCode::OK, Answer::json("What is kept", schema::reference("InferenceContent")))
        .defines("InferenceContent", shape())
}

fn shape() -> Shape {
    let digest = |what: &str| schema::described(schema::nullable(schema::string()), what);
    object()
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("content_policy", schema::one_of(ContentPolicy::words()))
        .required("body_sha256", digest("SHA-256 of the request's body, in hex; null if nothing is kept of it"))
        .required(
            "answer_digest",
            digest(
                "SHA-256 of the salt and of the answer's text, in hex; null if nothing is kept of it, the answer had no text, or it \
                 has not ended",
            ),
        )
        .required("salt", digest("The salt of `answer_digest`, in hex; null without one"))
        .open()
}

/// Errors: 404 if the caller cannot see the request, or it was refused.
async fn one(mut context: QueryContext, Path(request): Path<String>) -> Result<Json<Value>, QueryError> {
    let (parameters, min_position) = context.begin(Permission::ContentRead)?;
    parameters.finish()?;
    let request: RequestId = request.parse().map_err(|_| QueryError::NotFound(REQUEST))?;
    let found = lookup::find(&mut context, min_position, |visible| One { visible, request }).await?;
    let (query, stored) = found.ok_or(QueryError::NotFound(REQUEST))?;
    let events = inferences::events(&query, slice::from_ref(&stored)).await?;
    let outcome = stored.outcome.and_then(|position| events.get(&position));
    let kept = events.get(&stored.position).and_then(|begin| Kept::of(begin, outcome));
    let Kept { policy, body_sha256, answer_digest } = kept.ok_or(QueryError::NotFound(REQUEST))?;
    let salt = answer_digest.map(|_| context.state.content_salts.salt(request).shown());
    query.record_read(ReadKind::Content);
    Ok(Json(json!({
        "request_id": request,
        "content_policy": policy,
        "body_sha256": body_sha256,
        "answer_digest": answer_digest,
        "salt": salt,
    })))
}

/// What the events of a request keep of its content.
struct Kept<'a> {
    policy: ContentPolicy,
    body_sha256: Option<&'a str>,
    answer_digest: Option<&'a str>,
}

impl<'a> Kept<'a> {
    /// `None` of a request that was refused.
    fn of(begin: &'a Recorded, outcome: Option<&'a Recorded>) -> Option<Self> {
        let Event::Inference(Inference::Admitted(admitted)) = &begin.event else { return None };
        let answer_digest = match outcome.map(|outcome| &outcome.event) {
            Some(Event::Inference(
                Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended),
            )) => ended.answer_digest.as_deref(),
            _ => None,
        };
        let body_sha256 = Some(&*admitted.body_sha256).filter(|digest| !digest.is_empty());
        Some(Self { policy: admitted.content_policy, body_sha256, answer_digest })
    }
}
