//! An open hold, owned by the code that must end it.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::{EndRequest, EndedAt, Message, queued};
use crate::event::Context;
use crate::event::inference::{AttemptFailed, FinishReason, InferenceEnded};
use crate::ids::RequestId;
use crate::ledger::{Charge, Ending, Outcome};
use crate::log::{LogError, Queue, wait_for_answer};
use crate::money::NanoUsd;
use crate::output_cap::LoweredCap;

/// A durable hold, which its owner must end. If it is dropped instead, the request counts as cancelled before it was sent, and
/// the money is released.
#[derive(Debug)]
pub struct OpenHold {
    pub request_id: RequestId,
    pub held: NanoUsd,
    /// The lowered output cap, if the budget was too short for the requested one.
    pub lowered_cap: Option<LoweredCap>,
    pub admitted_position: u64,
    pub admitted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub model: String,
    pub context: Context,
    pub(in crate::log) ender: Option<Ender>,
}

/// Ends that nobody waits for. There is at most one per open hold, so no other bound is needed.
#[derive(Clone, Default)]
pub(in crate::log) struct Unattended(Arc<Mutex<Vec<Ending>>>);

impl Unattended {
    pub(in crate::log) fn extend(&self, endings: impl IntoIterator<Item = Ending>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(endings);
    }

    /// Takes the oldest, at most `endings_max`.
    pub(in crate::log) fn take(&self, endings_max: usize) -> Vec<Ending> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = left.len().min(endings_max);
        left.drain(..taken).collect()
    }
}

/// The way to end a hold: the writer's queue, and the list of unattended ends.
#[derive(Clone)]
pub(in crate::log) struct Ender {
    pub(in crate::log) jobs: Queue,
    pub(in crate::log) unattended: Unattended,
}

impl std::fmt::Debug for Ender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ender")
    }
}

impl Ender {
    fn leave(&self, ending: Ending) {
        self.unattended.extend([ending]);
        // If the queue is full, the writer is awake and checks the list before it sleeps.
        let _ = self.jobs.try_send(Message::Wake);
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
        let (job, answer) = queued(EndRequest(Box::new(self.ending(attempts, outcome, charge))));
        match ender.jobs.try_send(Message::Job(job)) {
            Ok(()) => wait_for_answer(answer).await?,
            Err(std::sync::mpsc::TrySendError::Full(Message::Job(job))) => {
                if let Some(ending) = job.fail(LogError::QueueFull) {
                    ender.leave(ending);
                }
                Err(LogError::QueueFull)
            }
            Err(_) => Err(LogError::Closed),
        }
    }

    /// Records the end as soon as possible, without waiting: for a request whose client has gone.
    pub fn end_unattended(mut self, attempts: Vec<AttemptFailed>, outcome: Outcome, charge: Charge) {
        if let Some(ender) = self.ender.take() {
            ender.leave(self.ending(attempts, outcome, charge));
        }
    }

    fn ending(&self, attempts: Vec<AttemptFailed>, outcome: Outcome, charge: Charge) -> Ending {
        Ending { request_id: self.request_id, context: self.context.clone(), attempts, outcome, charge }
    }
}

impl Drop for OpenHold {
    fn drop(&mut self) {
        let Some(ender) = self.ender.take() else { return };
        let aborted = InferenceEnded {
            finish_reason: Some(FinishReason::Cancelled),
            attempts: Some(0),
            reason: Some("client_closed".to_owned()),
            ..InferenceEnded::new(self.model.clone(), self.admitted_at, NanoUsd::ZERO)
        };
        let charge = Charge::Release { reason: "client_closed".to_owned() };
        ender.leave(self.ending(Vec::new(), Outcome::Aborted(Box::new(aborted)), charge));
    }
}
