//! `GET /v1/inferences/{request_id}/explain`: a request, decided again from the log. The view `inferences` says only who may see
//! the request; what is shown of budgets, limits and prices is what the caller may see of them elsewhere.

mod part_json;
mod request_json;

use ::events::event::access::ReadKind;
use ::events::event::admin::Permission;
use ::events::ids::RequestId;
use axum::extract::Path;
use events_log::explain::{ReadBounds, explain};
use http::StatusCode;
use openapi::schema;
use openapi::{Answer, Api, Entrance, Json, Operation};
use serde_json::Value;

use crate::QueryState;
use crate::described;
use crate::error::QueryError;
use crate::inferences;
use crate::query_context::QueryContext;
use crate::request_rights::RequestRights;

pub fn routes() -> Api<QueryState> {
    Api::of(Entrance::Key).get("/v1/inferences/{request_id}/explain", one, described_one)
}

fn described_one() -> Operation {
    described::permitted("explain_inference", "Usage", "One request, decided again from the log", Permission::UsageRead)
        .says(
            "`follows` is false where the log says something else than what follows from it, and null where the log does not have \
             what the decision was made of, or too much would have to be read.",
        )
        .path("request_id", schema::id(RequestId::PREFIX), "Id of the request")
        .answers(StatusCode::OK, Answer::json("The request", schema::reference("ExplainedInference")))
        .defines("ExplainedInference", request_json::shape())
}

/// Errors: 404 if the caller cannot see the request.
async fn one(mut context: QueryContext, Path(request): Path<String>) -> Result<Json<Value>, QueryError> {
    let (query, request, _) = inferences::find(&mut context, Permission::UsageRead, &request).await?;
    let explanation = query.read(move |reader| explain(reader, request, ReadBounds::default())).await?;
    let explanation = explanation.ok_or_else(|| QueryError::Answer(format!("the log has no event of {request}")))?;
    query.record_read(ReadKind::Inferences);
    let rights = RequestRights::of(&query.caller);
    let model = explanation.route.as_ref().and_then(|route| route.model.as_ref());
    let told = rights.route_detail(model, &query.state.tables.load());
    Ok(Json(request_json::json(&explanation, rights, told)))
}
