//! The beginning of a call, whether it is the only one of its request or a hedge.

use std::sync::Arc;

use bytes::Bytes;
use dialects::{KeptCalls, WrittenBody};

use super::request_source::RequestSource;
use crate::inference::node::gateway::Gateway;
use crate::inference::received::call_timeline::CallTimeline;
use crate::inference::running::{Call, NewCall, TargetTurn};
use crate::inference::targets::target::PlannedTarget;

/// The target of a call, and its number among the calls of its request.
pub struct CallOf<'c> {
    pub target: &'c Arc<PlannedTarget>,
    pub number: u32,
}

/// A call that has begun, with what is sent.
pub struct BegunCall {
    pub call: Call,
    pub written: WrittenCall,
}

/// The body of a call, and the tool calls in it that its answer may name again.
pub struct WrittenCall {
    pub body: Bytes,
    pub kept_calls: KeptCalls,
}

/// Begins a call with this body.
pub fn begin_call(
    gateway: &Gateway,
    RequestSource { request, plan, .. }: &RequestSource,
    CallOf { target, number }: CallOf<'_>,
    mut turn: TargetTurn,
    timeline: CallTimeline,
    WrittenBody { bytes, ignored, calls, asks_for_no_thoughts }: WrittenBody,
) -> BegunCall {
    gateway.figures.ignored.count(target.kind, &ignored);
    turn.observers.begin(gateway, target, &timeline, plan.is_measured);
    let cost_bound = plan.share_of_hold(request, target);
    let new = NewCall { turn, target, number, cost_bound, timeline, asks_for_no_thoughts };
    let call = Call::begin(new, request, &ignored);
    BegunCall { call, written: WrittenCall { body: bytes, kept_calls: calls } }
}
