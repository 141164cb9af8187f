//! From an open hold to an answer: targets in their order, each once or twice, until one has something to relay. Once
//! a byte has been relayed there is no other try.

use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use dialects::{ClientRequest, Relay, UpstreamFault};
use events::refusal::Refusal;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::sync::oneshot;

use super::answer_permit::AnswerPermit;
use super::call::{Called, UpstreamBody, call};
use super::failure::{CallFailure, Cause, Next, refusal_of};
use super::gateway::Gateway;
use super::headers::{BACKEND_HEADER, COST_HEADER, POSITION_HEADER};
use super::ledger_failure::not_ended;
use super::plan::Plan;
use super::preparation::{Prepared, must_still_be_allowed};
use super::running::{RequestInFlight, Running};
use super::target::PlannedTarget;
use super::whole::HeldAnswer;
use super::whole_body::WholeBody;
use super::{stream, whole};
use crate::body::memory::BodyPermit;

/// What a stream may say before it says something: roles, opening events, reports. It is kept until then.
const PREAMBLE_BYTES_MAX: usize = 256 * 1024;

/// What a target gave: from here on there is no other.
enum Answer {
    Whole(HeldAnswer),
    /// The first bytes that may go to the client, and what is still to come.
    Streamed {
        first: Bytes,
        body: UpstreamBody,
        permit: AnswerPermit,
    },
}

/// What the request was read as, and the bodies for its targets that are made of it.
struct Source {
    asked: ClientRequest,
    plan: Plan,
    /// For the first target, until it is sent.
    first_body: Option<Bytes>,
    permit: Arc<BodyPermit>,
}

impl Source {
    /// Made for each call: one that is kept for a second try would be held for as long as the first one takes.
    fn body(&mut self, target: &PlannedTarget) -> Option<Bytes> {
        let made = self.first_body.take().or_else(|| self.plan.body(&self.asked, target).ok())?;
        Some(self.permit.attach_to(made))
    }
}

pub async fn run(gateway: &Arc<Gateway>, prepared: Prepared, in_flight: RequestInFlight) -> Result<Response, Refusal> {
    let allowed = must_still_be_allowed(gateway, &prepared).await;
    let Prepared { asked, mut plan, first_body, hold, body_permit: permit, .. } = prepared;
    let request_id = hold.request_id.to_string();
    let surface = asked.surface();
    let mut running = Running::new(gateway, hold, in_flight, &plan, &asked);
    if let Err(refusal) = allowed {
        return Err(failed(running, refusal, "no_longer_allowed", &request_id).await);
    }
    let mut failures = Vec::new();
    let targets: Vec<_> = std::mem::take(&mut plan.targets).into_iter().map(Arc::new).collect();
    let mut source = Some(Source { asked, plan, first_body, permit });
    for (at, target) in targets.iter().enumerate() {
        let is_last = at + 1 == targets.len();
        let answer;
        (running, answer) = ask_target(gateway, &mut source, target, is_last, &request_id, running).await;
        match answer {
            Ok(Answer::Whole(answer)) => return answer_whole(running, answer, &request_id).await,
            Ok(Answer::Streamed { first, body, permit }) => {
                return Ok(stream::respond(gateway, running, target, surface, first, body, permit));
            }
            Err(failure) => failures.push(failure),
        }
        let is_final = |failure: &CallFailure| failure.is_rejection() || failure.is_for_want_of_memory();
        if running.is_out_of_time() || failures.last().is_some_and(is_final) {
            break;
        }
    }
    let refusal = refusal_of(&failures, targets.len());
    let reason = failures.last().map_or("no_target", CallFailure::reason);
    Err(failed(running, refusal, reason, &request_id).await)
}

/// The request has failed, and the refusal says where that stands.
async fn failed(running: Box<Running>, refusal: Refusal, reason: &str, request_id: &str) -> Refusal {
    match running.fail(&refusal, reason).await {
        Ok(position) => refusal.at(Some(position)),
        Err(error) => not_ended(request_id, &error),
    }
}

/// Calls one target, and once more where that may help. The source is dropped as soon as no other call can need it.
async fn ask_target(
    gateway: &Arc<Gateway>,
    source: &mut Option<Source>,
    target: &Arc<PlannedTarget>,
    is_last: bool,
    request_id: &str,
    mut running: Box<Running>,
) -> (Box<Running>, Result<Answer, CallFailure>) {
    let mut calls = 0;
    loop {
        let made = source.as_mut().and_then(|source| Some((source.body(target)?, &source.asked)));
        let Some((body, asked)) = made else { return (running, Err(CallFailure::of(Cause::Untranslatable))) };
        calls += 1;
        running.call_begins(target);
        let answer = if asked.streamed() {
            begin_stream(gateway, asked, target, body, request_id, &mut running).await
        } else {
            let (begins, has_begun) = oneshot::channel();
            let mut call = pin!(whole::ask(gateway, asked.surface(), target, body, running, begins));
            let answer;
            (running, answer) = tokio::select! {
                biased;
                ended = &mut call => ended,
                // An answer that has begun is not asked for again of the same target.
                Ok(()) = has_begun, if is_last => {
                    *source = None;
                    call.await
                }
            };
            answer.map(Answer::Whole)
        };
        let failure = match answer {
            Ok(answer) => return (running, Ok(answer)),
            Err(failure) => failure,
        };
        log_failure(&failure, target, request_id, &running);
        if failure.is_timeout() && running.is_out_of_time() || failure.is_for_want_of_memory() {
            // It was not the upstream that failed: what it did for this request is not known, and not free.
            return (running, Err(failure));
        }
        running.call_failed(&failure);
        let [jitter] = gateway.ids.bytes::<1>();
        match failure.next(calls, jitter) {
            Next::SameTargetAfter(wait) if !running.is_out_of_time() => tokio::time::sleep(wait).await,
            Next::SameTargetAfter(_) | Next::OtherTarget | Next::NoOther => return (running, Err(failure)),
        }
    }
}

/// With what to look at, for whoever set the provider up. A rejection is the client's affair, and as frequent as it likes.
fn log_failure(failure: &CallFailure, target: &PlannedTarget, request_id: &str, running: &Running) {
    let (trace_id, backend, reason, status) = (running.trace_id(), &target.name, failure.reason(), failure.status);
    if failure.is_rejection() {
        tracing::debug!(request_id, trace_id, backend, reason, status, "an upstream rejects a request");
    } else {
        let look_at = failure.look_at();
        tracing::warn!(request_id, trace_id, backend, reason, status, look_at, "a call to an upstream failed");
    }
}

/// Until there is something to relay.
async fn begin_stream(
    gateway: &Gateway,
    asked: &ClientRequest,
    target: &PlannedTarget,
    body: Bytes,
    request_id: &str,
    running: &mut Running,
) -> Result<Answer, CallFailure> {
    let Called { upstream_request_id, mut body } = call(gateway, target, body, request_id, running).await?;
    running.answered_by(upstream_request_id);
    let created = gateway.clock.now().timestamp();
    let mut permit = AnswerPermit::of(gateway, running);
    let relay = running.relay.insert(Relay::new(target.provider.kind, asked, request_id, asked.model(), created));
    let mut first = BytesMut::new();
    while !relay.has_relayed() && !relay.ended() {
        if first.len() > PREAMBLE_BYTES_MAX {
            return Err(CallFailure::of(Cause::Fault(UpstreamFault::TooLarge)));
        }
        match body.next_piece().await? {
            Some(chunk) => {
                permit.grow_to(relay.buffered_bytes() + first.len() + chunk.len()).await?;
                relay.feed(&chunk, &mut first)
            }
            None => {
                relay.finish(&mut first).map_err(|fault| body.fault(fault))?;
                break;
            }
        }
        .map_err(|fault| body.fault(fault))?;
    }
    let first = permit.attach_to_piece(first.freeze());
    permit.shrink_to(relay.buffered_bytes());
    running.first_token();
    Ok(Answer::Streamed { first, body, permit })
}

/// Settles, then answers.
async fn answer_whole(running: Box<Running>, held: HeldAnswer, request_id: &str) -> Result<Response, Refusal> {
    let HeldAnswer { answer, permit } = held;
    let settled = running.complete(&answer.metered).await;
    let settled = settled.map_err(|error| not_ended(request_id, &error))?;
    let rendered = answer.render(&settled.receipt());
    drop(answer);
    let body = WholeBody::new(permit.attach_to(rendered), settled.let_in);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(POSITION_HEADER, HeaderValue::from(settled.settled_position));
    if let Ok(name) = HeaderValue::try_from(&settled.target.name) {
        headers.insert(BACKEND_HEADER, name);
    }
    if let Ok(cost) = HeaderValue::try_from(settled.measured.cost.to_string()) {
        headers.insert(COST_HEADER, cost);
    }
    Ok(response)
}
