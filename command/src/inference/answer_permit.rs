//! The memory that one answer takes, from its first bytes until the server has handed the last of them to its client. Small
//! answers are not counted: what they take is little beside what their request takes anyway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::failure::{CallFailure, Cause};
use super::gateway::Gateway;
use super::running::Running;
use crate::body::memory::BodyPermit;

/// Up to here an answer is not counted, and neither are pieces of a stream.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;
/// By so much at a time what is counted grows: one lock for so many bytes.
pub const STEP: usize = 64 * 1024;
/// How long an answer waits for the memory of others, in all: of many that grow step by step, each would else wait anew with
/// every step that another one gives back. Its upstream waits with it. The time is drawn between the two, so that of answers
/// that keep each other waiting one gives up first, and the others go on with what it gives back.
const WAIT_MIN: Duration = Duration::from_secs(3);
const WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct AnswerPermit {
    permit: BodyPermit,
    /// Of the request.
    deadline: Instant,
    wait_left: Duration,
}

impl AnswerPermit {
    pub fn of(gateway: &Gateway, running: &Running) -> Self {
        let wait = wait_drawn_by(u16::from_le_bytes(gateway.ids.bytes()));
        Self::new(gateway.answers.permit(running.body_owner()), running.deadline, wait)
    }

    pub(super) const fn new(permit: BodyPermit, deadline: Instant, wait_left: Duration) -> Self {
        Self { permit, deadline, wait_left }
    }

    /// Makes room for so many bytes in all, or waits for it.
    ///
    /// Errors: there is none, and none was given back in time.
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

    /// So many bytes are still held. A last step is kept: what grew once grows again.
    pub fn shrink_to(&mut self, bytes: usize) {
        let held = bytes.next_multiple_of(STEP).max(STEP);
        if held < self.permit.bytes() {
            self.permit.count(held);
        }
    }

    /// A piece for the client, which counts for as long as anybody has it. It was made of what was counted, so that it is
    /// not refused any more.
    pub fn attach_to_piece(&self, piece: Bytes) -> Bytes {
        if piece.len() <= UNCOUNTED_BYTES_MAX {
            return piece;
        }
        let mut permit = self.permit.another();
        permit.count(piece.len());
        Arc::new(permit).attach_to(piece)
    }

    /// All that is left of the answer.
    pub fn attach_to(mut self, rest: Bytes) -> Bytes {
        if rest.len() <= UNCOUNTED_BYTES_MAX {
            return rest;
        }
        self.permit.count(rest.len());
        Arc::new(self.permit).attach_to(rest)
    }
}

fn wait_drawn_by(random: u16) -> Duration {
    WAIT_MIN + (WAIT_MAX - WAIT_MIN) * u32::from(random) / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests;
