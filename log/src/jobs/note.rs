//! Events that are appended to the end of a stream, without an expected sequence.

use events::event::{Context, Event, Stream};
use events::ledger::Emitted;

use super::{JobKind, OpenBatch, RecordedBatch, Reply};
use crate::LogError;

/// An event for the end of a stream.
#[derive(Clone, Debug)]
pub struct Note {
    pub stream: Stream,
    pub context: Context,
    pub event: Event,
}

pub(crate) struct RecordNotes(pub(crate) Vec<Note>);

impl JobKind for RecordNotes {
    type Decided = ();
    type Answer = ();
    type Error = LogError;

    fn decide(&self, batch: &mut OpenBatch<'_>) -> Result<(), LogError> {
        for Note { stream, context, event } in self.0.iter().cloned() {
            batch.draft.record_next(batch.facts, Emitted { stream, context, event });
        }
        Ok(())
    }

    fn answer(self, (): (), _batch: &RecordedBatch<'_>) -> Reply<Self> {
        Reply::Now(Ok(()))
    }
}
