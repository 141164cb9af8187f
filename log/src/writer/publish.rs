//! The channels on which the writer publishes a durable batch: all events, the new head, and the position of the last
//! administrative event.

use std::sync::Arc;

use events::event::Recorded;
use tokio::sync::{broadcast, watch};

use super::super::follow::{AppendedBy, EventBatch, TailBatch};
use super::super::{Head, TAIL_BATCHES_MAX};
use super::WriterFigures;

/// The senders, held by the writer.
pub(crate) struct Publisher {
    tail: broadcast::Sender<TailBatch>,
    head: watch::Sender<Head>,
    administration: watch::Sender<u64>,
    figures: Arc<WriterFigures>,
}

/// The receivers, held by the log. The tail is weak, so that followers notice when the writer is gone.
pub(crate) struct Published {
    pub tail: broadcast::WeakSender<TailBatch>,
    pub head: watch::Receiver<Head>,
    /// Position of the last administrative event; 0 before the first.
    pub administration: watch::Receiver<u64>,
}

pub(crate) fn channels(figures: Arc<WriterFigures>) -> (Publisher, Published) {
    let (tail, _) = broadcast::channel(TAIL_BATCHES_MAX);
    let (head_in, head) = watch::channel(Head::default());
    let (administration_in, administration) = watch::channel(0);
    let published = Published { tail: tail.downgrade(), head, administration };
    (Publisher { tail, head: head_in, administration: administration_in, figures }, published)
}

impl Publisher {
    /// Sets where the log stands, without events. Followers read from the database what they do not have yet.
    pub(super) fn jump_to(&self, head: Head, administration: u64) {
        self.change(administration);
        let _ = self.tail.send(TailBatch::default());
        self.head.send_replace(head);
    }

    /// Publishes a batch, and returns it. The head moves last: whoever sees it move finds the batch in the tail.
    pub(super) fn publish(&self, recorded: Vec<Arc<Recorded>>, appended_by: AppendedBy) -> EventBatch {
        let events: EventBatch = recorded.into();
        let Some(last) = events.last() else { return events };
        let head = Head { position: last.position, recorded_at: Some(last.recorded_at) };
        if let Some(changed) = events.iter().rfind(|recorded| recorded.stream.kind.is_administration()) {
            self.change(changed.position);
        }
        let _ = self.tail.send(TailBatch { events: Arc::clone(&events), appended_by });
        self.head.send_replace(head);
        events
    }

    fn change(&self, position: u64) {
        self.figures.note_change();
        self.administration.send_replace(position);
    }
}
