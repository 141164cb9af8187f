//! The request path: parse, route, bound and price, ask the ledger, dispatch, relay, settle, close.
//!
//! Two orders hold on every path. Nothing is sent to a provider before its admission, with its hold, is durable; and the
//! last byte of an answer leaves only when its settlement is. A crash in between leaves a hold, which the ledger ends when it
//! expires; it never leaves a call to a provider that the log knows nothing of.
//!
//! The steps form a line and no circle: `preparation` (read, `plan`, `admission`) ends with an open hold, `dispatch` calls
//! targets until one has something to relay, `stream` and `whole` relay it, and `running` ends the request exactly once.
//! `shadow` begins the same line again for the copy of a request that was served.
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
//!
//! - **Order.** `plan` decides it: model, tenant or request (`plan/order_source.rs`), with what was left out
//!   (`plan/target_order.rs`), by terms (`plan/terms.rs`, `routing_headers`) and maintenance (`plan/maintenance.rs`).
//!   `request_features` finds the features of a request, and `observed_targets` measures how fast targets are.
//! - **Calls.** `dispatch` goes from target to target, `calls_at_target` has the calls to one of them with its keys and
//!   retries, and `target_call` is one call. `stream_pace` bounds how fast its stream
//!   is read. `last_look` looks again before each call at rights, terms and maintenance;
//!   `retry_budget` says how many further calls a provider gets; `hedging` makes the second call beside a slow first one
//!   (`running/second_call.rs`). `request_source` is what both calls share.
//!   `upstream_calls` bounds the calls of a key, of a tenant and of all.
//! - **Targets.** `breakers`: which fail again and again. `target_places`: those with a limit of calls under way, and the
//!   queue for them. `target_sequence`: in which sequence the targets of a request are called. `passed_over`: those that were
//!   not. `health`: what this node has measured of providers; `call_observers` tells it, and the breakers, what becomes of a
//!   call. `gateway_facts` records what the gateway finds out about providers.
//! - **Keys.** `provider_keys`: those of providers that have several. `credentials`: an address with its key.
//! - **Beside the line.** `shadow` and `copies`: copies of requests for the shadows of models. `count_tokens` asks the
//!   provider that speaks the client's dialect for a count, without a hold. `content`: what is kept of prompts and answers.
//!   `timeline` times one request in its stages.

mod abandoned;
mod access_tokens;
mod admission;
mod answer_permit;
mod bound;
mod breakers;
mod call;
mod call_observers;
mod calls_at_target;
mod content;
mod copies;
mod count_tokens;
mod credentials;
mod described;
mod dispatch;
mod expiring_slot;
mod failed_calls;
mod failure;
mod gateway;
mod gateway_facts;
mod headers;
pub(crate) mod health;
mod hedging;
mod large_bodies;
mod last_look;
mod ledger_failure;
mod measured;
mod model_mode;
mod observed_targets;
mod passed_over;
mod plan;
mod preparation;
mod provider_keys;
mod request_features;
mod request_source;
mod retry_budget;
mod routing_headers;
mod running;
mod shadow;
mod stream;
mod stream_pace;
mod target;
mod target_call;
mod target_places;
mod target_sequence;
mod timeline;
mod token_exchange;
mod too_much;
mod upstream_calls;
mod whole;
mod whole_body;
mod yield_to_runtime;

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
use preparation::prepare;
use running::UnheldRequest;
use timeline::RequestTimeline;

pub use abandoned::AbandonedCalls;
pub use access_tokens::AccessTokens;
pub(crate) use breakers::BreakerState;
pub use breakers::{BreakerSettings, Breakers};
pub use content::ContentKeeper;
pub use copies::Copies;
pub(crate) use credentials::{Credentials, CredentialsError, OpenedKey};
pub use gateway::{Gateway, LeafOf};
pub use headers::{BACKEND_HEADER, COST_HEADER, POSITION_HEADER, REQUEST_ID_HEADER};
pub use health::ProviderHealth;
pub use large_bodies::LargeBodies;
pub use observed_targets::ObservedTargets;
pub(crate) use plan::TargetOrder;
pub use provider_keys::ProviderKeys;
pub(crate) use provider_keys::remedy;
pub use request_features::features_of;
pub use retry_budget::{RetryBudgets, RetrySettings};
pub use target::warn_of_unknown_kinds;
pub use target_places::TargetPlaces;
pub use timeline::Arrival;
pub(crate) use token_exchange::exchanged;
pub use upstream_calls::UpstreamCalls;

/// The routes of every surface: `POST /v1/inference/chat`, Chat Completions, Messages and the counting of their tokens,
/// embeddings. Each request carries its id and its caller
/// as extensions.
pub fn routes(gateway: Arc<Gateway>) -> Api {
    let inferences =
        Surface::ALL.iter().flat_map(|surface| surface.spec().paths.iter().map(move |path| (*surface, *path)));
    let api = inferences.fold(Api::of(Entrance::Key), |api, (surface, (path, operation))| {
        let describe = move || described::inference(surface, operation);
        // Boxed once, here: a request keeps kilobytes until it ends, and the layers around a handler move its future about. `prepare` and
        // `dispatch::run` have no boxes of their own, because each is an allocation and a copy; the calls to a target have.
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
    let mut limits = gateway.limits.binding(&tables, &caller.chain, tables.teams_of(&caller.chain));
    drop(tables);
    let response = match gateway.limits.acquire(&limits).await {
        Ok(permit) => {
            timeline.end_stage(Stage::Limits);
            let unheld = UnheldRequest { permit, timeline, call_place: None };
            serve(&gateway, surface, id, &caller, request, unheld, &mut limits).await
        }
        Err(refused) => {
            let refusal = gateway.limited(&context, &refused);
            timeline.set_error(refusal.code);
            Err(refusal)
        }
    };
    let mut response = response.unwrap_or_else(refusals::response);
    // The tightest limit as it stands when the answer begins; a whole answer has settled its tokens by then.
    if let Some(tightest) = gateway.limits.tightest(&limits) {
        tightest.put_into(response.headers_mut());
    }
    response
}

async fn serve(
    gateway: &Arc<Gateway>,
    surface: Surface,
    id: RequestId,
    caller: &Arc<Caller>,
    request: Request,
    mut unheld: UnheldRequest,
    limits: &mut BindingLimits,
) -> Result<Response, Refusal> {
    match prepare(gateway, surface, id, caller, request, &mut unheld, limits).await {
        Ok(mut prepared) => {
            let to_copy = prepared.to_copy.take();
            let after_served = to_copy.map(|request| shadow::after_served(gateway, request));
            let lowered_cap = prepared.hold.lowered_cap;
            let retirement = &prepared.plan.retirement;
            let deprecation = retirement.has_dates().then(|| headers::deprecation(retirement, gateway.now())).flatten();
            let mut response = dispatch::run(gateway, prepared, unheld, after_served).await?;
            if let Some(cap) = lowered_cap {
                response.headers_mut().insert(MAX_OUTPUT_TOKENS_HEADER, HeaderValue::from(cap.tokens()));
            }
            if let Some(deprecation) = deprecation {
                response.headers_mut().extend(deprecation);
            }
            Ok(response)
        }
        Err(refusal) => {
            unheld.timeline.set_error(refusal.code);
            Err(refusal)
        }
    }
}
