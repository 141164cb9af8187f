//! One call to a target, up to what can be relayed of its answer.

use bytes::{Bytes, BytesMut};
use dialects::{AnswerReader, ClientRequest, Relay, UpstreamFault};
use events::event::admin::UpstreamKey;
use tokio::sync::oneshot;

use super::answer_permit::AnswerPermit;
use super::begin_call::WrittenCall;
use super::upstream_response::{UpstreamBody, UpstreamResponse, send_call};
use super::whole::{self, HeldAnswer};
use crate::inference::node::gateway::Gateway;
use crate::inference::running::{CallUnderWay, StartedRequest, TargetTurn};
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::failure::{CallFailure, Cause};

/// The most that a stream may send before its first token: roles, opening events, reports. It is buffered until then.
const PREAMBLE_BYTES_MAX: usize = 256 * 1024;

/// A target's answer: from here on no other target is called.
pub enum TargetAnswer {
    Whole(HeldAnswer),
    Streamed(StreamedAnswer),
}

/// A stream that has begun, and the permit for its memory.
pub struct StreamedAnswer {
    pub first: Bytes,
    /// The rest of its body.
    pub body: UpstreamBody,
    pub permit: AnswerPermit,
}

/// A call that does not need the client's request any more.
pub struct TargetCall {
    body: Bytes,
    reader: CallReader,
}

/// The reader of the answer.
enum CallReader {
    Whole(AnswerReader),
    Streamed(Box<Relay>),
}

impl TargetCall {
    pub fn of(
        gateway: &Gateway,
        request: &ClientRequest,
        target: &PlannedTarget,
        WrittenCall { body, kept_calls }: WrittenCall,
        request_id: &str,
    ) -> Self {
        let reader = if request.facts.streamed {
            CallReader::Streamed(Box::new(relay(gateway, request, target, request_id).keeping(kept_calls)))
        } else {
            CallReader::Whole(request.answer_reader().keeping(kept_calls))
        };
        Self { body, reader }
    }

    /// Makes the call that is under way.
    pub async fn make(self, gateway: &Gateway, mut under_way: CallUnderWay<'_>) -> Result<TargetAnswer, CallFailure> {
        let Self { body, reader } = self;
        match reader {
            CallReader::Whole(reader) => {
                let (begins, _) = oneshot::channel();
                let answer = whole::read_answer(gateway, reader, body, &mut under_way, begins).await;
                answer.map(TargetAnswer::Whole)
            }
            CallReader::Streamed(relay) => begin_stream(gateway, || *relay, body, &mut under_way).await,
        }
    }
}

/// Returns the relay from the target's stream to the client's.
pub fn relay(gateway: &Gateway, request: &ClientRequest, target: &PlannedTarget, request_id: &str) -> Relay {
    Relay::new(target.kind, request, request_id, &request.facts.model, gateway.clock.now().timestamp())
}

/// Calls the target, and reads its stream until there is something to relay.
pub async fn begin_stream(
    gateway: &Gateway,
    relay: impl FnOnce() -> Relay,
    body: Bytes,
    under_way: &mut CallUnderWay<'_>,
) -> Result<TargetAnswer, CallFailure> {
    let UpstreamResponse { upstream_request_id, mut body } = send_call(gateway, body, under_way).await?;
    under_way.answered(upstream_request_id);
    let mut permit = AnswerPermit::of(gateway, under_way.request);
    let answer_text = under_way.request.content.answer_text();
    let relay = under_way.call.relay.insert(Box::new(relay().through(answer_text)));
    let mut first = BytesMut::new();
    while !relay.has_relayed() && !relay.ended() {
        if first.len() > PREAMBLE_BYTES_MAX {
            return Err(CallFailure::of(Cause::Fault(UpstreamFault::TooLarge)));
        }
        match body.next_piece().await? {
            Some(chunk) => {
                permit.grow_to(relay.buffered_bytes() + first.len() + chunk.len()).await?;
                relay.feed(&chunk, &mut first).map_err(|fault| body.fault(fault))?;
                body.heard(relay.answer_bytes())?;
            }
            None => {
                relay.finish(&mut first).map_err(|fault| body.fault(fault))?;
                break;
            }
        }
    }
    let first = permit.attach_to_piece(first.freeze());
    permit.shrink_to(relay.buffered_bytes());
    under_way.first_token();
    Ok(TargetAnswer::Streamed(StreamedAnswer { first, body, permit }))
}

/// Logs a failed call, with a hint for the operator. A rejection is the client's mistake, and clients choose how often they
/// make one: it is logged at `debug`. So is a call whose client left before it was sent, and a failure of a provider that is known to fail.
pub fn log_failure(failure: &CallFailure, target: &PlannedTarget, turn: &TargetTurn, request: &StartedRequest) {
    let (request_id, trace_id) = (&*request.id_text, request.trace_id.map(tracing::field::display));
    let (backend, reason, status) = (&target.name, failure.reason(), failure.status);
    if failure.is_rejection() {
        tracing::debug!(request_id, trace_id, backend, reason, status, "an upstream rejected a request");
    } else if failure.is_of_client_that_left() {
        tracing::debug!(request_id, trace_id, backend, "a call was not sent: its client has left");
    } else if turn.observers.know_of_failing_provider() {
        tracing::debug!(request_id, trace_id, backend, reason, status, "a call to an upstream failed");
    } else {
        let used = turn.keys.key().unwrap_or(UpstreamKey::Own(target.provider.provider_id));
        let look_at = &*failure.operator_advice(&target.provider, used);
        let key = used.provider_key_id().map(tracing::field::display);
        tracing::warn!(request_id, trace_id, backend, key, reason, status, look_at, "a call to an upstream failed");
    }
}
