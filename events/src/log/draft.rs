//! What a batch is to write, decided and not yet recorded. An engine writes all of it in one transaction, or nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::facts::{Claim, ClaimedKey, Facts, not_looked_up};
use super::owners::OwnerBlocks;
use super::{Idempotency, InferenceKey, LogError, SideRow};
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
                Event::Hold(Hold::Adjusted(_)) | Event::Resource(_) | Event::Access(_) | Event::Alert(_) => None,
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
    ///
    /// Errors: the last sequence of a stream is missing.
    pub(super) fn number(&mut self, mut last_sequences: HashMap<Stream, u64>) -> Result<(), LogError> {
        for event in &mut self.events {
            let last = match last_sequences.get_mut(&event.stream) {
                Some(last) => last,
                None if event.sequence == UNNUMBERED => return Err(not_looked_up("the end of a stream")),
                None => continue,
            };
            match event.sequence {
                UNNUMBERED => {
                    *last += 1;
                    let event = Arc::get_mut(event)
                        .ok_or_else(|| LogError::Append("an event was shared before it was recorded".to_owned()))?;
                    event.sequence = *last;
                }
                sequence => *last = sequence,
            }
        }
        self.has_unnumbered = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Access, Actor, Context};
    use crate::refusal::ErrorCode;

    #[test]
    fn an_event_whose_stream_was_not_looked_up_is_not_numbered_by_guess() {
        let mut draft = Draft::new(0, DateTime::UNIX_EPOCH);
        let denied = crate::event::access::AccessDenied { code: ErrorCode::Forbidden, count: 1 };
        let stream = Stream::new(crate::event::StreamKind::Access, "anonymous");
        let event = Event::Access(Access::Denied(Box::new(denied)));
        let emitted = Emitted { stream: stream.clone(), context: Context::of(Actor::Operator), event };
        draft.record_next(&mut Facts::default(), emitted);
        assert!(draft.number(HashMap::new()).is_err());
        draft.number(HashMap::from([(stream, 4)])).expect("it is known");
        assert_eq!(draft.events[0].sequence, 5);
    }
}
