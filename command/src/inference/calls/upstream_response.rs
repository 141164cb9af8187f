//! One call to one target: the head within the provider's time-out, the body chunk by chunk, all of it before the request's
//! deadline.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use dialects::provider_dialects::{Endpoint, Framing, InProcessBody, Invocation, KeyBlame, Transport};
use dialects::{REFUSAL_BYTES_MAX, UpstreamFault, UpstreamRefusalKind, read_refusal};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body::Body;
use http_body_util::BodyExt;
use provider_client::{RequestBody, ResponseBody, SendError};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer_permit::AnswerPermit;
use super::inflating::{InflatedCoding, Inflater};
use crate::body::buffer::BodyBuffer;
use crate::body::memory::BoundOf;
use crate::inference::calls::yield_to_runtime::YieldToRuntime;
use crate::inference::headers::REQUEST_ID_HEADER;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::too_much::ANSWER_BYTES_MAX;
use crate::inference::running::CallUnderWay;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::credentials::{Credentials, CredentialsError};
use crate::inference::upstream::failure::{CallFailure, Cause};
use crate::inference::upstream::stream_pace::StreamPace;
use crate::inference::upstream::token_exchange::exchanged;
use crate::trace::{TRACEPARENT, TRACESTATE, TraceHeaders};

/// The longest wait for a refusal's body.
const REFUSAL_WAIT_MAX: Duration = Duration::from_secs(2);
/// The most bytes of a stream that are relayed at once.
const PIECE_BYTES_MAX: usize = 16 * 1024;
/// A chunk that arrives within this time counts as fast. On a busy machine even a chunk that is there already takes as long.
const FAST: Duration = Duration::from_millis(5);
/// The headers in which upstreams give their own id of a request: OpenAI and those compatible with it, Anthropic, Azure, AWS.
const UPSTREAM_ID_HEADERS: [HeaderName; 4] = [
    REQUEST_ID_HEADER,
    HeaderName::from_static("request-id"),
    HeaderName::from_static("apim-request-id"),
    HeaderName::from_static("x-amzn-requestid"),
];
const UPSTREAM_ID_CHARS_MAX: usize = 256;
/// The headers that a request to an upstream usually has, and a few more.
const HEADERS: usize = 10;

/// An upstream's successful response: its body is still to be read.
pub struct UpstreamResponse {
    pub upstream_request_id: Option<String>,
    pub body: UpstreamBody,
}

/// The rest of an answer's body.
pub struct UpstreamBody {
    source: AnswerSource,
    idle: Duration,
    /// Since when bytes of the answer are waited for: a wait that is broken off, or hears only comments, does not begin anew.
    waits_since: Option<Instant>,
    /// When the first bytes of the answer are due.
    first_until: Option<Instant>,
    deadline: Instant,
    /// True if the last chunk arrived almost at once: the next one may be there as well.
    arrives_fast: bool,
    /// Bytes of the answer in the pieces handed out so far.
    answer_bytes: usize,
    pace: StreamPace,
    /// The rest of a chunk that is handed out piece by piece.
    rest: Bytes,
    /// The credentials that the upstream was sent, and may repeat in its answer.
    sent: Credentials,
}

pub enum AnswerSource {
    Http(ResponseBody),
    /// Boxed: few answers are compressed.
    Inflating(Box<InflatingBody>),
    /// An answer in a coding that is not decoded.
    Undecoded,
    InProcess(Pin<Box<InProcessBody>>),
    #[cfg(test)]
    Scripted(tests::Script),
}

/// Sends the body and waits for the head of the response; a status other than 2xx is a failure.
pub async fn send_call(
    gateway: &Gateway,
    body: Bytes,
    under_way: &mut CallUnderWay<'_>,
) -> Result<UpstreamResponse, CallFailure> {
    let target = &*Arc::clone(&under_way.call.target);
    let deadline = under_way.request.deadline;
    let now = Instant::now();
    let first_until = deadline.min(now + Duration::from_millis(target.provider.timeout_ms));
    let (sent, (status, headers, source)) = match &target.upstream().transport {
        Transport::InProcess(respond) => {
            must_be_before(first_until)?;
            under_way.call.transmission.start();
            let response = respond(&target.backend.model, &body);
            let source = AnswerSource::InProcess(Box::pin(response.body));
            let sent = Credentials::own(Arc::clone(&target.provider), None);
            (sent, (response.status.as_u16(), response.headers, source))
        }
        Transport::Http(endpoint) => send(gateway, endpoint, target, body, under_way, first_until).await?,
    };
    let idle = Duration::from_millis(target.provider.idle_timeout_ms);
    let mut body = UpstreamBody {
        source,
        idle,
        waits_since: None,
        first_until: Some(first_until),
        deadline,
        arrives_fast: false,
        answer_bytes: 0,
        pace: StreamPace::starting_at(now),
        rest: Bytes::new(),
        sent,
    };
    let is_success = (200..300).contains(&status);
    let turn = &mut under_way.call.turn;
    turn.keys.answered(&headers, is_success, &*gateway.clock);
    if let Some(measured_call) = &turn.observers.health {
        measured_call.learn(&headers, is_success);
    }
    if !is_success {
        let refusal = body.refusal_body().await;
        let mut refusal = read_refusal(target.kind, status, &headers, &refusal, gateway.clock.now());
        // A token that is refused says nothing about the key that it was exchanged for.
        let is_of_token = refusal.kind == UpstreamRefusalKind::Credentials && body.sent.exchanged_key.is_some();
        if is_of_token {
            refusal.key_blame = KeyBlame::None;
        }
        body.sent.drop_token_refused_with(status, &gateway.providers.access_tokens);
        return Err(CallFailure::refused(refusal, &body.sent));
    }
    Ok(UpstreamResponse { upstream_request_id: upstream_request_id(&headers), body })
}

async fn send(
    gateway: &Gateway,
    endpoint: &Endpoint,
    target: &PlannedTarget,
    body: Bytes,
    CallUnderWay { request, call }: &mut CallUnderWay<'_>,
    first_until: Instant,
) -> Result<(Credentials, (u16, HeaderMap, AnswerSource)), CallFailure> {
    let (planned, request_id) = (&target.provider, &*request.id_text);
    let credentials = Credentials::of(gateway, planned, &mut call.turn.keys, request.prompt_tokens).await;
    let mut credentials = credentials.map_err(|error| {
        if !matches!(error, CredentialsError::KeysAtLimit(_)) {
            let trace_id = request.trace_id.map(tracing::field::display);
            tracing::error!(request_id, trace_id, %error, provider = %target.backend.provider_id, "cannot open a provider's key");
        }
        CallFailure::without_key(&error)
    })?;
    if let (Some(exchange), Some(key)) = (&endpoint.token_exchange, &credentials.secret) {
        let token = exchanged(gateway, exchange, &credentials, key, first_until).await;
        credentials.exchange(token.map_err(|error| CallFailure::of(Cause::NoToken(error)))?);
    }
    let invocation = Invocation {
        model: &target.backend.model,
        streamed: request.streamed,
        api_version: credentials.provider.api_version.as_deref(),
        region: credentials.provider.region.as_deref(),
    };
    let path = target.upstream().path(request.api, &invocation).ok_or(CallFailure::of(Cause::Untranslatable))?;
    let framing = target.upstream().framing;
    let upstream = Outgoing { endpoint, path: &path, framing, invocation, forwarded: &call.forwarded_headers };
    let trace_headers = std::mem::take(&mut call.timeline.trace_headers);
    let outgoing = upstream.request(&credentials, body, request_id, trace_headers, gateway.clock.now());
    let mut outgoing = outgoing.map_err(CallFailure::of)?;
    if let Some(passed) = &request.passed {
        passed.put_into(outgoing.headers_mut());
    }
    let outgoing = outgoing.map(|body| RequestBody::new(body, call.transmission.clone()));
    let client = gateway.providers.clients.client(&credentials.provider);
    // A time limit that is over would only be noticed once a part of the request has been sent.
    must_be_before(first_until)?;
    // Pinned here: the future is large, and is moved no more.
    let sent = pin!(client.send(request.owner, outgoing));
    match timeout_at(first_until, sent).await {
        Ok(Ok(response)) => {
            let (parts, body) = response.into_parts();
            let source = AnswerSource::of(&parts.headers, body);
            Ok((credentials, (parts.status.as_u16(), parts.headers, source)))
        }
        Ok(Err(error)) => Err(CallFailure::of(Cause::Send(error))),
        Err(_) => Err(CallFailure::of(Cause::Timeout)),
    }
}

/// Nothing is sent whose answer would not be waited for: what an upstream does for it is charged.
fn must_be_before(until: Instant) -> Result<(), CallFailure> {
    if Instant::now() < until { Ok(()) } else { Err(CallFailure::of(Cause::Timeout)) }
}

/// The parts of an HTTP request that depend on the upstream.
pub struct Outgoing<'a> {
    pub endpoint: &'a Endpoint,
    /// The path of the API that is called, after the provider's `base_url`.
    pub path: &'a str,
    pub framing: Framing,
    pub invocation: Invocation<'a>,
    /// Headers of the client, whose dialect is the endpoint's.
    pub forwarded: &'a [(HeaderName, HeaderValue)],
}

impl Outgoing<'_> {
    /// Errors: the provider's settings cannot be written in an HTTP request, or its key cannot authenticate one.
    pub fn request(
        &self,
        credentials: &Credentials,
        body: Bytes,
        request_id: &str,
        trace: TraceHeaders,
        now: DateTime<Utc>,
    ) -> Result<Request<Bytes>, Cause> {
        let mut request = self.unauthenticated(credentials, body, request_id, trace).ok_or(Cause::WrongSettings)?;
        // Last, since it may be a signature over all the rest.
        if let Some(secret) = &credentials.secret {
            (self.endpoint.authenticate)(&mut request, secret, &self.invocation, now).map_err(Cause::WrongKey)?;
        }
        Ok(request)
    }

    fn unauthenticated(
        &self,
        credentials: &Credentials,
        body: Bytes,
        request_id: &str,
        trace: TraceHeaders,
    ) -> Option<Request<Bytes>> {
        let Credentials { provider, secret_headers, .. } = credentials;
        let Self { endpoint, path, framing, forwarded, .. } = self;
        let base_url = provider.base_url.as_deref()?.trim_end_matches('/');
        let mut request = Request::post([base_url, path].concat()).body(body).ok()?;
        let headers = request.headers_mut();
        // Room for all of a plain request at once, also those that are added later.
        headers.reserve(HEADERS);
        for (name, value) in &provider.headers {
            headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        secret_headers.put_into(headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(framing.accept()));
        // Without it, any coding would do (RFC 9110, section 12.5.3).
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ledgerway/", env!("CARGO_PKG_VERSION"))));
        headers.insert(REQUEST_ID_HEADER, HeaderValue::try_from(request_id).ok()?);
        for (name, value) in [(&TRACEPARENT, trace.parent), (&TRACESTATE, trace.state)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        for (name, value) in endpoint.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        for (name, value) in *forwarded {
            // The client's value takes the place of a default, and is added to a list that the provider's row has.
            if endpoint.headers.iter().any(|(default, _)| name == default) {
                headers.insert(name, value.clone());
            } else {
                headers.append(name, value.clone());
            }
        }
        Some(request)
    }
}

fn upstream_request_id(headers: &HeaderMap) -> Option<String> {
    let id = UPSTREAM_ID_HEADERS.iter().find_map(|name| headers.get(name))?.to_str().ok()?;
    Some(id.chars().take(UPSTREAM_ID_CHARS_MAX).collect())
}

/// When the client of a stream that hears nothing gets a keep-alive; without an interval, never.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAliveTimer {
    interval: Option<Duration>,
    /// Set when the first wait begins.
    due_at: Option<Instant>,
}

impl KeepAliveTimer {
    pub const fn of(interval: Option<Duration>) -> Self {
        Self { interval, due_at: None }
    }

    fn until(&mut self, now: Instant) -> Option<Instant> {
        let interval = self.interval?;
        Some(*self.due_at.get_or_insert(now + interval))
    }
}

impl UpstreamBody {
    /// The next bytes of an answer that is read whole; `None` at the end. Blank ones give the upstream no more time.
    async fn next(&mut self) -> Result<Option<Bytes>, CallFailure> {
        let next = self.next_or_keep_alive(&mut KeepAliveTimer::default()).await;
        let chunk = next.unwrap_or(Err(CallFailure::of(Cause::Timeout)))?;
        if chunk.as_ref().is_some_and(|chunk| !chunk.trim_ascii_start().is_empty()) {
            self.wait_anew();
        }
        Ok(chunk)
    }

    /// Takes note of how many bytes of the answer were in the pieces handed out so far. Others, such as comments and empty
    /// events, give the upstream no more time. Errors: the next bytes of the answer are overdue.
    pub fn heard(&mut self, answer_bytes: usize) -> Result<(), CallFailure> {
        if answer_bytes > self.answer_bytes {
            self.answer_bytes = answer_bytes;
            self.wait_anew();
        }
        match self.waits_since {
            Some(since) if Instant::now() >= self.due(since) => Err(CallFailure::of(Cause::Timeout)),
            _ => Ok(()),
        }
    }

    fn wait_anew(&mut self) {
        (self.waits_since, self.first_until) = (None, None);
    }

    /// When the next bytes of the answer are due.
    fn due(&self, waits_since: Instant) -> Instant {
        let idle_until = waits_since + self.idle;
        self.first_until.map_or(idle_until, |first| first.max(idle_until)).min(self.deadline)
    }

    /// The next bytes; `None` when a keep-alive is due. Neither ends the wait, which goes on with the next call.
    async fn next_or_keep_alive(&mut self, timer: &mut KeepAliveTimer) -> Option<Result<Option<Bytes>, CallFailure>> {
        let mut now = Instant::now();
        let pause = self.pace.pause(now);
        if !pause.is_zero() {
            sleep_until(self.deadline.min(now + pause)).await;
            now = Instant::now();
        }
        // A source that always has something ready would never be seen as late.
        if now >= self.deadline {
            return Some(Err(CallFailure::of(Cause::Timeout)));
        }
        let since = *self.waits_since.get_or_insert(now);
        let due = self.due(since);
        let until = timer.until(now).map_or(due, |keep_alive| keep_alive.min(due));
        match timeout_at(until, self.source.next()).await {
            Ok(Ok(chunk)) => {
                self.arrives_fast = now.elapsed() < FAST;
                Some(Ok(chunk))
            }
            Ok(Err(cause)) => Some(Err(CallFailure::of(cause))),
            Err(_) if until < due => None,
            Err(_) => Some(Err(CallFailure::of(Cause::Timeout))),
        }
    }

    /// The next bytes of a stream, at most `PIECE_BYTES_MAX`: a chunk may be as long as the connection's buffer, and many
    /// times longer once it is written for the client. Tell [`Self::heard`] what was in each of them.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, CallFailure> {
        self.next_piece_or_keep_alive(&mut KeepAliveTimer::default())
            .await
            .unwrap_or(Err(CallFailure::of(Cause::Timeout)))
    }

    /// The same, `None` when a keep-alive is due.
    pub async fn next_piece_or_keep_alive(
        &mut self,
        timer: &mut KeepAliveTimer,
    ) -> Option<Result<Option<Bytes>, CallFailure>> {
        if self.rest.is_empty() {
            match self.next_or_keep_alive(timer).await? {
                Ok(Some(chunk)) => self.keep_rest(chunk),
                end => return Some(end),
            }
        }
        Some(Ok(Some(self.piece_of_rest())))
    }

    fn keep_rest(&mut self, chunk: Bytes) {
        self.pace.count(chunk.len());
        self.rest = chunk;
    }

    fn piece_of_rest(&mut self) -> Bytes {
        self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX))
    }

    /// The next bytes if they are ready, without waiting; `None` if they are not, or are too early. Over HTTP/2, the task that reads the
    /// connection hands over chunks one by one: while they arrive fast, it is given a turn to bring the next one.
    pub async fn next_if_ready(&mut self) -> Option<Result<Option<Bytes>, CallFailure>> {
        if !self.rest.is_empty() {
            return Some(Ok(Some(self.piece_of_rest())));
        }
        if !self.arrives_fast || !self.pace.pause(Instant::now()).is_zero() {
            return None;
        }
        let next = tokio::select! {
            biased;
            next = self.source.next() => next.map_err(CallFailure::of),
            () = YieldToRuntime::default() => return None,
        };
        Some(next.map(|chunk| {
            self.keep_rest(chunk?);
            Some(self.piece_of_rest())
        }))
    }

    /// Reads the whole body, if there is memory for it.
    pub async fn whole(&mut self, permit: &mut AnswerPermit) -> Result<Bytes, CallFailure> {
        let announced = self.source.announced();
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        check_length(first.len())?;
        permit.grow_to(first.len()).await?;
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut buffer = BodyBuffer::new(announced);
        for chunk in [first, second] {
            keep(&mut buffer, &chunk, announced, permit).await?;
        }
        while let Some(chunk) = self.next().await? {
            keep(&mut buffer, &chunk, announced, permit).await?;
        }
        Ok(buffer.into_bytes())
    }

    /// The failure of an answer that could not be read or relayed.
    pub fn fault(&self, fault: UpstreamFault) -> CallFailure {
        CallFailure::fault(fault, &self.sent)
    }

    /// The beginning of a refusal's body, as far as it arrives soon.
    async fn refusal_body(&mut self) -> Vec<u8> {
        self.deadline = self.deadline.min(Instant::now() + REFUSAL_WAIT_MAX);
        let mut body = Vec::new();
        while body.len() < REFUSAL_BYTES_MAX {
            match self.next().await {
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) | Err(_) => break,
            }
        }
        body.truncate(REFUSAL_BYTES_MAX);
        body
    }

    /// Reads the end of the body if it is there already, so that the connection can be used again.
    pub async fn finish_if_ready(&mut self) {
        let _ = tokio::time::timeout(Duration::ZERO, self.source.next()).await;
    }
}

fn check_length(bytes: usize) -> Result<(), CallFailure> {
    match bytes <= ANSWER_BYTES_MAX {
        true => Ok(()),
        false => Err(CallFailure::of(Cause::Fault(UpstreamFault::TooLarge))),
    }
}

async fn keep(
    buffer: &mut BodyBuffer,
    chunk: &[u8],
    announced: Option<usize>,
    permit: &mut AnswerPermit,
) -> Result<(), CallFailure> {
    let len = buffer.len() + chunk.len();
    check_length(len)?;
    permit.grow_to(buffer.memory_at(len)).await?;
    buffer.extend(chunk, announced).map_err(|_| CallFailure::of(Cause::NoMemory(BoundOf::Process)))
}

impl AnswerSource {
    pub fn of(headers: &HeaderMap, body: ResponseBody) -> Self {
        match InflatedCoding::of(headers) {
            Ok(None) => Self::Http(body),
            Ok(Some(coding)) => Self::Inflating(Box::new(InflatingBody { body, inflater: Inflater::of(coding) })),
            Err(_) => Self::Undecoded,
        }
    }

    /// The whole of an answer that has so many bytes at most.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, Cause> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            if whole.len() + chunk.len() > bytes_max {
                return Err(Cause::Fault(UpstreamFault::TooLarge));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The answer's length, if its head gives one.
    fn announced(&self) -> Option<usize> {
        match self {
            Self::Http(body) => body.size_hint().exact(),
            Self::Inflating(_) | Self::Undecoded => None,
            Self::InProcess(body) => body.size_hint().exact(),
            #[cfg(test)]
            Self::Scripted(_) => None,
        }
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes <= ANSWER_BYTES_MAX)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        match self {
            Self::Http(body) => next_data(body).await,
            Self::Inflating(body) => body.next().await,
            Self::Undecoded => Err(Cause::Fault(UpstreamFault::Coding)),
            Self::InProcess(body) => next_data(body).await,
            #[cfg(test)]
            Self::Scripted(script) => script.next().await,
        }
    }
}

/// The body of an answer that is inflated.
pub struct InflatingBody {
    body: ResponseBody,
    inflater: Inflater,
}

impl InflatingBody {
    /// The next piece of the answer; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        loop {
            if let Some(piece) = self.inflater.next().map_err(Cause::Fault)? {
                return Ok(Some(piece));
            }
            match next_data(&mut self.body).await? {
                Some(chunk) => self.inflater.push(chunk),
                None => return self.inflater.end().map(|()| None).map_err(Cause::Fault),
            }
        }
    }
}

/// Trailers are skipped: they carry nothing that the gateway needs.
async fn next_data(body: &mut (impl Body<Data = Bytes> + Unpin)) -> Result<Option<Bytes>, Cause> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Cause::Send(SendError::Closed))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
