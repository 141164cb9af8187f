//! The request path: parse, route, bound and price, ask the ledger, dispatch, relay, settle, close.
//!
//! Two orders hold on every path. Nothing is sent to a provider before its admission, with its hold, is durable; and the
//! last byte of an answer leaves only when its settlement is. A crash in between leaves a hold, which the ledger ends when it
//! expires; it never leaves a call to a provider that the log knows nothing of.
//!
//! The steps form a line and no circle. A request goes from module to module:
//!
//! | Module | What it makes |
//! |---|---|
//! | `received` | the head and the body, read and parsed; the times of all stages |
//! | `authorized` | the caller, checked again against the current tables |
//! | `planned` | targets in their order, prices, and the bound of the cost; `shaped` is what the model adds to the prompt |
//! | `admitted` | the hold, durable; the request is planned again while its plan is out of date |
//! | `running` | the request with its hold until it ends, exactly once, and its calls |
//! | `calls` | one call after the other, until one has something to relay |
//! | `answers` | the answer on its way to the client, and the settlement before its last byte |
//!
//! `preparation` leads it from its head to its hold, and `dispatch` from there to its answer. The other modules serve all requests: `node`
//! (what one node has for them), `targets` and `keys` (what it knows of targets and of providers' keys), `upstream` (an address with its
//! key, and how calls fail). `shadow` begins the same line again for the copies of requests, and `count_tokens` asks a provider for a count.
//!
//! A plan is made from one snapshot of the tables, and made again if the ledger knows of a later change; rights are checked
//! again when the hold stands, and after every wait: a request is never dispatched for a right that had ended when its hold was
//! made.
//!
//! The only SQL on the path is the append, except for the first use of an API key or of a provider's secret since the start, which
//! reads it from the ledger.
//!
//! The path deliberately keeps no balance of its own: only the ledger says what is affordable, so that two requests cannot
//! both spend the same money. It never calls a second target once a byte has gone to the client: a client
//! cannot take back half an answer.

mod admitted;
mod answers;
mod authorized;
mod calls;
mod count_tokens;
mod described;
mod dispatch;
mod headers;
mod keys;
mod node;
mod planned;
mod preparation;
mod received;
mod running;
mod shadow;
mod shaped;
mod targets;
mod upstream;

use std::sync::Arc;

use access_control::limits::BindingLimits;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use dialects::Surface;
use events::ids::RequestId;
use events::refusal::Refusal;
use http::HeaderValue;
use openapi::{Api, Entrance, refusals};
use projections::caller::Caller;

use crate::figures::Stage;
use headers::MAX_OUTPUT_TOKENS_HEADER;
use preparation::{ArrivedRequest, prepare};
use received::RequestState;
use received::timeline::RequestTimeline;

pub use headers::{BACKEND_HEADER, COST_HEADER, POSITION_HEADER, REQUEST_ID_HEADER};
pub use keys::access_tokens::AccessTokens;
pub use keys::provider_keys::ProviderKeys;
pub(crate) use keys::provider_keys::remedy;
pub use node::abandoned::AbandonedCalls;
pub use node::content::ContentKeeper;
pub use node::copies::Copies;
pub use node::gateway::{
    AdmissionControl, BackgroundWork, ContentRecording, Gateway, LeafOf, ProviderAccess, RequestMemory, TargetState,
};
pub(crate) use planned::plan::{NodeKnowledge, TargetOrder};
pub use planned::request_features::features_of;
pub use received::timeline::Arrival;
pub(crate) use targets::breakers::BreakerState;
pub use targets::breakers::{BreakerSettings, Breakers};
pub(crate) use targets::health;
pub use targets::health::ProviderHealth;
pub use targets::observed_targets::ObservedTargets;
pub use targets::retry_budget::{RetryBudgets, RetrySettings};
pub use targets::target::warn_of_unknown_kinds;
pub use targets::target_places::TargetPlaces;
pub use targets::upstream_calls::UpstreamCalls;
pub(crate) use upstream::credentials::{Credentials, CredentialsError, OpenedKey};
pub(crate) use upstream::token_exchange::exchanged;

/// The routes of every surface: `POST /v1/inference/chat`, Chat Completions, Messages and the counting of their tokens,
/// embeddings. Each request carries its id and its caller
/// as extensions.
pub fn routes(gateway: Arc<Gateway>) -> Api {
    let inferences =
        Surface::ALL.iter().flat_map(|surface| surface.spec().paths.iter().map(move |path| (*surface, *path)));
    let api = inferences.fold(Api::of(Entrance::Key), |api, (surface, (path, operation))| {
        let describe = move || described::inference(surface, operation);
        // Boxed once, here: a request keeps kilobytes until it ends, and the layers around a handler move its future about. `prepare` and
        // `dispatch::run` have no boxes of their own, because each is an allocation and a copy; the calls to a target have. Each argument
        // of a future stays in it until its end: so large ones are boxed (`ArrivedRequest`), or the future is made without them
        // (`dispatch::run`).
        let handle = move |gateway, id, caller, request| Box::pin(infer(surface, gateway, id, caller, request));
        api.post(path, handle, describe)
    });
    let counting = Surface::ALL.iter().filter_map(|surface| Some((*surface, surface.token_counting()?)));
    let api = counting.fold(api, |api, (surface, counting)| {
        let describe = move || described::token_counting(counting);
        let handle = move |gateway, id, caller, request| {
            Box::pin(count_tokens::count_tokens(surface, gateway, id, caller, request))
        };
        api.post(counting.path, handle, describe)
    });
    api.with_state(gateway)
}

async fn infer(
    surface: Surface,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response {
    let context = caller.context().in_request(id);
    let mut timeline = RequestTimeline::begin(&gateway, id, surface, request.extensions().get::<Arrival>());
    let tables = gateway.tables.load();
    let mut limits = gateway.admission.limits.binding(&tables, &caller.chain, tables.teams_of(&caller.chain));
    drop(tables);
    let response = match gateway.admission.limits.acquire(&limits).await {
        Ok(permit) => {
            timeline.end_stage(Stage::Limits);
            let state = RequestState { permit, timeline, call_place: None };
            let arrived = Box::new(ArrivedRequest { id, surface, caller, http: request });
            serve(&gateway, arrived, state, &mut limits).await
        }
        Err(refused) => {
            let refusal = gateway.limited(&context, &refused);
            timeline.set_error(refusal.code);
            Err(refusal)
        }
    };
    let mut response = response.unwrap_or_else(refusals::response);
    // The tightest limit as it stands when the answer begins; a whole answer has settled its tokens by then.
    if let Some(tightest) = gateway.admission.limits.tightest(&limits) {
        tightest.put_into(response.headers_mut());
    }
    response
}

async fn serve(
    gateway: &Arc<Gateway>,
    arrived: Box<ArrivedRequest>,
    mut state: RequestState,
    limits: &mut BindingLimits,
) -> Result<Response, Refusal> {
    match prepare(gateway, arrived, &mut state, limits).await {
        Ok(mut admitted) => {
            let to_copy = admitted.to_copy.take();
            let after_served = to_copy.map(|request| shadow::after_served(gateway, request));
            let lowered_cap = admitted.hold.lowered_cap;
            let retirement = &admitted.plan.retirement;
            let deprecation = retirement.has_dates().then(|| headers::deprecation(retirement, gateway.now())).flatten();
            let mut response = dispatch::run(gateway, admitted, state, after_served).await?;
            if let Some(cap) = lowered_cap {
                response.headers_mut().insert(MAX_OUTPUT_TOKENS_HEADER, HeaderValue::from(cap.tokens()));
            }
            if let Some(deprecation) = deprecation {
                response.headers_mut().extend(deprecation);
            }
            Ok(response)
        }
        Err(refusal) => {
            state.timeline.set_error(refusal.code);
            Err(refusal)
        }
    }
}

#[cfg(test)]
mod tests;
