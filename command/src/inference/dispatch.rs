//! From an open hold to an answer: targets are called in their order until one has something to relay.
//! Once a byte has been relayed, no other target is tried.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use dialects::{Surface, with_client_field};
use events::ids::ModelId;
use events::refusal::{ErrorCode, Refusal};
use events::routing::PassedOverFor;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use projections::tables::Tables;

use crate::inference::admitted::admitted_request::AdmittedRequest;
use crate::inference::admitted::ledger_failure::not_ended;
use crate::inference::answers::stream;
use crate::inference::answers::whole_body::WholeBody;
use crate::inference::calls::calls_at_target::{CallPosition, CallsAtTarget, NoAnswer};
use crate::inference::calls::hedging::AllowedHedge;
use crate::inference::calls::last_look::LastLook;
use crate::inference::calls::request_source::RequestSource;
use crate::inference::calls::target_call::TargetAnswer;
use crate::inference::calls::target_sequence::{NextTarget, TargetSequence};
use crate::inference::calls::whole::HeldAnswer;
use crate::inference::headers::{BACKEND_HEADER, COST_HEADER, HEADERS, IGNORED_HEADER, LEAF_HEADER, POSITION_HEADER};
use crate::inference::node::copies::AfterServed;
use crate::inference::node::gateway::Gateway;
use crate::inference::planned::plan::Hedges;
use crate::inference::received::RequestState;
use crate::inference::running::Running;
use crate::inference::targets::breakers::IfOpen;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::targets::target_places::{self, HeldPlace, LimitsInForce, Priority, WaitingRequest};
use crate::inference::upstream::failure::{CallFailure, deciding, refusal_of};
use crate::ledger_unavailable::ledger_unavailable;

/// Calls targets until one has something to relay. The future is without what it begins with, which would stay in it until its end.
pub fn run(
    gateway: &Arc<Gateway>,
    admitted: AdmittedRequest,
    state: RequestState,
    after_served: Option<AfterServed>,
) -> impl Future<Output = Result<Response, Refusal>> + Send {
    let (dispatch, running) = Dispatch::begin(gateway, admitted, state, after_served);
    dispatch.run(running)
}

/// The target whose turn it is, with a place for its calls.
struct PlacedTarget {
    /// Its place in the order.
    at: usize,
    target: Arc<PlannedTarget>,
    place: HeldPlace,
}

/// A request on its way from target to target.
struct Dispatch<'g> {
    gateway: &'g Arc<Gateway>,
    request_id: Arc<str>,
    surface: Surface,
    model_id: ModelId,
    priority: Priority,
    /// Copied from the [`Plan`](crate::inference::planned::plan::Plan), which is dropped with the source.
    hedges: Hedges,
    targets: Vec<Arc<PlannedTarget>>,
    sequence: TargetSequence,
    /// `None` once no further call can need it.
    source: Option<RequestSource>,
    look: LastLook,
    failures: Vec<CallFailure>,
    last_called: Option<Arc<PlannedTarget>>,
    /// The refusal if every target is passed over: that of the first one.
    refusal_if_all_passed_over: Option<Box<Refusal>>,
}

impl<'g> Dispatch<'g> {
    fn begin(
        gateway: &'g Arc<Gateway>,
        admitted: AdmittedRequest,
        state: RequestState,
        after_served: Option<AfterServed>,
    ) -> (Self, Box<Running>) {
        let AdmittedRequest {
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
        } = admitted;
        let mut running = Running::new(gateway, hold, state, &plan, &request, content, content_lost);
        running.after_served = after_served;
        let targets: Vec<_> = std::mem::take(&mut plan.targets).into_iter().map(Arc::new).collect();
        let first_body = targets.first().cloned().zip(first_body);
        let dispatch = Self {
            gateway,
            request_id: Arc::clone(&running.request.id_text),
            surface: request.surface(),
            model_id: plan.model_id(),
            priority,
            hedges: plan.hedges,
            sequence: TargetSequence::of(targets.len()),
            targets,
            source: Some(RequestSource { request, plan, body_bytes, first_body, permit }),
            look: LastLook::since(caller, planned_at, terms_of),
            failures: Vec::new(),
            last_called: None,
            refusal_if_all_passed_over: None,
        };
        (dispatch, running)
    }

    async fn run(mut self, mut running: Box<Running>) -> Result<Response, Refusal> {
        if running.request.is_out_of_time() {
            let message = "the ledger took all the time that this request had; nothing was sent to a provider";
            let refusal = ledger_unavailable("yes", message);
            return Err(fail(running, refusal, "no_time_left", &self.request_id).await);
        }
        // A wait may have used up the time before targets with open breakers come.
        while let Some(next) = self.sequence.next_target(|| running.request.is_out_of_time()) {
            let Some(next) = self.take_place(next, &mut running).await else { continue };
            let at = next.at;
            let (outcome, ended_with);
            // Boxed: inline, it would take the future of the whole request above 8 KiB, and moving that is slow.
            (running, outcome, ended_with) = Box::pin(self.call(next, running)).await;
            let ignored = running.call.as_mut().and_then(|call| call.ignored.take());
            match outcome {
                Ok(TargetAnswer::Whole(answer)) => {
                    let response = answer_whole(self.gateway, running, answer, &self.request_id).await?;
                    return Ok(with_ignored_header(response, ignored));
                }
                Ok(TargetAnswer::Streamed(answer)) => {
                    let response = stream::respond(self.gateway, running, &ended_with, self.surface, answer);
                    return Ok(with_ignored_header(response, ignored));
                }
                Err(NoAnswer::Failed(failure)) => {
                    self.failures.push(failure);
                    self.last_called = Some(ended_with);
                    if running.request.is_out_of_time() || self.failures.iter().any(CallFailure::is_final) {
                        break;
                    }
                    self.pass_over_open_breakers_if_sent(&mut running);
                }
                Err(NoAnswer::PassedOver(refusal)) => {
                    self.refusal_if_all_passed_over = self.refusal_if_all_passed_over.or(refusal);
                }
                Err(NoAnswer::BreakerOpen) => self.postpone_for_open_breaker(at, &mut running),
                Err(NoAnswer::NoLongerAllowed(refusal)) => {
                    self.pass_over_open_breakers(&mut running);
                    return Err(fail(running, refusal, "no_longer_allowed", &self.request_id).await);
                }
            }
        }
        self.pass_over_open_breakers(&mut running);
        let (refusal, reason) = self.final_refusal(&running);
        Err(fail(running, refusal, reason, &self.request_id).await)
    }

    /// Takes a place at the target that comes next, or at the first of the waiting ones that has room. `None` if none has room: the next
    /// one follows.
    async fn take_place(&mut self, next: NextTarget, running: &mut Running) -> Option<PlacedTarget> {
        match next {
            // Before a place is taken: it would be given back unused, and a wait for it would be in vain.
            NextTarget::AtOnce(at) if !self.sequence.is_last_resort() && self.is_limited_and_open(at) => {
                self.postpone_for_open_breaker(at, running);
                None
            }
            NextTarget::AtOnce(at) => {
                if self.sequence.is_last_resort() {
                    self.record_open_breaker(at, running);
                }
                let placed = self.take_place_at_once(at, running);
                if placed.is_none() {
                    self.sequence.had_no_room(at);
                }
                placed
            }
            NextTarget::Waiting(full) => {
                let full: Vec<_> =
                    full.into_iter().filter_map(|at| Some(FullTarget { at, target: self.targets.get(at)? })).collect();
                let found = Box::pin(wait_for_place(self.gateway, &full, self.model_id, self.priority, running)).await;
                self.sequence.has_waited_for(found.as_ref().map(|found| found.at));
                let found = found?;
                // Breakers may have opened meanwhile. If all of them have, the place is used, and not given back.
                let may_be_called = |at| !self.is_open(at);
                if !running.may_have_been_sent()
                    && !may_be_called(found.at)
                    && !self.sequence.waits_for_any(may_be_called)
                {
                    self.sequence.begin_last_resort();
                }
                Some(found)
            }
        }
    }

    /// Whether this target has a limit and an open breaker, and others may be called instead. Without a limit, no place is taken, and
    /// the breaker is checked when the call begins.
    fn is_limited_and_open(&self, at: usize) -> bool {
        let is_limited = self.targets.get(at).is_some_and(|target| target.limits.max_concurrent.is_some());
        is_limited && self.has_other_targets() && self.is_open(at)
    }

    fn is_open(&self, at: usize) -> bool {
        self.targets.get(at).is_some_and(|target| {
            let backend = &target.backend;
            let state =
                self.gateway.targets.breakers.state(&self.gateway.tables.load(), backend.provider_id, &backend.model);
            !state.may_call()
        })
    }

    const fn has_other_targets(&self) -> bool {
        self.targets.len() > 1
    }

    /// Whether the target's breaker was open when the request was planned.
    fn was_open_when_planned(&self, at: usize) -> bool {
        self.targets.get(at).is_some_and(|target| target.had_open_breaker)
    }

    /// How the target that comes now is called.
    fn position(&self) -> CallPosition {
        CallPosition {
            is_last: self.sequence.is_over(),
            is_last_to_be_called: self
                .sequence
                .is_over_but_for(|at| self.was_open_when_planned(at) && self.is_open(at)),
            if_open: match (self.has_other_targets(), self.sequence.is_last_resort()) {
                (false, _) => IfOpen::Ignore,
                (true, true) => IfOpen::CallOnce,
                (true, false) => IfOpen::Skip,
            },
        }
    }

    fn take_place_at_once(&self, at: usize, running: &mut Running) -> Option<PlacedTarget> {
        let target = self.targets.get(at)?;
        let mut place = HeldPlace::default();
        if let Some(limited) = target.limits.max_concurrent.map(|limit| target.limited_to(limit))
            && !place.take(&self.gateway.targets.places, limited, running.request.owner)
        {
            running.passed_over.add(&target.backend, PassedOverFor::NoRoom);
            return None;
        }
        Some(PlacedTarget { at, target: Arc::clone(target), place })
    }

    /// Calls the target, and perhaps another one beside it. The last of what is returned is the target whose outcome it is.
    async fn call(
        &mut self,
        PlacedTarget { at, target, place }: PlacedTarget,
        mut running: Box<Running>,
    ) -> (Box<Running>, Result<TargetAnswer, NoAnswer>, Arc<PlannedTarget>) {
        let (position, is_last_resort) = (self.position(), self.sequence.is_last_resort());
        let Self { gateway, targets, sequence, source, look, failures, .. } = self;
        let others = targets.get(at + 1..self.hedges.end).unwrap_or_default();
        let hedge = self.hedges.after.filter(|_| !running.has_called() && !others.is_empty() && !is_last_resort);
        let mut hedge = hedge.map(|after| AllowedHedge { after, others, second: None });
        let turn = running.begin_turn(place);
        let calls = CallsAtTarget { gateway, source, look, target: &target, position };
        let (mut running, outcome) = calls.make(turn, hedge.as_mut(), running).await;
        let mut ended_with = &target;
        if let Some(second) = hedge.and_then(|hedge| hedge.second) {
            sequence.was_called_beside(at + 1 + second.at);
            let mut pair = (&target, others.get(second.at).unwrap_or(&target));
            if second.ended_last {
                pair = (pair.1, pair.0);
            }
            let (of_last, of_earlier) = pair;
            let ends_request = second.earlier_failure.as_ref().is_some_and(CallFailure::is_final);
            ended_with = if ends_request { of_earlier } else { of_last };
            failures.extend(second.earlier_failure);
        }
        if outcome.is_err()
            && let Some(call) = &mut running.call
        {
            call.turn.place.give_back();
            // A call that was not sent says nothing of its target, and others may try it.
            call.turn.observers.breaker = None;
        }
        let ended_with = Arc::clone(ended_with);
        if outcome.is_ok() {
            self.pass_over_open_breakers(&mut running);
        }
        (running, outcome, ended_with)
    }

    /// Puts the target behind all others, or passes it over if one of them may have got the request.
    fn postpone_for_open_breaker(&mut self, at: usize, running: &mut Running) {
        self.sequence.had_open_breaker(at);
        self.pass_over_open_breakers_if_sent(running);
    }

    /// Targets with open breakers are a last resort: they are called only if no target with a closed breaker may have got it.
    fn pass_over_open_breakers_if_sent(&mut self, running: &mut Running) {
        if !self.sequence.is_last_resort() && running.may_have_been_sent() {
            self.pass_over_open_breakers(running);
        }
    }

    /// Records that the target comes late because of its breaker, unless the plan has recorded that.
    fn record_open_breaker(&self, at: usize, running: &mut Running) {
        if let Some(target) = self.targets.get(at).filter(|target| !target.had_open_breaker) {
            running.passed_over.add(&target.backend, PassedOverFor::BreakerOpen);
        }
    }

    /// The targets whose breakers are open are not called any more.
    fn pass_over_open_breakers(&mut self, running: &mut Running) {
        for at in self.sequence.leave_out_open_breakers() {
            if let Some(target) = self.targets.get(at) {
                running.passed_over.add(&target.backend, PassedOverFor::BreakerOpen);
            }
        }
    }

    /// The refusal of a request that no target has answered, and the reason that is recorded.
    fn final_refusal(&mut self, running: &Running) -> (Refusal, &'static str) {
        let has_alternatives = self.has_other_targets()
            && (self.targets.iter().any(|target| target.had_open_breaker) || running.passed_over.any_at_its_turn());
        let Self { targets, failures, .. } = self;
        let refusal = match self.refusal_if_all_passed_over.take().filter(|_| failures.is_empty()) {
            _ if failures.is_empty() && running.passed_over.any_still_for(PassedOverFor::NoRoom) => {
                target_places::no_room()
            }
            Some(refusal) => *refusal,
            None => with_client_field(self.surface, refusal_of(failures, targets.len(), has_alternatives)),
        };
        let refusal = match &self.last_called {
            Some(target) => target.named_in(refusal),
            None => refusal,
        };
        let without_call =
            if refusal.code == ErrorCode::Overloaded { PassedOverFor::NoRoom.as_str() } else { "no_target" };
        let reason = deciding(failures).map_or(without_call, CallFailure::reason);
        (refusal, reason)
    }
}

fn with_ignored_header(mut response: Response, ignored: Option<HeaderValue>) -> Response {
    if let Some(ignored) = ignored {
        response.headers_mut().insert(IGNORED_HEADER, ignored);
    }
    response
}

/// A target that has no place free.
struct FullTarget<'a> {
    /// Its position in the plan.
    at: usize,
    target: &'a Arc<PlannedTarget>,
}

/// Waits for the first place at any of these targets, which had none before.
async fn wait_for_place(
    gateway: &Gateway,
    full: &[FullTarget<'_>],
    model_id: ModelId,
    priority: Priority,
    running: &mut Running,
) -> Option<PlacedTarget> {
    let owner = running.request.owner;
    let who = WaitingRequest { owner, priority, deadline: running.request.deadline };
    let targets: Vec<_> =
        full.iter().filter_map(|full| Some(full.target.limited_to(full.target.limits.max_concurrent?))).collect();
    let limits = |tables: &Tables| {
        let of = |full: &FullTarget<'_>| {
            full.target.limit_in_force(tables, owner, model_id, gateway.now()).unwrap_or(u32::MAX)
        };
        full.iter().map(of).collect()
    };
    let in_force = LimitsInForce { tables: gateway.tables.clone(), limits: &limits };
    let mut place = HeldPlace::default();
    let found = place.wait(&gateway.targets.places, &targets, who, Some(in_force)).await;
    running.has_queued(place.waited());
    let FullTarget { at, target } = full.get(found?)?;
    Some(PlacedTarget { at: *at, target: Arc::clone(target), place })
}

/// Records the failure, and gives the refusal its log position.
async fn fail(running: Box<Running>, refusal: Refusal, reason: &str, request_id: &str) -> Refusal {
    match running.fail(&refusal, reason).await {
        Ok(position) => refusal.at(Some(position)),
        Err(error) => not_ended(request_id, &error),
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
