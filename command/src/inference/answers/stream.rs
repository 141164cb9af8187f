//! Relaying a stream. Bytes are relayed as they arrive, a slow client slows its own upstream and nothing else, and the
//! terminal marker leaves only when the settlement is durable. A client that has heard nothing for a while is told that the stream is
//! alive, in a form that it ignores: it is neither part of the answer nor a sign of life of the upstream. When the client goes, the
//! stream is read on for a short time, because its provider says at its end what it bills; then the body is dropped, and the request with
//! it: see [`Running`]. When the client stays but stops reading, the request still ends at its deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use dialects::{BrokenStream, Relay, Surface, stream_error};
use events::event::inference::CLIENT_CLOSED;
use events::refusal::{ErrorCode, Refusal};
use futures_util::stream::unfold;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use projections::figures::GaugeGuard;
use tokio::time::timeout;

use super::expiring_slot::ExpiringSlot;
use crate::inference::admitted::ledger_failure::not_ended;
use crate::inference::calls::answer_permit::AnswerPermit;
use crate::inference::calls::target_call::StreamedAnswer;
use crate::inference::calls::upstream_response::{KeepAliveTimer, UpstreamBody};
use crate::inference::headers::{BACKEND_HEADER, HEADERS, POSITION_HEADER, UNBUFFERED_HEADER};
use crate::inference::node::gateway::Gateway;
use crate::inference::running::Running;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::failure::{CallFailure, Cause};

/// The most bytes that are gathered before they go to the client.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// How long a stream is read on without its client.
const READ_ON_MAX: Duration = Duration::from_secs(2);

/// The response to a stream whose first bytes have arrived.
pub fn respond(
    gateway: &Arc<Gateway>,
    running: Box<Running>,
    target: &PlannedTarget,
    surface: Surface,
    StreamedAnswer { first, body, permit }: StreamedAnswer,
) -> Response {
    let admitted_position = running.request.admitted_position;
    let (deadline, request_id) = (running.request.deadline, Arc::clone(&running.request.id_text));
    let relay = StreamRelay {
        _open: running.timeline.stream_opens(),
        running,
        surface,
        body,
        permit,
        waiting: None,
        keep_alive: gateway.keep_alive,
        failure: None,
    };
    let attended = AttendedStream { relay: Some(relay), gateway: Arc::clone(gateway) };
    let relaying = ExpiringSlot::new(attended, deadline, &gateway.background.timers, AttendedStream::give_up);
    let open = OpenStream { relaying, surface, request_id, events: 0 };
    let chunks = unfold(StreamPhase::First(first, open), |phase| async {
        let (chunk, next) = phase.step().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), next))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    // Room for all at once, also those that are added later.
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(UNBUFFERED_HEADER, HeaderValue::from_static("no"));
    headers.insert(POSITION_HEADER, HeaderValue::from(admitted_position));
    if let Ok(name) = HeaderValue::try_from(&target.name) {
        headers.insert(BACKEND_HEADER, name);
    }
    response
}

struct StreamRelay {
    running: Box<Running>,
    _open: GaugeGuard,
    surface: Surface,
    body: UpstreamBody,
    /// Memory for the bytes that are buffered until their event is complete.
    permit: AnswerPermit,
    /// The piece of the upstream that waits for memory. Its client may leave meanwhile, and the stream be read on.
    waiting: Option<Bytes>,
    /// After how long without a word the client gets one; `None` if it gets none.
    keep_alive: Option<Duration>,
    /// The failure that ends the stream, once everything that arrived before it has been relayed.
    failure: Option<CallFailure>,
}

/// A stream while its client is there. Dropped, it is read on without the client: see [`StreamRelay::read_on`].
struct AttendedStream {
    /// `None` once it ends.
    relay: Option<StreamRelay>,
    gateway: Arc<Gateway>,
}

/// A stream whose client has not seen its end.
struct OpenStream {
    relaying: ExpiringSlot<AttendedStream>,
    surface: Surface,
    request_id: Arc<str>,
    /// Events that the client was sent, for dialects that number them.
    events: u64,
}

enum StreamPhase {
    First(Bytes, OpenStream),
    Middle(OpenStream),
    Over,
}

/// The next bytes for the client, and whether they are the last of the upstream's.
enum Relayed {
    Bytes(Bytes),
    End(Bytes),
}

impl StreamPhase {
    /// The next bytes for the client, and the phase after them.
    async fn step(self) -> Option<(Bytes, Self)> {
        let mut open = match self {
            Self::First(first, open) if !first.is_empty() => return Some((first, Self::Middle(open))),
            Self::First(_, open) | Self::Middle(open) => open,
            Self::Over => return None,
        };
        let Some(mut attended) = open.relaying.take() else {
            let late = Refusal::new(ErrorCode::UpstreamTimeout, "the answer was not read before its deadline");
            let stream = BrokenStream { request_id: &open.request_id, events: open.events };
            return Some((stream_error(open.surface, &late, &stream), Self::Over));
        };
        let relay = attended.relay.as_mut()?;
        match relay.next().await {
            Ok(Relayed::Bytes(bytes)) => {
                open.events = relay.events();
                // The deadline may pass at this very moment.
                let over = if relay.running.request.is_out_of_time() {
                    Some(attended)
                } else {
                    open.relaying.put_back(attended).err()
                };
                let Some(attended) = over else { return Some((bytes, Self::Middle(open))) };
                let late = CallFailure::of(Cause::Timeout);
                Some((Box::pin(attended.ends()?.abort(bytes, &late)).await, Self::Over))
            }
            // Boxed: the memory that an end takes would otherwise be kept while the stream is open.
            Ok(Relayed::End(rest)) => Some((Box::pin(attended.ends()?.close(rest)).await, Self::Over)),
            Err(failure) => Some((Box::pin(attended.ends()?.abort(Bytes::new(), &failure)).await, Self::Over)),
        }
    }
}

impl AttendedStream {
    /// The stream, which is not read on from here.
    fn ends(mut self) -> Option<StreamRelay> {
        self.relay.take()
    }

    fn give_up(self) {
        if let Some(relay) = self.ends() {
            relay.give_up();
        }
    }
}

impl Drop for AttendedStream {
    fn drop(&mut self) {
        let Some(relay) = self.relay.take().filter(StreamRelay::may_be_read_on) else { return };
        let count = GaugeGuard::of(&self.gateway.figures.abandoned_calls);
        self.gateway.background.abandoned.spawn(relay.running.request.owner, count, relay.read_on());
    }
}

impl StreamRelay {
    /// The stream of the upstream.
    fn upstream(&self) -> Option<&Relay> {
        self.running.call.as_ref()?.relay.as_deref()
    }

    fn events(&self) -> u64 {
        self.upstream().map_or(0, Relay::events)
    }

    /// The next bytes, together with all that are ready: each piece that goes to the client by itself costs a packet.
    async fn next(&mut self) -> Result<Relayed, CallFailure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let (mut out, mut timer) = (BytesMut::new(), KeepAliveTimer::of(self.keep_alive));
        // The first bytes may have been the last as well.
        if self.upstream().is_some_and(Relay::ended) {
            return Ok(Relayed::End(out.freeze()));
        }
        loop {
            let piece = if out.is_empty() {
                // What was relayed so far are whole events.
                let Some(piece) = self.awaited_piece(&mut timer).await else {
                    return Ok(Relayed::Bytes(Bytes::from_static(self.surface.spec().keep_alive.as_bytes())));
                };
                piece
            } else if out.len() < GATHERED_BYTES_MAX
                && let Some(piece) = self.body.next_if_ready().await
            {
                piece
            } else {
                return Ok(Relayed::Bytes(self.counted(out)));
            };
            let piece = self.with_room(piece, out.len()).await;
            match self.relay(piece, &mut out) {
                Ok(false) => {}
                Ok(true) => return Ok(Relayed::End(self.counted(out))),
                Err(failure) if out.is_empty() => return Err(failure),
                Err(failure) => {
                    self.failure = Some(failure);
                    return Ok(Relayed::Bytes(self.counted(out)));
                }
            }
        }
    }

    /// The next piece of the upstream, for which it is waited; `None` when a keep-alive is due.
    async fn awaited_piece(&mut self, timer: &mut KeepAliveTimer) -> Option<Result<Option<Bytes>, CallFailure>> {
        let call = self.running.call.as_mut();
        let Some(observed) = call.and_then(|call| call.turn.observers.figures.as_mut()) else {
            return self.body.next_piece_or_keep_alive(timer).await;
        };
        let began = Instant::now();
        let piece = self.body.next_piece_or_keep_alive(timer).await;
        observed.waited(began.elapsed());
        piece
    }

    /// Passes the piece on once there is memory for it, beside what is buffered and what is on its way to the client.
    async fn with_room(
        &mut self,
        piece: Result<Option<Bytes>, CallFailure>,
        out_bytes: usize,
    ) -> Result<Option<Bytes>, CallFailure> {
        let Some(piece) = piece? else { return Ok(None) };
        let buffered = self.upstream().map_or(0, Relay::buffered_bytes);
        let bytes = buffered + out_bytes + piece.len();
        self.waiting = Some(piece);
        self.permit.grow_to(bytes).await?;
        Ok(self.waiting.take())
    }

    /// The bytes for the client, with their own share of the memory from here on.
    fn counted(&mut self, out: BytesMut) -> Bytes {
        let bytes = self.permit.attach_to_piece(out.freeze());
        self.permit.shrink_to(self.upstream().map_or(0, Relay::buffered_bytes));
        bytes
    }

    /// Relays one piece into `out`. Returns true at the end of the answer.
    fn relay(&mut self, piece: Result<Option<Bytes>, CallFailure>, out: &mut BytesMut) -> Result<bool, CallFailure> {
        let relay = self.running.under_way()?.call.relay.as_mut().ok_or(CallFailure::of(Cause::Timeout))?;
        let fault = |fault| self.body.fault(fault);
        match piece? {
            Some(chunk) => {
                relay.feed(&chunk, out).map_err(fault)?;
                self.body.heard(relay.answer_bytes())?;
            }
            None => {
                relay.finish(out).map_err(fault)?;
                return Ok(true);
            }
        }
        Ok(relay.ended())
    }

    /// Whether its end may say what is billed beside what went through. A call that is billed by its time is cancelled instead.
    fn may_be_read_on(&self) -> bool {
        let is_by_tokens = self.running.call.as_ref().is_some_and(|call| !call.target.provider.bills_by_time());
        is_by_tokens && !self.running.request.is_out_of_time()
    }

    /// Reads what is left of the answer after its client has left, and settles the request by what its provider reports. What takes
    /// longer than [`READ_ON_MAX`] is cancelled.
    async fn read_on(mut self) {
        let rest = timeout(READ_ON_MAX, self.read_rest()).await;
        let Self { mut running, body, .. } = self;
        drop(body);
        match rest {
            Ok(Ok(())) => running.end_left(),
            Ok(Err(failure)) => {
                running.judge(&failure);
                running.give_up(CLIENT_CLOSED);
            }
            Err(_) => running.give_up(CLIENT_CLOSED),
        }
    }

    /// Reads the answer to its end, for nobody.
    async fn read_rest(&mut self) -> Result<(), CallFailure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let mut unread = BytesMut::new();
        while self.upstream().is_some_and(|relay| !relay.ended()) {
            let piece = match self.waiting.take() {
                Some(piece) => Ok(Some(piece)),
                None => self.body.next_piece().await,
            };
            let piece = self.with_room(piece, 0).await;
            let is_over = self.relay(piece, &mut unread)?;
            unread.clear();
            if is_over {
                break;
            }
        }
        Ok(())
    }

    /// Settles the request, then returns the last bytes of the stream.
    async fn close(self, rest: Bytes) -> Bytes {
        let Self { mut running, surface, mut body, permit, .. } = self;
        let Some(relay) = running.call.as_mut().and_then(|call| call.relay.take()) else { return rest };
        let request_id = Arc::clone(&running.request.id_text);
        let end = match running.complete(&relay.metered()).await {
            Ok(settled) => relay.closing_after(&rest, &settled.receipt()),
            Err(error) => {
                let stream = BrokenStream { request_id: &request_id, events: relay.events() };
                joined(rest, &stream_error(surface, &not_ended(&request_id, &error), &stream))
            }
        };
        // What it kept is in the end.
        drop(relay);
        body.finish_if_ready().await;
        permit.attach_to(end)
    }

    /// The client has stopped reading: the upstream is cancelled, and what went through is settled.
    fn give_up(self) {
        let Self { running, body, .. } = self;
        drop(body);
        running.give_up("client_stalled");
    }

    /// The upstream failed after its first byte: what went through is settled, and the client gets an error event in its
    /// own dialect, after the bytes in `before`.
    async fn abort(self, before: Bytes, failure: &CallFailure) -> Bytes {
        let events = self.events();
        let Self { mut running, surface, body, permit, .. } = self;
        // Cancelled before the ledger is asked, so that the upstream does not go on working for nobody.
        drop(body);
        let request_id = Arc::clone(&running.request.id_text);
        running.judge(failure);
        let refusal = failure.refusal_alone();
        let refusal = match &running.call {
            Some(call) => call.target.named_in(refusal),
            None => refusal,
        };
        let ended = running.fail(&refusal, failure.reason()).await;
        let refusal = ended.map_or_else(|error| not_ended(&request_id, &error), |_| refusal);
        let stream = BrokenStream { request_id: &request_id, events };
        permit.attach_to(joined(before, &stream_error(surface, &refusal, &stream)))
    }
}

fn joined(rest: Bytes, end: &Bytes) -> Bytes {
    if rest.is_empty() {
        return end.clone();
    }
    [rest.as_ref(), end.as_ref()].concat().into()
}
