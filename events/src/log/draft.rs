//! What a batch is to write, decided and not yet recorded. An engine writes all of it in one transaction, or nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::facts::{Claim, ClaimedKey, Facts};
use super::owners::OwnerBlocks;
use super::{Idempotency, InferenceKey, SideRow};
use crate::event::{Event, Hold, Inference, Recorded, Stream};
use crate::ids::RequestId;
use crate::ledger::{Balances, Emitted};

/// Instead of a sequence, which begin at 1: the event follows on whatever is on its stream.
const UNNUMBERED: u64 = 0;

#[derive(Debug)]
pub(super) struct Draft {
    /// The last position that the decisions knew of.
    pub(super) after: u64,
    pub(super) recorded_at: DateTime<Utc>,
    /// In their order, the first behind `after`.
    pub(super) events: Vec<Arc<Recorded>>,
    pub(super) side: Vec<SideRow>,
    pub(super) replies: Vec<RecordedReply>,
    pub(super) claims: Vec<(ClaimedKey, Claim)>,
    /// Whether some of the events follow on whatever is on their streams.
    pub(super) has_unnumbered: bool,
}

/// What was answered under an idempotency key of administration, at that position.
#[derive(Clone, Debug)]
pub(super) struct RecordedReply {
    pub(super) idempotency: Idempotency,
    pub(super) position: u64,
}

/// What the rows of the ledger's state have to be brought to.
pub(super) struct StateRows<'a> {
    pub(super) balances: &'a Balances,
    pub(super) owners: &'a OwnerBlocks,
}

impl Draft {
    pub(super) const fn new(after: u64, recorded_at: DateTime<Utc>) -> Self {
        Self {
            after,
            recorded_at,
            events: Vec::new(),
            side: Vec::new(),
            replies: Vec::new(),
            claims: Vec::new(),
            has_unnumbered: false,
        }
    }

    /// The position of its last event, or of the one that it follows on.
    pub(super) fn position(&self) -> u64 {
        self.after + self.events.len() as u64
    }

    /// An event at its place in its stream; its position.
    pub(super) fn record(&mut self, facts: &mut Facts, emitted: Emitted, sequence: u64) -> u64 {
        let Emitted { stream, context, event } = emitted;
        let position = self.position() + 1;
        let recorded = Recorded { position, recorded_at: self.recorded_at, stream, sequence, context, event };
        facts.take_in(&recorded);
        self.events.push(Arc::new(recorded));
        position
    }

    /// An event that follows on whatever is on its stream; its position.
    pub(super) fn record_next(&mut self, facts: &mut Facts, emitted: Emitted) -> u64 {
        self.has_unnumbered = true;
        self.record(facts, emitted, UNNUMBERED)
    }

    /// What one decision brought forth, in order; the position of the last, if there was any.
    pub(super) fn record_decided(&mut self, facts: &mut Facts, events: Vec<Emitted>) -> Option<u64> {
        let mut failed_attempts = 0;
        let mut last = None;
        for emitted in events {
            let sequence = match &emitted.event {
                // A request's streams begin with these …
                Event::Inference(Inference::Admitted(_) | Inference::Refused(_)) | Event::Hold(Hold::Reserved(_)) => {
                    Some(1)
                }
                // … and end with these: that an end is always 2 is what makes a second one impossible.
                Event::Hold(Hold::Settled(_) | Hold::Released(_) | Hold::Expired(_)) => Some(2),
                Event::Inference(Inference::AttemptFailed(_)) => {
                    failed_attempts += 1;
                    Some(1 + failed_attempts)
                }
                Event::Inference(Inference::Completed(_) | Inference::Failed(_) | Inference::Aborted(_)) => {
                    Some(2 + std::mem::take(&mut failed_attempts))
                }
                _ => None,
            };
            last = Some(match sequence {
                Some(sequence) => self.record(facts, emitted, sequence),
                None => self.record_next(facts, emitted),
            });
        }
        last
    }

    /// From now on the key stands for this request.
    pub(super) fn claim(&mut self, facts: &mut Facts, key: &InferenceKey, request_id: RequestId) {
        let claim = Claim { fingerprint: key.fingerprint, request_id };
        facts.claims.insert(key.claimed(), Some(claim.clone()));
        self.claims.push((key.claimed(), claim));
    }

    /// Streams whose last sequence has to be known before this can be written.
    pub(super) fn unnumbered_streams(&self) -> HashSet<Stream> {
        let unnumbered = self.events.iter().filter(|recorded| recorded.sequence == UNNUMBERED);
        unnumbered.map(|recorded| recorded.stream.clone()).collect()
    }

    /// Gives those events their places, behind the last ones that are recorded and those of this draft.
    pub(super) fn number(&mut self, mut last_sequences: HashMap<Stream, u64>) {
        for event in &mut self.events {
            let Some(last) = last_sequences.get_mut(&event.stream) else { continue };
            match event.sequence {
                UNNUMBERED => {
                    *last += 1;
                    // Nobody else has it before it is recorded.
                    if let Some(event) = Arc::get_mut(event) {
                        event.sequence = *last;
                    }
                }
                sequence => *last = sequence,
            }
        }
        self.has_unnumbered = false;
    }
}
