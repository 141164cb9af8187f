//! `GET /v1/inferences/{request_id}/content`: what is kept of a prompt and its answer (ADR-0029), with the salt of their digests.
//! Every answer of this route is recorded.

use std::fmt::Display;
use std::slice;

use axum::extract::Path;
use content_store::retention::is_past_retention;
use content_store::{ContentAddress, ReadOutcome};
use events::content::{ContentKeyOwner, ContentPart, ContentPolicy};
use events::event::Recorded;
use events::event::access::ReadKind;
use events::event::admin::Permission;
use events::ids::RequestId;
use events::refusal::{ErrorCode, Refusal};
use events_log::concurrency::QUERY_MAX;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Api, Entrance, Json, Operation};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::inferences::{self, REQUEST};
use crate::query_context::QueryContext;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/inferences/{request_id}/content", one, described_one)
}

fn described_one() -> Operation {
    let summary = "What is kept of a prompt and its answer";
    described::permitted("get_content", "Usage", summary, Permission::ContentRead)
        .says(
            "By the policy that the tenant had when the request was admitted. Each answer of this route is recorded, as \
             `access.read` of the kind `content`.",
        )
        .path("request_id", schema::id(RequestId::PREFIX), "Id of the request")
        .refuses(&[ErrorCode::ContentGone, ErrorCode::ContentUnavailable])
        .answers(StatusCode::OK, Answer::json("What is kept", schema::reference("InferenceContent")))
        .defines("InferenceContent", shape())
}

fn shape() -> Shape {
    let text = |what: &str| schema::described(schema::nullable(schema::string()), what);
    let missing = "What was to be kept sealed, and is not there";
    object()
        .required("request_id", schema::id(RequestId::PREFIX))
        .required("content_policy", schema::one_of(ContentPolicy::words()))
        .required("body_sha256", text("SHA-256 of the request's body, in hex, by the policy `digest`; otherwise null"))
        .required(
            "prompt_digest",
            text("SHA-256 of the salt and of the request's body, in hex, by the policy `sealed`; otherwise null"),
        )
        .required(
            "answer_digest",
            text(
                "SHA-256 of the salt and of the answer's text, in hex; null if nothing is kept of it, the answer had no text, or it \
                 has not ended",
            ),
        )
        .required("salt", text("The salt of these digests, in hex; null without one"))
        .required("prompt", text("The request's body, by the policy `sealed`"))
        .required("answer", text("The answer's text, by the policy `sealed`"))
        .required_as("missing", schema::list(schema::one_of(ContentPart::words()), None), missing)
        .open()
}

/// Errors: 404 if the caller cannot see the request, or it was refused; 410 if its content was erased; 503 if it cannot be read now.
async fn one(mut context: QueryContext, Path(request): Path<String>) -> Result<Json<Value>, QueryError> {
    let (query, request, stored) = inferences::find(&mut context, Permission::ContentRead, &request).await?;
    let events = inferences::events(&query, slice::from_ref(&stored)).await?;
    let outcome = stored.outcome.and_then(|position| events.get(&position));
    let recorded = events.get(&stored.position).and_then(|begin| RecordedContent::of(request, begin, outcome));
    let recorded = recorded.ok_or(QueryError::NotFound(REQUEST))?;
    let kept = match recorded.policy {
        ContentPolicy::Sealed => {
            // The query holds its permit meanwhile.
            let opened = timeout(QUERY_MAX, recorded.opened(&context.state)).await;
            let kept = opened.map_err(unreadable)??;
            context.look_up_again()?;
            if recorded.is_expired(&kept, &context.state) {
                return Err(expired().into());
            }
            kept
        }
        ContentPolicy::None | ContentPolicy::Digest => OpenedContent::default(),
    };
    let salt = match recorded.policy {
        ContentPolicy::Sealed => kept.salt,
        ContentPolicy::None => None,
        ContentPolicy::Digest if recorded.has_digests() => Some(context.state.content_salts.salt(request).to_hex()),
        ContentPolicy::Digest => None,
    };
    query.record_read(ReadKind::Content);
    Ok(Json(json!({
        "request_id": request,
        "content_policy": recorded.policy,
        "body_sha256": recorded.body_sha256,
        "prompt_digest": recorded.prompt_digest,
        "answer_digest": recorded.answer_digest,
        "salt": salt,
        "prompt": kept.prompt,
        "answer": kept.answer,
        "missing": kept.missing,
    })))
}

/// The facts about a request's content in its events.
struct RecordedContent<'a> {
    request: RequestId,
    begin: &'a Recorded,
    policy: ContentPolicy,
    body_sha256: Option<&'a str>,
    prompt_digest: Option<&'a str>,
    answer_digest: Option<&'a str>,
}

/// The text that is kept sealed.
#[derive(Default)]
struct OpenedContent {
    prompt: Option<String>,
    answer: Option<String>,
    missing: Vec<ContentPart>,
    salt: Option<String>,
}

impl<'a> RecordedContent<'a> {
    /// `None` of a request that was refused.
    fn of(request: RequestId, begin: &'a Recorded, outcome: Option<&'a Recorded>) -> Option<Self> {
        let admitted = begin.event.admission()?;
        let answer_digest = outcome.and_then(|outcome| outcome.event.outcome()?.answer_digest.as_deref());
        Some(Self {
            request,
            begin,
            policy: admitted.content_policy,
            body_sha256: Some(&*admitted.body_sha256).filter(|digest| !digest.is_empty()),
            prompt_digest: admitted.prompt_digest.as_deref(),
            answer_digest,
        })
    }

    /// Whether its events have digests with its salt.
    fn has_digests(&self) -> bool {
        let route = self.begin.event.admission().and_then(|admitted| admitted.route.as_ref());
        self.answer_digest.is_some() || route.is_some_and(|route| route.features_digest.is_some())
    }

    /// The prompt, and the answer if it had text.
    async fn opened(&self, state: &QueryState) -> Result<OpenedContent, QueryError> {
        let mut kept = OpenedContent::default();
        kept.prompt = self.part(state, ContentPart::Prompt, &mut kept).await?;
        if self.answer_digest.is_some() {
            kept.answer = self.part(state, ContentPart::Answer, &mut kept).await?;
        }
        Ok(kept)
    }

    /// True if nothing of it is there, and its tenant keeps it no longer.
    fn is_expired(&self, kept: &OpenedContent, state: &QueryState) -> bool {
        let days = self.begin.context.tenant_id.and_then(|tenant| state.tables.load().retention_days(tenant));
        let (day, today) = (self.begin.recorded_at.date_naive(), state.clock.now().date_naive());
        kept.prompt.is_none() && kept.answer.is_none() && days.is_some_and(|days| is_past_retention(day, days, today))
    }

    async fn part(
        &self,
        state: &QueryState,
        part: ContentPart,
        kept: &mut OpenedContent,
    ) -> Result<Option<String>, QueryError> {
        let context = &self.begin.context;
        let (Some(reader), Some(tenant)) = (&state.content, context.tenant_id) else { return Err(no_store().into()) };
        let owner = ContentKeyOwner::of(tenant, context.user_id);
        let address = ContentAddress { tenant, admitted_at: self.begin.recorded_at, request: self.request, part };
        match reader.read(&address, owner).await {
            Ok(ReadOutcome::Text { text, salt }) => {
                kept.salt = Some(salt);
                Ok(Some(String::from_utf8_lossy(&text).into_owned()))
            }
            Ok(ReadOutcome::Missing) => {
                kept.missing.push(part);
                Ok(None)
            }
            Ok(ReadOutcome::Erased) => Err(erased().into()),
            Err(error) => Err(unreadable(error).into()),
        }
    }
}

fn unreadable(error: impl Display) -> Refusal {
    Refusal::new(ErrorCode::ContentUnavailable, "the content cannot be read now").try_again().because(error)
}

fn no_store() -> Refusal {
    let message = "this node has no content store: ask a node that was started with LEDGERWAY_CONTENT_URL";
    Refusal::new(ErrorCode::ContentUnavailable, message).try_again()
}

fn expired() -> Refusal {
    let message = "the content was deleted: its tenant's content_days are over";
    Refusal::new(ErrorCode::ContentGone, message).with("reason", "expired")
}

fn erased() -> Refusal {
    let message = "the content was erased together with its user or its tenant";
    Refusal::new(ErrorCode::ContentGone, message).with("reason", "erased")
}
