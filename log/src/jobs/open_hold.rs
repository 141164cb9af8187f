//! An open hold, owned by the code that must end it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use events::event::Context;
use events::event::inference::{AttemptFailed, FinishReason, InferenceEnded};
use events::ids::RequestId;
use events::ledger::{Admission, Charge, Ending, Outcome};
use events::money::NanoUsd;
use events::output_cap::LoweredCap;

use super::end::AdmissionStatus;
use super::{EndRequest, EndedAt, Message, queued};
use crate::{LogError, Queue, wait_for_answer};

/// Why the money of a request is released whose client was told that nobody knows what became of its admission.
const UNCONFIRMED: &str = "admission_unconfirmed";

/// A durable hold, which its owner must end. If it is dropped instead, the request counts as cancelled before it was sent, and
/// the money is released.
#[derive(Debug)]
pub struct OpenHold {
    pub request_id: RequestId,
    pub held: NanoUsd,
    /// The amount that is held above the tenant; `None` if that is no other one.
    pub brokered_held: Option<NanoUsd>,
    /// The part of the charge that the tenant's own providers cost, which its owner states before it ends the hold.
    pub own_charge: NanoUsd,
    /// The lowered output cap, if the budget was too short for the requested one.
    pub lowered_cap: Option<LoweredCap>,
    pub admitted_position: u64,
    pub admitted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub model: String,
    pub context: Context,
    pub(crate) ender: Option<Ender>,
}

/// Ends that nobody waits for. There is at most one per open hold, and one per
/// admission of the last batches whose commits stayed unknown, so no other bound is needed.
#[derive(Clone, Default)]
pub(crate) struct Unattended(Arc<Mutex<Vec<EndRequest>>>);

impl Unattended {
    pub(crate) fn extend(&self, ends: impl IntoIterator<Item = EndRequest>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes the oldest, at most `ends_max`.
    pub(crate) fn take(&self, ends_max: usize) -> Vec<EndRequest> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = left.len().min(ends_max);
        left.drain(..taken).collect()
    }
}

/// The way to end a hold: the writer's queue, and the list of unattended ends.
#[derive(Clone)]
pub(crate) struct Ender {
    pub(crate) jobs: Queue,
    pub(crate) unattended: Unattended,
}

impl std::fmt::Debug for Ender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ender")
    }
}

impl Ender {
    fn leave(&self, end: EndRequest) {
        self.unattended.extend([end]);
        self.jobs.wake();
    }
}

impl OpenHold {
    /// Records the end and waits until it is durable. If that fails, the end is tried again until the hold expires; its
    /// outcome is then a failure, as the client was told.
    pub async fn end(
        mut self,
        attempts: Vec<AttemptFailed>,
        outcome: Outcome,
        charge: Charge,
    ) -> Result<EndedAt, LogError> {
        let Some(ender) = self.ender.take() else { return Err(LogError::Closed) };
        let (job, answer) = queued(EndRequest::of(self.ending(attempts, outcome, charge)));
        match ender.jobs.try_send(Message::Job(job)) {
            Ok(()) => wait_for_answer(answer).await?,
            Err(std::sync::mpsc::TrySendError::Full(Message::Job(job))) => {
                if let Some(end) = job.fail(LogError::QueueFull) {
                    ender.leave(end);
                }
                Err(LogError::QueueFull)
            }
            Err(_) => Err(LogError::Closed),
        }
    }

    /// Records the end as soon as possible, without waiting: for a request whose client has gone.
    pub fn end_unattended(mut self, attempts: Vec<AttemptFailed>, outcome: Outcome, charge: Charge) {
        if let Some(ender) = self.ender.take() {
            ender.leave(EndRequest::of(self.ending(attempts, outcome, charge)));
        }
    }

    /// Releases the money of a request whose client was told that its admission is unconfirmed.
    pub(super) fn end_unconfirmed(mut self) {
        self.release(UNCONFIRMED);
    }

    fn release(&mut self, reason: &str) {
        let Some(ender) = self.ender.take() else { return };
        let (outcome, charge) = not_sent(&self.model, self.admitted_at, reason);
        ender.leave(EndRequest::of(self.ending(Vec::new(), outcome, charge)));
    }

    fn ending(&self, attempts: Vec<AttemptFailed>, outcome: Outcome, charge: Charge) -> Ending {
        Ending {
            request_id: self.request_id,
            context: self.context.clone(),
            attempts,
            outcome,
            charge,
            own: self.own_charge,
        }
    }
}

impl Drop for OpenHold {
    fn drop(&mut self) {
        self.release("client_closed");
    }
}

/// The end of a request whose admission may or may not have been recorded, at this position.
pub(super) fn end_of_unknown(admission: Admission, admitted_at: DateTime<Utc>, position: u64) -> EndRequest {
    let (outcome, charge) = not_sent(&admission.admitted.model, admitted_at, UNCONFIRMED);
    let Admission { request_id, context, .. } = admission;
    let ending = Ending { request_id, context, attempts: Vec::new(), outcome, charge, own: NanoUsd::ZERO };
    EndRequest { ending: Box::new(ending), admission: AdmissionStatus::Unknown { position } }
}

/// The outcome of an admitted request that was sent to no upstream.
fn not_sent(model: &str, admitted_at: DateTime<Utc>, reason: &str) -> (Outcome, Charge) {
    let aborted = InferenceEnded {
        finish_reason: Some(FinishReason::Cancelled),
        attempts: Some(0),
        reason: Some(reason.to_owned()),
        ..InferenceEnded::new(model.to_owned(), admitted_at, NanoUsd::ZERO)
    };
    (Outcome::Aborted(Box::new(aborted)), Charge::Release { reason: reason.to_owned() })
}
