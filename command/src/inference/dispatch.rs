//! From an open hold to an answer: targets are called in their order, each once or twice, until one has something to relay.
//! Once a byte has been relayed, no other target is tried.

use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use dialects::WrittenBody;
use events::ids::ModelId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::PassedOverFor;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use projections::tables::Tables;
use tokio::sync::oneshot;

use super::copies::AfterServed;
use super::failure::{Blame, CallFailure, CallsSoFar, Cause, deciding, refusal_of};
use super::gateway::Gateway;
use super::headers::{BACKEND_HEADER, COST_HEADER, HEADERS, IGNORED_HEADER, LEAF_HEADER, POSITION_HEADER};
use super::hedging::{self, AllowedHedge};
use super::last_look::{LastLook, NotToBeCalled};
use super::ledger_failure::not_ended;
use super::preparation::Prepared;
use super::provider_keys::NextKey;
use super::request_source::RequestSource;
use super::retry_budget::Retry;
use super::running::{Running, UnheldRequest};
use super::target::PlannedTarget;
use super::target_call::{TargetAnswer, TargetCall, begin_stream, log_failure, relay};
use super::target_places::{self, LimitsInForce, Priority, WaitingRequest};
use super::target_sequence::{NextTarget, TargetSequence};
use super::whole::HeldAnswer;
use super::whole_body::WholeBody;
use super::{stream, whole};
use crate::ledger_unavailable::ledger_unavailable;

/// Why a target has not answered.
enum NoAnswer {
    /// It was called, and failed.
    Failed(CallFailure),
    /// It was left alone. The refusal is for the case that all were, if it says more than that.
    PassedOver(Option<Box<Refusal>>),
    /// The request may not be sent to any target any more.
    NoLongerAllowed(Refusal),
}

pub async fn run(
    gateway: &Arc<Gateway>,
    prepared: Prepared,
    unheld: UnheldRequest,
    after_served: Option<AfterServed>,
) -> Result<Response, Refusal> {
    let Prepared {
        caller,
        planned_at,
        request,
        mut plan,
        body_bytes,
        first_body,
        hold,
        body_permit: permit,
        content,
        content_lost,
        priority,
        terms_of,
        to_copy: _,
    } = prepared;
    let mut look = LastLook::since(caller, planned_at, terms_of);
    let request_id = hold.request_id.to_string();
    let surface = request.surface();
    let mut running = Running::new(gateway, hold, unheld, &plan, &request, (content, content_lost));
    running.after_served = after_served;
    if running.is_out_of_time() {
        let message = "the ledger took all the time that this request had; nothing was sent to a provider";
        let refusal = ledger_unavailable("yes", message);
        return Err(fail(running, refusal, "no_time_left", &request_id).await);
    }
    let (is_measured, others_are_open, model_id) = (plan.is_measured, plan.has_open_breakers, plan.model_id());
    let (hedge_after, hedges_end) = (plan.hedge_after, plan.hedges_end);
    let (mut failures, mut last_called, mut left_alone) = (Vec::new(), None, None);
    let targets: Vec<_> = std::mem::take(&mut plan.targets).into_iter().map(Arc::new).collect();
    let first_body = targets.first().cloned().zip(first_body);
    let mut source = Some(RequestSource { request, plan, body_bytes, first_body, permit });
    let mut sequence = TargetSequence::of(targets.len());
    while let Some(next) = sequence.next() {
        let (at, target) = match next {
            NextTarget::AtOnce(at) => {
                let Some(target) = targets.get(at) else { break };
                let owner = running.owner();
                if let Some(limited) = target.max_concurrent.map(|limit| target.limited_to(limit))
                    && !running.place.take(&gateway.places, limited, owner)
                {
                    running.passed_over.add(&target.backend, PassedOverFor::NoRoom);
                    sequence.had_no_room(at);
                    continue;
                }
                (at, target)
            }
            NextTarget::Waiting(full) => {
                let full: Vec<_> = full.into_iter().filter_map(|at| Some((at, targets.get(at)?))).collect();
                let found = Box::pin(wait_for_place(gateway, &full, model_id, priority, &mut running)).await;
                let found = found.and_then(|found| full.get(found).copied());
                sequence.has_waited_for(found.map(|(at, _)| at));
                let Some(found) = found else { break };
                found
            }
        };
        let is_last = sequence.is_over();
        // One of them is called, whatever their breakers are.
        let is_only = targets.len() == 1 || is_last && failures.is_empty();
        let position = CallPosition { is_last, is_only, is_measured };
        let others = targets.get(at + 1..hedges_end).unwrap_or_default();
        let hedge = hedge_after.filter(|_| !running.has_called() && !others.is_empty());
        let mut hedge = hedge.map(|after| AllowedHedge { after, others, second: None });
        let answer;
        (running, answer) = Box::pin(call_target(
            gateway,
            &mut source,
            &mut look,
            target,
            (position, hedge.as_mut()),
            &request_id,
            running,
        ))
        .await;
        let mut ended_with = target;
        if let Some(second) = hedge.and_then(|hedge| hedge.second) {
            sequence.was_called_beside(at + 1 + second.at);
            let mut pair = (target, others.get(second.at).unwrap_or(target));
            if second.ended_last {
                pair = (pair.1, pair.0);
            }
            let (of_last, of_earlier) = pair;
            let ends_request = second.earlier_failure.as_ref().is_some_and(CallFailure::is_final);
            ended_with = if ends_request { of_earlier } else { of_last };
            failures.extend(second.earlier_failure);
        }
        let ignored = running.ignored.take();
        if answer.is_err() {
            running.place.give_back();
        }
        match answer {
            Ok(TargetAnswer::Whole(answer)) => {
                let response = answer_whole(gateway, running, answer, &request_id).await?;
                return Ok(with_ignored_header(response, ignored));
            }
            Ok(TargetAnswer::Streamed { first, body, permit }) => {
                let response = stream::respond(gateway, running, ended_with, surface, first, body, permit);
                return Ok(with_ignored_header(response, ignored));
            }
            Err(NoAnswer::Failed(failure)) => {
                failures.push(failure);
                last_called = Some(ended_with);
            }
            Err(NoAnswer::PassedOver(refusal)) => {
                left_alone = left_alone.or(refusal);
                continue;
            }
            Err(NoAnswer::NoLongerAllowed(refusal)) => {
                return Err(fail(running, refusal, "no_longer_allowed", &request_id).await);
            }
        }
        if running.is_out_of_time() || failures.iter().any(CallFailure::is_final) {
            break;
        }
    }
    let others_are_left = others_are_open || running.passed_over.any_at_its_turn() && targets.len() > 1;
    let refusal = match left_alone.filter(|_| failures.is_empty()) {
        _ if failures.is_empty() && running.passed_over.any_still_for(PassedOverFor::NoRoom) => {
            target_places::no_room()
        }
        Some(refusal) => *refusal,
        None => refusal_of(&failures, targets.len(), others_are_left),
    };
    let refusal = match last_called {
        Some(target) => target.named_in(refusal),
        None => refusal,
    };
    let without_call = if refusal.code == ErrorCode::Overloaded { PassedOverFor::NoRoom.as_str() } else { "no_target" };
    let reason = deciding(&failures).map_or(without_call, CallFailure::reason);
    Err(fail(running, refusal, reason, &request_id).await)
}

fn with_ignored_header(mut response: Response, ignored: Option<HeaderValue>) -> Response {
    if let Some(ignored) = ignored {
        response.headers_mut().insert(IGNORED_HEADER, ignored);
    }
    response
}

/// Waits for the first place at any of these targets, which had none before, and says which of them has it.
async fn wait_for_place(
    gateway: &Gateway,
    full: &[(usize, &Arc<PlannedTarget>)],
    model_id: ModelId,
    priority: Priority,
    running: &mut Running,
) -> Option<usize> {
    let owner = running.owner();
    let who = WaitingRequest { owner, priority, deadline: running.deadline };
    let targets: Vec<_> =
        full.iter().filter_map(|(_, target)| Some(target.limited_to(target.max_concurrent?))).collect();
    let limits = |tables: &Tables| {
        let of = |(_, target): &(usize, &Arc<PlannedTarget>)| {
            target.limit_in_force(tables, owner, model_id, gateway.now()).unwrap_or(u32::MAX)
        };
        full.iter().map(of).collect()
    };
    let in_force = LimitsInForce { tables: gateway.tables.clone(), limits: &limits };
    running.place.wait(&gateway.places, &targets, who, Some(in_force)).await
}

/// Records the failure, and gives the refusal its log position.
async fn fail(running: Box<Running>, refusal: Refusal, reason: &str, request_id: &str) -> Refusal {
    match running.fail(&refusal, reason).await {
        Ok(position) => refusal.at(Some(position)),
        Err(error) => not_ended(request_id, &error),
    }
}

/// How one target is called among the others.
#[derive(Clone, Copy)]
struct CallPosition {
    is_last: bool,
    /// No other target can be called in its place.
    is_only: bool,
    /// The strategy of its model goes by what is measured of the call.
    is_measured: bool,
}

/// Calls one target, and a second time if that may help; again with a few other keys that may be accepted where one was not.
/// The source is dropped as soon as no further call can need it.
async fn call_target(
    gateway: &Arc<Gateway>,
    source: &mut Option<RequestSource>,
    look: &mut LastLook,
    target: &Arc<PlannedTarget>,
    (CallPosition { is_last, is_only, is_measured }, mut hedge): (CallPosition, Option<&mut AllowedHedge<'_>>),
    request_id: &str,
    mut running: Box<Running>,
) -> (Box<Running>, Result<TargetAnswer, NoAnswer>) {
    running.keys.begin_target();
    running.observers.breaker = None;
    let is_failover = running.has_called();
    if is_failover && !gateway.allows_retry(target, running.owner(), Retry::Failover) {
        running.passed_over.add(&target.backend, PassedOverFor::RetryBudget);
        return (running, Err(NoAnswer::PassedOver(None)));
    }
    let (mut calls, mut last_failure) = (0, None);
    loop {
        if let Some(RequestSource { request, plan, .. }) = source {
            let has_waited = running.place.waited().is_some();
            match look.before_call(gateway, (request, plan), target, has_waited).await {
                Ok(()) => {}
                Err(NotToBeCalled::PassedOver(why, refusal)) => {
                    running.passed_over.add(&target.backend, why);
                    let not_called = NoAnswer::PassedOver(Some(refusal));
                    return (running, Err(last_failure.map_or(not_called, NoAnswer::Failed)));
                }
                Err(NotToBeCalled::NoLongerAllowed(refusal)) => {
                    return (running, Err(NoAnswer::NoLongerAllowed(refusal)));
                }
            }
        }
        // With another key, it is still the same try.
        if running.observers.breaker.is_none() {
            running.observers.breaker = gateway.breakers.begin(target, running.owner(), !is_only);
        }
        if running.observers.breaker.is_none() {
            running.passed_over.add(&target.backend, PassedOverFor::BreakerOpen);
            return (running, Err(last_failure.map_or(NoAnswer::PassedOver(None), NoAnswer::Failed)));
        }
        let taken = RequestSource::take_body(source, &gateway.large_bodies, target, &running).await;
        let WrittenBody { bytes: body, ignored, calls: kept_calls } = match taken {
            Ok(body) => body,
            Err(failure) => {
                log_failure(&failure, target, request_id, &running);
                return (running, Err(NoAnswer::Failed(failure)));
            }
        };
        let Some(RequestSource { request, plan, .. }) = source else {
            return (running, Err(NoAnswer::Failed(CallFailure::of(Cause::Untranslatable))));
        };
        calls += 1;
        gateway.figures.ignored.count(target.kind, &ignored);
        running.call_begins(&gateway.health, target, request, &ignored);
        running.cost_bound = plan.share_of_hold(request, target);
        if is_measured {
            running.observers.figures = Some(gateway.observed.begin(target.backend.provider_id, &target.backend.model));
        }
        let answer = if let Some(hedge) = hedge.take() {
            let first = TargetCall::of(gateway, request, target, (body, kept_calls), request_id);
            let answer;
            (running, answer) = Box::pin(hedging::call(gateway, source, look, first, hedge, running)).await;
            if hedge.second.is_some() {
                return (running, answer.map_err(NoAnswer::Failed));
            }
            answer
        } else if request.facts.streamed {
            let relay = || relay(gateway, request, target, request_id).keeping(kept_calls);
            begin_stream(gateway, relay, target, body, request_id, &mut running).await
        } else {
            let (begins, has_begun) = oneshot::channel();
            let reader = request.answer_reader().keeping(kept_calls);
            let mut call = pin!(whole::call_whole(gateway, reader, target, body, running, begins));
            let answer;
            (running, answer) = tokio::select! {
                biased;
                ended = &mut call => ended,
                // A call whose answer has begun is not repeated at the same target.
                Ok(()) = has_begun, if is_last => {
                    *source = None;
                    call.await
                }
            };
            answer.map(TargetAnswer::Whole)
        };
        let failure = match answer {
            Ok(answer) => return (running, Ok(answer)),
            Err(failure) => failure,
        };
        log_failure(&failure, target, request_id, &running);
        if failure.is_timeout() && running.is_out_of_time() || failure.is_lost_here() {
            // The upstream did not fail: what it did for this request is unknown, and not free.
            return (running, Err(NoAnswer::Failed(failure)));
        }
        running.call_failed(&failure);
        let next_key = running.keys.failed(failure.of_key());
        if next_key != NextKey::Another {
            running.judge(&failure);
            if calls > 1 && failure.found_no_room() {
                gateway.retry_was_not_sent(target, running.owner());
            }
            if is_failover && calls == 1 && failure.blame() != Blame::Nobody && !failure.found_no_room() {
                gateway.failover_failed(target, running.owner());
            }
        }
        match next_key {
            NextKey::Another if !running.is_out_of_time() => {
                calls -= 1;
                last_failure = Some(failure);
                continue;
            }
            NextKey::AtLimit(wait) => {
                return (running, Err(NoAnswer::Failed(CallFailure::of(Cause::KeysAtLimit(wait)))));
            }
            NextKey::Another | NextKey::None => {}
        }
        let [jitter] = gateway.ids.bytes::<1>();
        match failure.retry_after(CallsSoFar { calls, is_last }, jitter) {
            Some(wait) if !running.is_out_of_time_after(wait) => {
                if !gateway.allows_retry(target, running.owner(), Retry::SameTarget) {
                    running.passed_over.add(&target.backend, PassedOverFor::RetryBudget);
                    return (running, Err(NoAnswer::Failed(failure)));
                }
                tokio::time::sleep(wait).await;
            }
            Some(_) | None => return (running, Err(NoAnswer::Failed(failure))),
        }
        last_failure = Some(failure);
        running.keys.again();
    }
}

/// Settles the request, then answers.
async fn answer_whole(
    gateway: &Gateway,
    running: Box<Running>,
    held: HeldAnswer,
    request_id: &str,
) -> Result<Response, Refusal> {
    let HeldAnswer { answer, permit } = held;
    let settled = running.complete(&answer.metered).await;
    let settled = settled.map_err(|error| not_ended(request_id, &error))?;
    let rendered = answer.render(&settled.receipt());
    drop(answer);
    let body = WholeBody::new(permit.attach_to(rendered), settled.permit);
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    // Room for all at once, also those that are added later.
    headers.reserve(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(POSITION_HEADER, HeaderValue::from(settled.settled_position));
    if let Ok(name) = HeaderValue::try_from(&settled.target.name) {
        headers.insert(BACKEND_HEADER, name);
    }
    let leaf = gateway.leaf_of.zip(settled.settlement.as_deref()).and_then(|(leaf_of, settlement)| leaf_of(settlement));
    if let Some(leaf) = leaf.and_then(|leaf| HeaderValue::try_from(leaf).ok()) {
        headers.insert(LEAF_HEADER, leaf);
    }
    if let Ok(cost) = HeaderValue::try_from(settled.measured.cost.to_string()) {
        headers.insert(COST_HEADER, cost);
    }
    Ok(response)
}
