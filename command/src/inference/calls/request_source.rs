//! The client's request, from which the body for each target is written.

use std::sync::Arc;

use dialects::{ClientRequest, WrittenBody};
use tokio::time::timeout_at;

use crate::body::large_bodies::LargeBodies;
use crate::body::memory::BodyPermit;
use crate::inference::planned::plan::Plan;
use crate::inference::running::Running;
use crate::inference::targets::target::PlannedTarget;
use crate::inference::upstream::failure::{CallFailure, Cause};

/// The client's request, and the plan by which its body is written for each target.
pub struct RequestSource {
    pub request: Box<ClientRequest>,
    pub plan: Box<Plan>,
    /// The size of the body as received.
    pub body_bytes: usize,
    /// The body for the first target, until it is sent, or another target is called.
    pub first_body: Option<(Arc<PlannedTarget>, WrittenBody)>,
    pub permit: Arc<BodyPermit>,
}

impl RequestSource {
    /// The body for one call. It is made anew each time: a body kept for a retry would take memory for the whole first call.
    fn body(&mut self, target: &PlannedTarget) -> Result<WrittenBody, CallFailure> {
        let made = match self.first_body.take() {
            Some((_, made)) => self.counted(made),
            None => self.further_body(target).ok_or_else(|| CallFailure::of(Cause::Untranslatable))?,
        };
        Ok(made)
    }

    /// The body for a call beside the first one; `None` if the target's dialect cannot express the request.
    pub fn further_body(&self, target: &PlannedTarget) -> Option<WrittenBody> {
        self.plan.body(&self.request, target).ok().map(|made| self.counted(made))
    }

    fn counted(&self, made: WrittenBody) -> WrittenBody {
        WrittenBody { bytes: self.permit.attach_to(made.bytes), ..made }
    }

    /// Does the same as [`Self::body`]; a large one is written off the connection thread. The source is lost if that
    /// fails, or takes too long.
    pub async fn take_body(
        source: &mut Option<Self>,
        large_bodies: &LargeBodies,
        target: &Arc<PlannedTarget>,
        running: &Running,
    ) -> Result<WrittenBody, CallFailure> {
        let Some(mut taken) = source.take() else { return Err(CallFailure::of(Cause::Untranslatable)) };
        // The first target was left alone: its breaker has opened since the plan was made. The body names its model, in its dialect.
        if taken.first_body.as_ref().is_some_and(|(first, _)| !Arc::ptr_eq(first, target)) {
            taken.first_body = None;
        }
        let body = if taken.first_body.is_none() && LargeBodies::is_large(taken.body_bytes) {
            let (permit, target) = (Arc::clone(&taken.permit), Arc::clone(target));
            let written = large_bodies.run(&permit, move || {
                let body = taken.body(&target);
                (taken, body)
            });
            let written =
                timeout_at(running.request.deadline, written).await.map_err(|_| CallFailure::of(Cause::Timeout))?;
            let charge =
                if running.has_called() { "failed calls may be charged" } else { "nothing was sent to a provider" };
            let written = written.map_err(|error| CallFailure::of(Cause::NotWritten { error, charge }))?;
            let body;
            (taken, body) = written;
            body
        } else {
            taken.body(target)
        };
        *source = Some(taken);
        body
    }
}
