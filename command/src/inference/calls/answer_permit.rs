//! The memory that one answer takes, from its first bytes until the server has handed the last of them to the client. Small
//! answers are not counted: they take little beside what their request takes anyway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use events::ids::TenantId;
use tokio::time::Instant;

use crate::body::memory::BodyPermit;
use crate::inference::node::gateway::Gateway;
use crate::inference::running::StartedRequest;
use crate::inference::upstream::failure::{CallFailure, Cause};

/// The largest answer, or piece of a stream, that is not counted.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;
/// The step in which a permit grows, to take its lock less often.
pub const STEP: usize = 64 * 1024;
/// The bounds of the time that an answer waits for memory, in all its steps together: with a bound per step, answers that
/// grow side by side would wait anew for every step that another gives back. The upstream waits meanwhile. The time is
/// drawn at random, so that one of several answers that block each other gives up first, and the others continue with what
/// it frees.
const WAIT_MIN: Duration = Duration::from_secs(3);
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct AnswerPermit {
    permit: BodyPermit,
    /// The request's deadline.
    deadline: Instant,
    wait_left: Duration,
}

impl AnswerPermit {
    pub fn of(gateway: &Gateway, request: &StartedRequest) -> Self {
        let wait = random_wait(u16::from_le_bytes(gateway.ids.bytes()));
        Self::new(gateway.memory.answers.permit(request.body_owner), request.deadline, wait)
    }

    pub const fn new(permit: BodyPermit, deadline: Instant, wait_left: Duration) -> Self {
        Self { permit, deadline, wait_left }
    }

    /// The tenant whose answer it is.
    pub const fn tenant(&self) -> Option<TenantId> {
        self.permit.tenant()
    }

    /// Grows the permit to `bytes` in all, and waits for memory if there is none.
    ///
    /// Errors: no memory was freed in time.
    pub async fn grow_to(&mut self, bytes: usize) -> Result<(), CallFailure> {
        if bytes <= self.permit.bytes().max(UNCOUNTED_BYTES_MAX) {
            return Ok(());
        }
        let began = Instant::now();
        let until = self.deadline.min(began + self.wait_left);
        let grown = self.permit.grow_when_there_is_room(bytes.next_multiple_of(STEP), until).await;
        self.wait_left = self.wait_left.saturating_sub(began.elapsed());
        grown.map_err(|bound| CallFailure::of(Cause::NoMemory(bound)))
    }

    /// Shrinks the permit to `bytes` in all. One step is kept: a permit that grew once will grow again.
    pub fn shrink_to(&mut self, bytes: usize) {
        let held = bytes.next_multiple_of(STEP).max(STEP);
        if held < self.permit.bytes() {
            self.permit.count(held);
        }
    }

    /// Counts a piece for the client for as long as anything holds it. Its bytes were counted before, so that it is never
    /// refused.
    pub fn attach_to_piece(&self, piece: Bytes) -> Bytes {
        if piece.len() <= UNCOUNTED_BYTES_MAX {
            return piece;
        }
        let mut permit = self.permit.another();
        permit.count(piece.len());
        Arc::new(permit).attach_to(piece)
    }

    /// Counts the rest of the answer for as long as anything holds it.
    pub fn attach_to(mut self, rest: Bytes) -> Bytes {
        if rest.len() <= UNCOUNTED_BYTES_MAX {
            return rest;
        }
        self.permit.count(rest.len());
        Arc::new(self.permit).attach_to(rest)
    }
}

fn random_wait(random: u16) -> Duration {
    WAIT_MIN + (WAIT_MAX - WAIT_MIN) * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
