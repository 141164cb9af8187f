//! The health of a provider, for whoever operates it: `GET /v1/admin/providers/{id}/health` shows what this node has measured of it and
//! the breakers of its models, and `POST …/health/reset` closes these and forgets what was measured. The provider's checks, which call
//! it, are in `doctor`.

mod report;
mod reset;

use std::sync::Arc;

use axum::extract::{FromRequest, Path, Request, State};
use axum::response::Response;
use events::event::StreamKind;
use events::ids::ProviderId;
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, described, object};
use openapi::{Answer, Api, Entrance, Json, Operation};

use crate::admin::{AddressedProvider, AdminRequest, AdminState, CommandError, Purpose, changes_of, described};
use crate::inference::Gateway;
use report::{HealthReport, report_of};

/// The names of schemas.
const HEALTH: &str = "ProviderHealth";
const RESET: &str = "ResetProviderHealth";

pub(crate) struct HealthState {
    admin: AdminState,
    gateway: Arc<Gateway>,
}

pub fn routes(admin: AdminState, gateway: Arc<Gateway>) -> Api {
    let reset = Api::of(Entrance::Administration).post("/v1/admin/providers/{id}/health/reset", reset, described_reset);
    Api::of(Entrance::Administration)
        .get("/v1/admin/providers/{id}/health", show, described_health)
        .merge(changes_of(StreamKind::Provider, reset))
        .with_state(Arc::new(HealthState { admin, gateway }))
}

fn operation(id: &str, summary: &str) -> Operation {
    described::request(id, summary)
        .path("id", schema::id(ProviderId::PREFIX), "Id of the provider")
        .refuses(&[ErrorCode::NotFound, ErrorCode::ViewBehind])
}

fn described_health() -> Operation {
    operation("get_provider_health", "The health of a provider, as this node has measured it")
        .says(
            "Each node measures its own calls. Breakers are for all nodes. Requests for a count of \
             tokens do not count.",
        )
        .answers(StatusCode::OK, Answer::json("Its health", schema::reference(HEALTH)))
        .defines(HEALTH, report::shape())
}

fn described_reset() -> Operation {
    let closed = described(
        schema::list(schema::string(), None),
        "The models whose breakers were open, as the provider names them",
    );
    let health = described(schema::reference(HEALTH), "Its health after that");
    operation("reset_provider_health", "Closes the breakers of a provider and forgets its measurements")
        .says(
            "Each breaker that it closes is a `provider.breaker_closed` event, for all nodes. Only the answering node forgets what it \
             has measured. A repeated request changes nothing.",
        )
        .refuses(&[ErrorCode::Conflict])
        .may_take(object().closed())
        .answers(StatusCode::OK, Answer::json("What was closed", schema::reference(RESET)).recorded())
        .defines(RESET, object().required("closed_breakers", closed).required("health", health).open())
}

/// Errors: 404 if the caller does not reach the provider, as for the provider itself.
async fn show(
    State(state): State<Arc<HealthState>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<HealthReport>, CommandError> {
    let request = AdminRequest::from_request(request, &state.admin).await?;
    request.fields()?.finish()?;
    let AddressedProvider { cx, provider, .. } =
        AddressedProvider::find(&state.admin, &request, &id, Purpose::See).await?;
    Ok(Json(report_of(&state.gateway, &cx.tables, &provider, cx.now)))
}

/// Errors: 404 and 403 as for a change of the provider; 409 if it has ended.
async fn reset(
    State(state): State<Arc<HealthState>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, CommandError> {
    let request = AdminRequest::from_request(request, &state.admin).await?;
    request.fields()?.finish()?;
    reset::run(&state, &id, &request).await
}
