//! The door: every request gets its id, every caller is known, every refusal its words, before and after the routes.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use access::auth::Authenticator;
use access::limits::{BindingLimits, RateLimitPermit, RateLimiter};
use access::rollup::AccessRollup;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use command::inference::{Arrival, POSITION_HEADER, REQUEST_ID_HEADER};
use command::reply;
use command::trace::TraceParent;
use dialects::surfaces::Audience;
use events::event::{Actor, Chain, Context};
use events::ids::{IdMaker, RequestId};
use events::limit::LimitReached;
use events::refusal::{ErrorCode, Refusal};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use openapi::Entrance;
use projections::caller::{AtPosition, Caller, ClientOrigin};
use projections::last_use::LastUses;
use projections::tables::TablesHandle;
use tower_service::Service;

use super::cors::{Cors, CorsOrigins};
use super::entrances::{Entrances, Routes};
use super::line_end::end_line;
use super::unknown_path;
use super::unread::UnreadRequests;
use super::wording::word;
use crate::in_flight::InFlight;
use crate::metrics::{Answers, Area, OpenConnection};

/// Path and query beyond this are refused.
const URI_BYTES_MAX: usize = 8 * 1024;
const USER_AGENT_CHARS_MAX: usize = 512;

pub struct DoorParts {
    pub routes: Routes,
    pub authenticator: Authenticator,
    pub tables: TablesHandle,
    pub access: Arc<AccessRollup>,
    pub limits: Arc<RateLimiter>,
    pub ids: IdMaker,
    pub in_flight: InFlight,
    pub answers: Answers,
    pub cors: Option<CorsOrigins>,
    pub last_uses: LastUses,
}

/// In front of all routes. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    router: Router,
    entrances: Entrances,
    shared: Arc<DoorInner>,
}

struct DoorInner {
    authenticator: Authenticator,
    tables: TablesHandle,
    access: Arc<AccessRollup>,
    limits: Arc<RateLimiter>,
    ids: IdMaker,
    in_flight: InFlight,
    answers: Answers,
    cors: Option<Cors>,
    last_uses: LastUses,
}

impl Door {
    pub fn new(parts: DoorParts) -> Self {
        let DoorParts { routes, authenticator, tables, access, limits, ids, in_flight, answers, cors, last_uses } =
            parts;
        let cors = cors.map(Cors::new);
        let shared = DoorInner { authenticator, tables, access, limits, ids, in_flight, answers, cors, last_uses };
        let Routes { router, entrances } = routes;
        Self { router: with_fallbacks(router), entrances, shared: Arc::new(shared) }
    }

    /// A door of the same kind to other routes.
    pub fn to(&self, routes: Routes) -> Self {
        let Routes { router, entrances } = routes;
        Self { router: with_fallbacks(router), entrances, shared: Arc::clone(&self.shared) }
    }

    pub fn connection_opens(&self) -> OpenConnection {
        self.shared.answers.connection_opens()
    }

    /// For what does not become a request.
    pub fn unread_requests(&self) -> UnreadRequests {
        UnreadRequests::new(self.shared.ids.clone(), self.shared.answers.clone())
    }

    /// Answers one request, whatever it is.
    pub async fn answer(self, request: Request, peer: IpAddr) -> Response {
        let shared = Arc::clone(&self.shared);
        match &shared.cors {
            None => self.answer_same_origin(request, peer).await,
            Some(cors) => {
                let mut response = cors.answer(request, |request| self.clone().answer_same_origin(request, peer)).await;
                if !response.headers().contains_key(REQUEST_ID_HEADER) {
                    // A preflight, which went no further.
                    set_request_id(&mut response, &shared.ids.make::<RequestId>().to_string());
                }
                response
            }
        }
    }

    async fn answer_same_origin(self, mut request: Request, peer: IpAddr) -> Response {
        let began = Instant::now();
        let id: RequestId = self.shared.ids.make();
        let audience = Audience::at(request.uri().path());
        let form = audience.error_form;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let entrance = self.entrances.at(&path);
        let counted = counts_as_in_flight(&request, entrance).then(|| self.shared.in_flight.begin());
        let area = area_of(entrance, audience);
        let client_trace = TraceParent::of(request.headers()).map(Arc::new);
        let trace_id = client_trace.as_ref().map(|client| client.trace.to_string());
        let caller = self.shared.let_in(&mut request, entrance, id, peer, began, client_trace).await;
        let mut response = match &caller {
            Ok(Some(caller)) if entrance == Entrance::Administration => self.administrate(caller, request).await,
            Ok(_) => self.route(request).await,
            Err(refusal) => {
                self.shared.report_unknown(refusal, request.headers());
                reply::refused(refusal.clone())
            }
        };
        let request_id = id.to_string();
        let (mut cause, mut code) = (None, None);
        if let (Some(reached), Ok(Some(caller))) = (response.extensions_mut().remove::<LimitReached>(), &caller) {
            let context = Context::about(caller.actor.clone(), caller.chain);
            self.shared.access.rate_limited(context, reached.name, reached.measure, reached.limit);
        }
        if let Some(mut refusal) = response.extensions_mut().remove::<Refusal>() {
            cause = refusal.cause.take();
            code = Some(refusal.code);
            if refusal.code == ErrorCode::MethodNotAllowed {
                refusal = unknown_path::name_methods(refusal, &method, response.headers());
            }
            if let Ok(Some(caller)) = &caller {
                self.shared.report(&refusal, caller);
            }
            self.shared.answers.refused(area, &refusal);
            word(&mut response, &refusal, form, &request_id);
            set_position(&mut response, refusal.position);
        }
        let position = response.extensions().get::<AtPosition>().map(|at| at.0);
        set_position(&mut response, position);
        set_request_id(&mut response, &request_id);
        if let Some(name) = form.request_id_header() {
            set_header(&mut response, name, &request_id);
        }
        if code.is_none() && !matches!(area, Area::Inference(_)) {
            response = end_line(response);
        }
        self.shared.answers.answered(area, response.status().as_u16());
        let told = Told { request_id: &request_id, trace_id, method: &method, path: &path, cause, code };
        tell(&told, &response, began);
        match counted {
            Some(counted) => response.map(|body| counted.until_the_end_of(body)),
            None => response,
        }
    }

    async fn route(&self, request: Request) -> Response {
        match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// A request that a limit of administration may bind, whether it comes to a route or not.
    async fn administrate(&self, caller: &Caller, request: Request) -> Response {
        let (limiter, tables) = (&self.shared.limits, &self.shared.tables);
        let limits = limiter.binding_administration(&tables.load(), &caller.chain);
        let mut response = match self.shared.let_administrate(&limits, caller) {
            Ok(_permit) => self.route(request).await,
            Err(refusal) => reply::refused(refusal),
        };
        if let Some(tightest) = limiter.tightest(&limits) {
            tightest.put_into(response.headers_mut());
        }
        response
    }
}

impl DoorInner {
    /// Who asks, where a path needs to know; its extensions are what handlers find.
    async fn let_in(
        &self,
        request: &mut Request,
        entrance: Entrance,
        id: RequestId,
        peer: IpAddr,
        began: Instant,
        trace: Option<Arc<TraceParent>>,
    ) -> Result<Option<Arc<Caller>>, Refusal> {
        if request.uri().path_and_query().is_some_and(|whole| whole.as_str().len() > URI_BYTES_MAX) {
            return Err(Refusal::new(ErrorCode::RequestHeaderFieldsTooLarge, "path and query are over 8 KiB"));
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
        let caller = self.authenticator.authenticate(request.headers()).await?;
        if let Actor::Key(key) = &caller.actor {
            self.last_uses.note(*key);
        }
        let user_agent = user_agent(request.headers());
        let extensions = request.extensions_mut();
        extensions.insert(id);
        extensions.insert(Arrival { at: began, let_in: Instant::now(), trace });
        extensions.insert(Arc::clone(&caller));
        extensions.insert(ClientOrigin { ip: peer, user_agent });
        Ok(Some(caller))
    }

    fn let_administrate(&self, limits: &BindingLimits, caller: &Caller) -> Result<RateLimitPermit, Refusal> {
        self.limits.acquire(limits).map_err(|refused| {
            let context = Context::about(caller.actor.clone(), caller.chain);
            self.access.rate_limited(context, refused.name, refused.measure, refused.limit);
            Refusal::from(&refused)
        })
    }

    /// Refusals at the door are facts too, rolled up.
    fn report(&self, refusal: &Refusal, caller: &Caller) {
        if matches!(refusal.code, ErrorCode::Forbidden | ErrorCode::Unauthenticated) {
            self.access.denied(Context::about(caller.actor.clone(), caller.chain), refusal.code);
        }
    }

    /// Who was not let in is known by a key that we made, though it does not work any more; else it is anonymous.
    fn report_unknown(&self, refusal: &Refusal, headers: &HeaderMap) {
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

fn with_fallbacks(routes: Router) -> Router {
    routes.fallback(no_such_path).method_not_allowed_fallback(no_such_method)
}

/// Where a request is counted.
const fn area_of(entrance: Entrance, audience: Audience) -> Area {
    match (audience.surface, entrance) {
        (Some(surface), _) => Area::Inference(surface),
        (None, Entrance::Administration) => Area::Admin,
        (None, Entrance::Open) => Area::Open,
        (None, Entrance::Key) => Area::Query,
    }
}

/// Whether the path is UTF-8 once it is decoded. No other names anything, and handlers could not read it.
fn decodes(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    std::str::from_utf8(&decoded).is_ok()
}

/// A stream of events never ends by itself: it must not hold up a shutdown. Nor must the question how we are.
fn counts_as_in_flight(request: &Request, entrance: Entrance) -> bool {
    let accepts = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let follows_the_log = request.method() == Method::GET && accepts.contains("text/event-stream");
    !follows_the_log && entrance != Entrance::Open
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

fn set_request_id(response: &mut Response, request_id: &str) {
    set_header(response, REQUEST_ID_HEADER, request_id);
}

fn set_header(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What a line says of a request besides how it was answered.
struct Told<'a> {
    request_id: &'a str,
    trace_id: Option<String>,
    method: &'a Method,
    path: &'a str,
    /// What is behind a refusal that is our own fault.
    cause: Option<Box<str>>,
    /// Of a refusal.
    code: Option<ErrorCode>,
}

/// The ledger keeps what happened; the log keeps what went wrong, and the rest for who asks for it.
fn tell(told: &Told<'_>, response: &Response, began: Instant) {
    let Told { request_id, trace_id, method, path, cause, code } = told;
    // What somebody sends too much of is not our failure, and could fill the log.
    let is_ours = *code != Some(ErrorCode::Overloaded);
    // A number of 128 bits would be written as a text.
    let latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    if cause.is_some() {
        tracing::error!(request_id, trace_id, %method, path, status, latency_ms, cause, "answered");
    } else if status >= 500 && is_ours {
        tracing::warn!(request_id, trace_id, %method, path, status, latency_ms, "answered");
    } else {
        tracing::debug!(request_id, trace_id, %method, path, status, latency_ms, "answered");
    }
}

async fn no_such_path(request: axum::extract::Request<Body>) -> Result<Response, Infallible> {
    Ok(reply::refused(unknown_path::refusal(request.uri().path())))
}

async fn no_such_method(_: axum::extract::Request<Body>) -> Result<Response, Infallible> {
    Ok(reply::refused(Refusal::new(ErrorCode::MethodNotAllowed, "the path has no such method")))
}

#[cfg(test)]
mod tests {
    use super::*;

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
