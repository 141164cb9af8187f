//! A draft: all that a batch will write, decided but not yet recorded. An engine writes it in one transaction, or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use events::event::{Event, Hold, Recorded, SequenceRule, Stream};
use events::ids::RequestId;
use events::ledger::{Balances, Emitted};

use super::facts::{Claim, ClaimedKey, Facts, not_looked_up};
use super::owners::OwnerBlocks;
use super::recent_changes::RecentChanges;
use super::side::ReplyKey;
use super::{InferenceKey, LogError, SideRow, StoredReply};

/// A placeholder for a sequence (these begin at 1): the event goes to the end of its stream.
const UNNUMBERED: u64 = 0;

#[derive(Debug)]
pub(super) struct Draft {
    /// The log's last position when the batch was decided.
    pub(super) after: u64,
    pub(super) recorded_at: DateTime<Utc>,
    /// In order; the first is at `after + 1`.
    pub(super) events: Vec<Arc<Recorded>>,
    /// The number of jobs that are decided in it.
    pub(super) jobs: usize,
    pub(super) side: Vec<SideRow>,
    pub(super) replies: Vec<(ReplyKey, StoredReply)>,
    pub(super) claims: Vec<(ClaimedKey, Claim)>,
    /// True if some events have no sequence yet.
    pub(super) has_unnumbered: bool,
    /// The changes of administration among its events.
    pub(super) changes: RecentChanges,
}

/// The state that the stored rows are brought up to.
pub(super) struct StateRows<'a> {
    pub(super) balances: &'a Balances,
    pub(super) owners: &'a OwnerBlocks,
}

impl Draft {
    pub(super) fn new(after: u64, recorded_at: DateTime<Utc>) -> Self {
        Self {
            after,
            recorded_at,
            events: Vec::new(),
            jobs: 0,
            side: Vec::new(),
            replies: Vec::new(),
            claims: Vec::new(),
            has_unnumbered: false,
            changes: RecentChanges::after(0),
        }
    }

    /// The position of its last event; without events, the log's last position.
    pub(super) fn position(&self) -> u64 {
        self.after + self.events.len() as u64
    }

    /// Adds an event with its sequence, and returns its position.
    pub(super) fn record(&mut self, facts: &mut Facts, emitted: Emitted, sequence: u64) -> u64 {
        let Emitted { stream, context, event } = emitted;
        let position = self.position() + 1;
        self.changes.note(position, &stream, &context);
        let recorded = Recorded { position, recorded_at: self.recorded_at, stream, sequence, context, event };
        facts.apply(&recorded);
        self.events.push(Arc::new(recorded));
        position
    }

    /// Adds an event at the end of its stream, and returns its position.
    pub(super) fn record_next(&mut self, facts: &mut Facts, emitted: Emitted) -> u64 {
        self.has_unnumbered = true;
        self.record(facts, emitted, UNNUMBERED)
    }

    /// Adds the events of one decision in order, and returns the position of the last.
    pub(super) fn record_decided(&mut self, facts: &mut Facts, events: Vec<Emitted>) -> Option<u64> {
        // The request whose outcome is recorded, and the last sequence on its stream: its failed attempts come first.
        let mut outcome = (None, 1);
        let mut last = None;
        for emitted in events {
            let sequence = match (&emitted.event, emitted.event.sequence_rule()) {
                // It follows the hold's end, which an earlier decision recorded.
                (Event::Hold(Hold::Adjusted(_)), _) => None,
                (Event::Inference(_) | Event::Hold(_), SequenceRule::First) => Some(1),
                // The end of a hold always has sequence 2, which makes a second end impossible.
                (Event::Hold(_), _) => Some(2),
                (Event::Inference(_), _) => {
                    let request = emitted.context.request_id;
                    outcome = (request, if outcome.0 == request { outcome.1 + 1 } else { 2 });
                    Some(outcome.1)
                }
                (Event::Resource(_) | Event::Access(_) | Event::Alert(_), _) => None,
            };
            last = Some(match sequence {
                Some(sequence) => self.record(facts, emitted, sequence),
                None => self.record_next(facts, emitted),
            });
        }
        last
    }

    /// Binds the idempotency key to this request.
    pub(super) fn claim(&mut self, facts: &mut Facts, key: &InferenceKey, request_id: RequestId) {
        let claim = Claim { fingerprint: key.fingerprint.keyed, request_id };
        facts.claims.insert(key.claimed(), Some(claim.clone()));
        self.claims.push((key.claimed(), claim));
    }

    /// Refuses an event of a set above this one, which nodes of the version before could not read. Costs nothing while there is
    /// none: the compiler knows that all sets are written.
    pub(super) fn must_be_written_from(&self, newest_set: u32) -> Result<(), LogError> {
        match self.events.iter().map(|recorded| &recorded.event).find(|event| event.event_set() > newest_set) {
            Some(event) => Err(LogError::NotWrittenYet { name: event.name(), version: event.version() }),
            None => Ok(()),
        }
    }

    /// The streams whose last sequence is needed before the draft can be written.
    pub(super) fn unnumbered_streams(&self) -> HashSet<Stream> {
        let unnumbered = self.events.iter().filter(|recorded| recorded.sequence == UNNUMBERED);
        unnumbered.map(|recorded| recorded.stream.clone()).collect()
    }

    /// Numbers the events without a sequence, after the last recorded ones and those of this draft.
    ///
    /// Errors: the last sequence of a stream was not looked up.
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
    use events::event::{Access, Actor, Context};
    use events::refusal::ErrorCode;

    use super::*;

    fn denied() -> Emitted {
        let denied = events::event::access::AccessDenied { code: ErrorCode::Forbidden, count: 1 };
        let event = Event::Access(Access::Denied(Box::new(denied)));
        let stream = Stream::new(events::event::StreamKind::Access, "anonymous");
        Emitted { stream, context: Context::of(Actor::Operator), event }
    }

    #[test]
    fn an_event_of_a_set_that_is_not_written_yet_is_refused() {
        let mut draft = Draft::new(0, DateTime::UNIX_EPOCH);
        draft.must_be_written_from(0).expect("it has no event");
        draft.record_next(&mut Facts::default(), denied());
        draft.must_be_written_from(1).expect("all are of set 1");
        let error = draft.must_be_written_from(0).expect_err("one is above set 0");
        assert!(error.to_string().contains("access.denied.v1") && !error.may_be_recorded(), "{error}");
    }

    #[test]
    fn an_event_whose_stream_was_not_looked_up_is_not_numbered_by_guess() {
        let mut draft = Draft::new(0, DateTime::UNIX_EPOCH);
        let (emitted, stream) = (denied(), denied().stream);
        draft.record_next(&mut Facts::default(), emitted);
        assert!(draft.number(HashMap::new()).is_err());
        draft.number(HashMap::from([(stream, 4)])).expect("it is known");
        assert_eq!(draft.events[0].sequence, 5);
    }
}
