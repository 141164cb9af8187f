//! Counting the tokens of a prompt. A provider that speaks the client's dialect counts, with its own key; otherwise the
//! gateway estimates. Nothing is held, charged or recorded, because providers count free of charge.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::Response;
use bytes::Bytes;
use dialects::facts::Remedy;
use dialects::provider_dialects::{self, Endpoint, Framing, Invocation};
use dialects::{
    CountTarget, ProviderKind, RequestHeaders, Surface, TokenCountRequest, UpstreamFault, read_refusal,
    read_token_count,
};
use events::event::admin::{Permission, Provider};
use events::ids::RequestId;
use events::refusal::Refusal;
use events::terms::Requirements;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use openapi::refusals;
use projections::caller::Caller;
use projections::tables::CatchUp;
use provider_client::{LoopEntries, RequestBody, Transmission};
use tokio::time::timeout;

use crate::body::HeldBody;
use crate::body::large_bodies::LargeBodies;
use crate::body::memory::{BodyOwner, BodyPermit};
use crate::figures::TokenCount;
use crate::inference::authorized::{authorize, not_current, require_strategy_choice};
use crate::inference::calls::upstream_response::{AnswerSource, Outgoing};
use crate::inference::keys::provider_keys::{KeyAttempts, NextKey};
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::{no_offer, not_allowed};
use crate::inference::received::reading::{read_body, work_on};
use crate::inference::received::routing_headers::RoutingHeaders;
use crate::inference::received::timeline::Arrival;
use crate::inference::shaped::PromptShape;
use crate::inference::targets::target::allowed_for_price;
use crate::inference::targets::upstream_calls::no_place;
use crate::inference::upstream::credentials::Credentials;
use crate::inference::upstream::failure::{CallFailure, Cause};
use crate::tokens;
use crate::trace::TraceHeaders;

/// The longest response that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest wait for a provider's count, or its own time-out if that is shorter.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub async fn count_tokens(
    surface: Surface,
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    Extension(caller): Extension<Arc<Caller>>,
    request: Request,
) -> Response {
    let tables = gateway.tables.load();
    let limits = gateway.admission.limits.binding(&tables, &caller.chain, tables.teams_of(&caller.chain));
    drop(tables);
    let counted = match gateway.admission.limits.acquire(&limits).await {
        Ok(_permit) => Box::pin(counted(&gateway, surface, id, &caller, request)).await,
        Err(refused) => Err(gateway.limited(&caller.context().in_request(id), &refused)),
    };
    let mut response = counted.map_or_else(refusals::response, answer);
    if let Some(tightest) = gateway.admission.limits.tightest(&limits) {
        tightest.put_into(response.headers_mut());
    }
    response
}

fn answer(tokens: u64) -> Response {
    let mut response = Response::new(Body::from(dialects::token_count(tokens)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn counted(
    gateway: &Gateway,
    surface: Surface,
    id: RequestId,
    caller: &Arc<Caller>,
    request: Request,
) -> Result<u64, Refusal> {
    caller.require(Permission::ModelsUse)?;
    gateway.require_served(caller)?;
    let headers = (surface.spec().read_headers)(request.headers())?;
    let routing = RoutingHeaders::of(request.headers())?;
    require_strategy_choice(caller, routing.strategy)?;
    let passed = request.extensions().get::<Arrival>().and_then(|arrival| arrival.passed.clone());
    let HeldBody { bytes, permit } = read_body(gateway, caller, request).await?;
    let request = read(&gateway.memory.large_bodies, &permit, surface, bytes).await?;
    let mut tables = gateway.tables.load();
    if tables.route(caller.chain.tenant, request.model()).is_none() {
        match gateway.tables.catch_up_with_others(&gateway.log, tables.position).await {
            CatchUp::FoundMore => tables = gateway.tables.load(),
            CatchUp::FoundNothing => {}
            CatchUp::TimedOut => return Err(not_current()),
        }
    }
    let caller = authorize(&tables, caller, routing.strategy, gateway.clock.now())?;
    let tenant = caller.chain.tenant;
    let now = gateway.now();
    if !caller.may_use_model(&tables, request.model()) {
        return Err(not_allowed(request.model()));
    }
    let model = tables.named_model(tenant, request.model(), now)?.require_not_retired(now)?.serving;
    let required = Requirements { tenant: tables.required_terms(tenant), request: &routing.terms };
    let offered = tables.first_offer(tenant, &model.value, now, required);
    let refused = || no_offer(&tables, tenant, request.model(), &model.value, now, required);
    let (target, offer) = offered.ok_or_else(refused)?;
    let prefix = PromptShape::of_chat(&model.value).system_prefix.map(str::to_owned);
    let kind = ProviderKind::named(&offer.provider.kind);
    let windows = (&target.maintenance, &offer.provider.maintenance);
    let is_available = windows.0.end_together_with(windows.1, now).is_none();
    let upstream = match kind.filter(|_| is_available) {
        Some(kind) => {
            let counting = CountTarget {
                model: &target.model,
                system_prefix: prefix.as_deref(),
                takes_signed_thoughts_alone: provider_dialects::takes_signed_thoughts_alone(offer.provider),
            };
            request.for_upstream(kind, &counting)?.map(|counts| (kind, counts))
        }
        None => None,
    };
    let (provider, backend) = (Arc::clone(offer.provider), target.model.clone());
    let of_price = allowed_for_price(request.unpriced_fields(), offer);
    if upstream.is_some()
        && let Some(field) = request.unpriced(of_price.as_ref().unwrap_or(&provider.allowed_fields))
    {
        return Err(field.refuse(Remedy::AllowedFields.at(&provider)));
    }
    drop(tables);
    match upstream {
        Some((kind, (endpoint, body))) => {
            let _place = gateway.targets.call_places.take(BodyOwner::of_inference(&caller)).map_err(no_place)?;
            let counting = Counting { gateway, kind, endpoint, provider, backend, headers, passed };
            let counted = counting.ask(body, id, &caller).await;
            let by = if counted.is_ok() { TokenCount::Provider } else { TokenCount::Failed };
            gateway.figures.tokens_counted(by);
            counted.map_err(|failure| {
                counting.log(&failure, id);
                failure.refusal_alone()
            })
        }
        None => {
            let texts = tokens::texts(tenant, request.body().clone()).await.unwrap_or_default();
            gateway.figures.tokens_counted(TokenCount::Estimate);
            Ok(request.estimate(texts.bytes, texts.tokens, prefix.as_deref()))
        }
    }
}

/// Parses a body, a large one on a thread of its own.
async fn read(
    large_bodies: &LargeBodies,
    permit: &Arc<BodyPermit>,
    surface: Surface,
    body: Bytes,
) -> Result<TokenCountRequest, Refusal> {
    work_on(large_bodies, permit, body.len(), move || TokenCountRequest::parse(surface, body)).await
}

/// A provider that counts.
struct Counting<'a> {
    gateway: &'a Gateway,
    kind: ProviderKind,
    endpoint: Endpoint,
    provider: Arc<Provider>,
    /// The provider's name of the model.
    backend: String,
    headers: RequestHeaders,
    passed: Option<LoopEntries>,
}

impl Counting<'_> {
    /// Logs a failed call as those of inferences are logged: a rejection, which is the client's mistake, at `debug`.
    fn log(&self, failure: &CallFailure, id: RequestId) {
        let (request_id, provider, model) = (id.to_string(), &self.provider.name, &self.backend);
        let (reason, status) = (failure.reason(), failure.status);
        if failure.is_rejection() {
            tracing::debug!(request_id, provider, model, reason, status, "a provider rejected a count of tokens");
        } else {
            let look_at = failure.operator_hint();
            tracing::warn!(request_id, provider, model, reason, status, look_at, "a provider failed to count tokens");
        }
    }

    /// Asks the provider: once, and again with a few other keys that may be accepted where one was not.
    async fn ask(&self, body: Bytes, id: RequestId, caller: &Caller) -> Result<u64, CallFailure> {
        let mut keys = KeyAttempts::new();
        loop {
            let asked = self.ask_once(&mut keys, body.clone(), id, caller).await;
            let Err(failure) = &asked else { return asked };
            match keys.failed(failure.of_key()) {
                NextKey::Another => {}
                NextKey::AtLimit(wait) => return Err(CallFailure::of(Cause::KeysAtLimit(wait))),
                NextKey::None => return asked,
            }
        }
    }

    async fn ask_once(
        &self,
        keys: &mut KeyAttempts,
        body: Bytes,
        id: RequestId,
        caller: &Caller,
    ) -> Result<u64, CallFailure> {
        // Counts are not billed, so that no tokens count against a key's limits.
        let credentials = Credentials::of(self.gateway, &self.provider, keys, 0).await;
        let credentials = credentials.map_err(|error| CallFailure::without_key(&error))?;
        let wait = WAIT_MAX.min(Duration::from_millis(credentials.provider.timeout_ms));
        let called = timeout(wait, self.call(&credentials, body, id, caller)).await;
        let (status, headers, answer) = called.map_err(|_| CallFailure::of(Cause::Timeout))??;
        let is_success = (200..300).contains(&status);
        keys.answered(&headers, is_success, &*self.gateway.clock);
        if !is_success {
            let refusal = read_refusal(self.kind, status, &headers, &answer, self.gateway.clock.now());
            return Err(CallFailure::refused(refusal, &credentials));
        }
        let count = std::str::from_utf8(&answer).ok().and_then(read_token_count);
        count.ok_or(CallFailure::of(Cause::Fault(UpstreamFault::Malformed("no count of tokens"))))
    }

    async fn call(
        &self,
        credentials: &Credentials,
        body: Bytes,
        id: RequestId,
        caller: &Caller,
    ) -> Result<(u16, HeaderMap, Bytes), CallFailure> {
        let invocation = Invocation {
            model: &self.backend,
            streamed: false,
            api_version: credentials.provider.api_version.as_deref(),
            region: credentials.provider.region.as_deref(),
        };
        let forwarded = self.headers.forwarded_to(&self.provider.allowed_fields);
        let outgoing = Outgoing {
            endpoint: &self.endpoint,
            path: &(self.endpoint.path)(&invocation),
            framing: Framing::Sse,
            invocation,
            forwarded: &forwarded,
        };
        let trace = TraceHeaders { parent: None, state: None };
        let request = outgoing.request(credentials, body, &id.to_string(), trace, self.gateway.clock.now());
        let mut request = request.map_err(CallFailure::of)?;
        if let Some(passed) = &self.passed {
            passed.put_into(request.headers_mut());
        }
        let request = request.map(|body| RequestBody::new(body, Transmission::default()));
        let client = self.gateway.providers.clients.client(&credentials.provider);
        let response = client.send(caller.chain.tenant, request).await;
        let (parts, body) = response.map_err(|error| CallFailure::of(Cause::Send(error)))?.into_parts();
        let answer = match AnswerSource::of(&parts.headers, body).whole(ANSWER_BYTES_MAX).await {
            // The status of a refusal says enough.
            Err(Cause::Fault(_)) if !parts.status.is_success() => Bytes::new(),
            answer => answer.map_err(CallFailure::of)?,
        };
        Ok((parts.status.as_u16(), parts.headers, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::received::reading::tests::large_bodies_must_wait;

    #[tokio::test(start_paused = true)]
    async fn only_large_bodies_wait_for_their_turn() {
        large_bodies_must_wait(async |full, permit, body| read(full, permit, Surface::Anthropic, body).await).await;
    }
}
