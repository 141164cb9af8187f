//! The door: the code that every request passes before and after its route.
//!
//! It guarantees that every response has a request id and, unless it answers a preflight, is counted; that a route is called
//! only for a request that its entrance lets in (`entrances.rs`); that every refusal, wherever it was made, is written in the
//! error format of the surface; and that a refused caller and a rejected change are recorded in the log, rolled up.
//!
//! It does not read bodies, check permissions or apply the limits of inference: what a request needs is known to its route
//! alone. Nor does it hold a permit for commands, which a slow body would keep. A caller can lose its rights while its body
//! arrives, so handlers look it up again after every wait.
//!
//! Deriving a route's entrance from its path was rejected: the description in `/openapi.json` would say it a second time,
//! with nothing to keep the two together. A route declares its entrance once, and the door looks its path up with the
//! matcher that axum uses, because axum does not say what a path matches before it calls the route.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use access_control::auth::Authenticator;
use access_control::limits::{BindingLimits, LimitRefusal, RateLimitPermit, RateLimiter};
use access_control::rollup::{AccessRollup, RejectedChange};
use access_log::{LoggedRequest, Recorder};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use command::admin::RejectedResource;
use command::inference::{Arrival, POSITION_HEADER, REQUEST_ID_HEADER};
use command::trace::TraceParent;
use dialects::surfaces::Audience;
use events::event::access::ChangeMethod;
use events::event::{Actor, Chain, Context};
use events::ids::{IdMaker, RequestId};
use events::limit::LimitReached;
use events::refusal::{ErrorCode, Refusal};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use openapi::{Entrance, refusals};
use percent_encoding::percent_decode_str;
use projections::caller::{AtPosition, Caller, ClientOrigin};
use projections::last_use::LastUses;
use projections::tables::TablesHandle;
use provider_client::{LoopMark, Looping};
use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower_service::Service;

use super::by_address::ProxiedRequest;
use super::commands_thread::{calls_provider, route_for};
use super::connection_requests::ConnectionRequests;
use super::cors::Cors;
use super::entrances::{Entrances, Protocol, Routes};
use super::parse_errors::ParseErrorResponses;
use super::refusal_response::write_refusal;
use super::request_line::RequestLine;
use super::server::RequestHandler;
use super::trusted_proxies::TrustedProxies;
use super::unknown_path;
use crate::guarded_body::GuardedBody;
use crate::in_flight::InFlight;
use crate::metrics::{Area, ResponseMetrics};

/// The longest path and query together.
const URI_BYTES_MAX: usize = 8 * 1024;
const USER_AGENT_CHARS_MAX: usize = 512;

/// The parts of a [`Door`] that all listeners share.
pub struct DoorParts {
    pub authenticator: Arc<Authenticator>,
    pub tables: TablesHandle,
    pub access: Arc<AccessRollup>,
    /// Records each request but those to open routes; `None` if there is no access log.
    pub access_log: Option<Recorder>,
    pub limits: Arc<RateLimiter>,
    pub ids: IdMaker,
    /// Runs what tenants ask of administration.
    pub commands: Handle,
    pub in_flight: InFlight,
    pub responses: ResponseMetrics,
    pub cors: Option<Cors>,
    pub trusted_proxies: TrustedProxies,
    pub last_uses: LastUses,
    pub loop_mark: LoopMark,
}

/// A request that counts until this is dropped: in flight, and by the client that a trusted proxy names.
struct CountedRequest {
    _in_flight: TaskTrackerToken,
    _of_client: Option<ProxiedRequest>,
}

/// The door in front of one listener's routes. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    router: Router,
    entrances: Entrances,
    protocol: Protocol,
    parts: Arc<DoorParts>,
}

impl Door {
    pub fn new(parts: Arc<DoorParts>, routes: Routes) -> Self {
        let Routes { router, entrances, unknown_path, protocol } = routes;
        let no_such_path =
            move |request: Request| async move { refusals::response(unknown_path(request.uri().path())) };
        Self {
            router: router.fallback(no_such_path).method_not_allowed_fallback(no_such_method),
            entrances,
            protocol,
            parts,
        }
    }

    /// The same door in front of other routes.
    pub fn with_routes(&self, routes: Routes) -> Self {
        Self::new(Arc::clone(&self.parts), routes)
    }

    async fn answer_same_origin(self, mut request: Request, connection: Arc<ConnectionRequests>) -> Response {
        let began = Instant::now();
        let id: RequestId = self.parts.ids.make();
        let audience = Audience::at(request.uri().path());
        let form = audience.error_form;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let entrance = self.entrances.at(&path);
        let is_grpc = self.protocol == Protocol::Grpc && grpc::is_call(&request);
        let (of_client, refused) = match self.parts.begin_for_client(&connection, entrance, request.headers()) {
            Ok(of_client) => (of_client, None),
            Err(refusal) => (None, Some(refusal)),
        };
        let counted = (entrance != Entrance::Open).then(|| {
            let in_flight = &self.parts.in_flight;
            let in_flight = if may_be_endless(&request) { in_flight.begin_stream() } else { in_flight.begin() };
            Arc::new(CountedRequest { _in_flight: in_flight, _of_client: of_client })
        });
        let mut entry = self.parts.access_log.as_ref().filter(|_| entrance != Entrance::Open).map(|access_log| {
            let route = self.entrances.route(&path);
            access_log.at_end_of(LoggedRequest::arrived(began, id, &method, route))
        });
        let area = area_of(entrance, audience);
        let client_trace = TraceParent::of(request.headers()).map(Arc::new);
        let trace_id = client_trace.as_ref().map(|client| client.trace.to_string());
        let caller = match refused {
            None => self.parts.authenticate(&mut request, entrance, id, &connection, began, client_trace).await,
            Some(refusal) => Err(refusal),
        };
        if let (Some(entry), Ok(Some(caller))) = (&mut entry, &caller) {
            entry.set_caller(caller.actor.clone(), caller.chain);
        }
        let mut response = match &caller {
            Ok(Some(caller)) if entrance == Entrance::Administration => {
                self.route_administration(caller, request, counted.clone()).await
            }
            Ok(_) => self.route(request).await,
            Err(refusal) => {
                self.parts.record_refused_at_entrance(refusal, request.headers());
                refusals::response(refusal.clone())
            }
        };
        let request_id = id.to_string();
        let (mut cause, mut code) = (None, None);
        if let (Some(reached), Ok(Some(caller))) = (response.extensions_mut().remove::<LimitReached>(), &caller) {
            let context = caller.context();
            self.parts.access.rate_limited(context, reached.name, reached.measure, reached.limit);
        }
        if let Some(mut refusal) = response.extensions_mut().remove::<Refusal>() {
            cause = refusal.cause.take();
            code = Some(refusal.code);
            if refusal.code == ErrorCode::MethodNotAllowed && self.protocol == Protocol::Http {
                refusal = unknown_path::with_allowed_methods(refusal, &method, response.headers());
            }
            if let Ok(Some(caller)) = &caller {
                self.parts.record_denied(&refusal, caller);
                if entrance == Entrance::Administration {
                    let resource = response.extensions_mut().remove::<RejectedResource>();
                    self.parts.record_rejected(&refusal, caller, resource);
                }
            }
            self.parts.responses.refused(area, &refusal);
            if is_grpc {
                grpc::write_refusal(&mut response, &refusal);
            } else {
                write_refusal(&mut response, &refusal, form, &request_id);
            }
            set_position(&mut response, refusal.position);
        }
        let position = response.extensions().get::<AtPosition>().map(|at| at.0);
        set_position(&mut response, position);
        set_header(&mut response, REQUEST_ID_HEADER, &request_id);
        if let Some(name) = form.request_id_header() {
            set_header(&mut response, name, &request_id);
        }
        // A refused gRPC call has the status 200 as well.
        let status = code.map_or_else(|| response.status(), refusals::status).as_u16();
        self.parts.responses.answered(area, status);
        RequestLine { request_id: &request_id, trace_id, method: &method, path: &path, status, cause, code }.log(began);
        let Some(counted) = counted else { return response };
        match entry {
            None => response.map(|body| Body::new(GuardedBody::new(body, counted))),
            Some(mut entry) => {
                entry.set_answer(status, code);
                // The entry first: a shutdown waits for what is counted, and then closes the access log.
                response.map(|body| Body::new(GuardedBody::new(body, (entry, counted))))
            }
        }
    }

    async fn route(&self, request: Request) -> Response {
        let Ok(response) = self.router.clone().call(request).await;
        response
    }

    /// Routes a request under the rate limits of administration; those for unknown paths count as well. It counts until its route has
    /// ended, whoever waits for it.
    async fn route_administration(
        &self,
        caller: &Caller,
        request: Request,
        counted: Option<Arc<CountedRequest>>,
    ) -> Response {
        let (limiter, tables) = (&self.parts.limits, &self.parts.tables);
        let limits = limiter.binding_administration(&tables.load(), &caller.chain);
        let mut response = match self.parts.admin_permit(&limits, caller).await {
            Ok(permit) => {
                let (door, calls_provider) = (self.clone(), calls_provider(request.uri().path()));
                let routing = async move {
                    let _guards = (permit, counted);
                    door.route(request).await
                };
                if calls_provider { routing.await } else { route_for(caller, &self.parts.commands, routing).await }
            }
            Err(refusal) => refusals::response(refusal),
        };
        if let Some(tightest) = limiter.tightest(&limits) {
            tightest.put_into(response.headers_mut());
        }
        response
    }
}

impl RequestHandler for Door {
    fn metrics(&self) -> &ResponseMetrics {
        &self.parts.responses
    }

    fn is_trusted_proxy(&self, peer: IpAddr) -> bool {
        self.parts.trusted_proxies.has(peer)
    }

    fn parse_error_responses(&self) -> ParseErrorResponses {
        ParseErrorResponses::new(self.parts.ids.clone(), self.parts.responses.clone())
    }

    async fn answer(self, request: Request, connection: Arc<ConnectionRequests>) -> Response {
        let parts = Arc::clone(&self.parts);
        match &parts.cors {
            None => self.answer_same_origin(request, connection).await,
            Some(cors) => {
                // Boxed, so that requests without CORS need no room for it.
                let answer =
                    cors.answer(request, |request| self.clone().answer_same_origin(request, Arc::clone(&connection)));
                let mut response = Box::pin(answer).await;
                if !response.headers().contains_key(REQUEST_ID_HEADER) {
                    // A preflight, which CORS has answered.
                    set_header(&mut response, REQUEST_ID_HEADER, &parts.ids.make::<RequestId>().to_string());
                }
                response
            }
        }
    }
}

impl DoorParts {
    /// The caller, unless the entrance is open. Puts into the request's extensions what handlers need.
    async fn authenticate(
        &self,
        request: &mut Request,
        entrance: Entrance,
        id: RequestId,
        connection: &ConnectionRequests,
        began: Instant,
        trace: Option<Arc<TraceParent>>,
    ) -> Result<Option<Arc<Caller>>, Refusal> {
        if request.uri().path_and_query().is_some_and(|whole| whole.as_str().len() > URI_BYTES_MAX) {
            return Err(Refusal::new(
                ErrorCode::RequestHeaderFieldsTooLarge,
                "the path and the query are over 8 KiB in total",
            ));
        }
        if !decodes(request.uri().path()) {
            return Err(unknown_path::refusal(request.uri().path()));
        }
        if entrance == Entrance::Open {
            return Ok(None);
        }
        if self.in_flight.is_draining() {
            let refusal = Refusal::new(ErrorCode::Draining, "the gateway is shutting down");
            return Err(refusal.retry_after(std::time::Duration::from_secs(1)));
        }
        let passed = self.loop_mark.read(request.headers()).map_err(looping)?;
        let caller = self.authenticator.authenticate(request.headers()).await.inspect_err(|refusal| {
            if refusal.code == ErrorCode::Unauthenticated {
                connection.mark_stranger();
            }
        })?;
        if let Some(reached) = connection.place().reached()
            && !caller.reaches_platform()
        {
            return Err(no_place(reached));
        }
        connection.mark_known();
        if let Actor::Key(key) = &caller.actor {
            self.last_uses.record(*key);
        }
        let ip = self.trusted_proxies.client_of(connection.peer(), request.headers());
        let user_agent = user_agent(request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(id);
        extensions.insert(Arrival { at: began, authenticated_at: Instant::now(), trace, passed });
        extensions.insert(Arc::clone(&caller));
        extensions.insert(ClientOrigin { ip, user_agent });
        Ok(Some(caller))
    }

    /// Counts a request by the client that a trusted proxy names, until the returned value is dropped.
    fn begin_for_client(
        &self,
        connection: &ConnectionRequests,
        entrance: Entrance,
        headers: &HeaderMap,
    ) -> Result<Option<ProxiedRequest>, Refusal> {
        let Some(proxied) = connection.proxied().filter(|_| entrance != Entrance::Open) else { return Ok(None) };
        let client = self.trusted_proxies.client_of(connection.peer(), headers);
        proxied.begin(client).map(Some).ok_or_else(|| no_place("address"))
    }

    async fn admin_permit(&self, limits: &BindingLimits, caller: &Caller) -> Result<RateLimitPermit, Refusal> {
        self.limits.acquire(limits).await.map_err(|refused| {
            if let LimitRefusal::RateLimited(limited) = &refused {
                self.access.rate_limited(caller.context(), limited.name, limited.measure, limited.limit);
            }
            Refusal::from(&refused)
        })
    }

    /// Records that a caller was denied something, rolled up.
    fn record_denied(&self, refusal: &Refusal, caller: &Caller) {
        if matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::Unauthenticated) {
            self.access.denied(caller.context(), refusal.code);
        }
    }

    /// Records that a rule refused a change of a resource, rolled up. If the caller reaches the resource, the record is about the
    /// resource's owners, as that of the change would be.
    fn record_rejected(&self, refusal: &Refusal, caller: &Caller, resource: Option<RejectedResource>) {
        let Some(RejectedResource { kind, method, reached }) = resource else { return };
        let Some(method) = ChangeMethod::parse(method.as_str()).filter(|_| is_rejection(refusal.code)) else { return };
        let (context, resource_id) = match reached {
            Some(reached) => (Context::about(caller.actor.clone(), reached.chain), Some(reached.id)),
            None => (caller.context(), None),
        };
        self.access.rejected(context, RejectedChange { code: refusal.code, method, resource: kind, resource_id });
    }

    /// Records that a request was refused at the entrance: by its key, if the gateway made it, though it is not valid any
    /// more; otherwise as anonymous.
    fn record_refused_at_entrance(&self, refusal: &Refusal, headers: &HeaderMap) {
        if !matches!(refusal.code, ErrorCode::Unauthenticated | ErrorCode::Forbidden) {
            return;
        }
        let context = self.authenticator.presented_key(headers).map_or_else(AccessRollup::anonymous, |key| {
            let chain = self.tables.load().key(key).map_or_else(Chain::default, |entry| entry.chain);
            Context::about(Actor::Key(key), chain)
        });
        self.access.denied(context, refusal.code);
    }
}

/// True if a rule refused the request: not for want of a permission or of room, and not because something failed or another node
/// would have taken it.
fn is_rejection(code: ErrorCode) -> bool {
    let recorded_otherwise = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
    let status = refusals::status(code);
    status.is_client_error() && status != StatusCode::MISDIRECTED_REQUEST && !recorded_otherwise.contains(&status)
}

/// The refusal of a request for which there is no connection, of all or of its client's address.
fn no_place(scope: &'static str) -> Refusal {
    let message = match scope {
        "address" => "your address has as many requests in progress, or busy connections, as one address may",
        _ => "all connections of the gateway are busy: new ones are for its operator",
    };
    Refusal::new(ErrorCode::Overloaded, message).with("scope", scope).try_again()
}

/// The refusal of a request that goes in a circle.
fn looping(looping: Looping) -> Refusal {
    let message = match looping {
        Looping::Back => {
            "this request has come back to the gateway that sent it: the base_url of one of its providers leads to the \
             gateway itself, maybe by way of another one"
        }
        Looping::TooMany => "this request has passed more than eight gateways",
    };
    Refusal::new(ErrorCode::LoopDetected, message)
}

/// The area under which a request is counted.
const fn area_of(entrance: Entrance, audience: Audience) -> Area {
    match (audience.surface, entrance) {
        (Some(surface), _) => Area::Inference(surface),
        (None, Entrance::Administration) => Area::Admin,
        (None, Entrance::Open) => Area::Open,
        (None, Entrance::Key) => Area::Query,
    }
}

/// True if the decoded path is UTF-8. No other path exists, and handlers could not read it.
fn decodes(path: &str) -> bool {
    percent_decode_str(path).decode_utf8().is_ok()
}

/// True for event streams and tails of the log, which never end by themselves: a shutdown ends them. It waits for no open route,
/// such as health.
fn may_be_endless(request: &Request) -> bool {
    let accepts = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let follows_the_log = request.method() == Method::GET && accepts.contains("text/event-stream");
    follows_the_log || grpc::may_be_endless(request.uri().path())
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.chars().take(USER_AGENT_CHARS_MAX).collect())
}

fn set_position(response: &mut Response, position: Option<u64>) {
    if let Some(position) = position {
        response.headers_mut().insert(POSITION_HEADER, HeaderValue::from(position));
    }
}

fn set_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

async fn no_such_method() -> Response {
    refusals::response(Refusal::new(ErrorCode::MethodNotAllowed, "this path does not support the method"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_refuses_what_the_client_can_mend_and_nobody_else() {
        let rejections = ErrorCode::ALL.iter().filter(|code| is_rejection(**code)).map(|code| code.as_str());
        assert_eq!(
            rejections.collect::<Vec<_>>(),
            [
                "INVALID_REQUEST",
                "UPSTREAM_REJECTED",
                "NOT_FOUND",
                "MODEL_NOT_FOUND",
                "METHOD_NOT_ALLOWED",
                "CONFLICT",
                "IDEMPOTENCY_KEY_REUSED",
                "LEGAL_HOLD",
                "CONTENT_GONE",
                "PAYLOAD_TOO_LARGE",
                "UNSUPPORTED_MEDIA_TYPE",
                "MODEL_UNPRICED",
                "REQUEST_HEADER_FIELDS_TOO_LARGE",
            ]
        );
    }

    #[test]
    fn a_path_that_decodes_to_no_text_names_nothing() {
        for fine in ["/v1/keys/key_1", "/v1/keys/%C3%A9", "/v1/keys/%00", "/v1/keys/100%", "/v1/keys/%zz%2"] {
            assert!(decodes(fine), "{fine}");
        }
        for wrong in ["/v1/keys/%ff", "/v1/keys/%C3", "/v1/%E2%82/x"] {
            assert!(!decodes(wrong), "{wrong}");
        }
    }
}
