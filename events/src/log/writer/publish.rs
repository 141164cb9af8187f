//! What the writer tells of a batch once it is durable: to who follows every event, to who waits for a position, and to
//! who needs to know only that administration changed something.

use std::sync::Arc;

use tokio::sync::{broadcast, watch};

use super::super::{Head, TAIL_BATCHES_MAX};
use crate::event::Recorded;

/// The writer's ends.
pub(in crate::log) struct Publisher {
    tail: broadcast::Sender<Arc<[Arc<Recorded>]>>,
    head: watch::Sender<Head>,
    administration: watch::Sender<u64>,
}

/// The log's ends. The tail is weak: a follower has to see when the writer is gone.
pub(in crate::log) struct Published {
    pub tail: broadcast::WeakSender<Arc<[Arc<Recorded>]>>,
    pub head: watch::Receiver<Head>,
    /// Position of the last event of administration; 0 before the first.
    pub administration: watch::Receiver<u64>,
}

pub(in crate::log) fn channels() -> (Publisher, Published) {
    let (tail, _) = broadcast::channel(TAIL_BATCHES_MAX);
    let (head_in, head) = watch::channel(Head::default());
    let (administration_in, administration) = watch::channel(0);
    let published = Published { tail: tail.downgrade(), head, administration };
    (Publisher { tail, head: head_in, administration: administration_in }, published)
}

impl Publisher {
    /// Where the log stands when it is opened.
    pub(super) fn begin_at(&self, head: Head, administration: u64) {
        self.administration.send_replace(administration);
        self.head.send_replace(head);
    }

    /// One batch. The head moves last: who saw it move finds the batch in its tail.
    pub(super) fn publish(&self, recorded: Vec<Arc<Recorded>>) {
        let Some(last) = recorded.last() else { return };
        let head = Head { position: last.position, recorded_at: Some(last.recorded_at) };
        if let Some(changed) = recorded.iter().rfind(|recorded| recorded.stream.kind.is_administration()) {
            self.administration.send_replace(changed.position);
        }
        let _ = self.tail.send(recorded.into());
        self.head.send_replace(head);
    }
}
