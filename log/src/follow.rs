//! Followers of the log: every event after a position, in order, each exactly once. New events come from the writer's tail,
//! older ones from the database. The gaps and overlaps between the two are handled here, so that callers see one sequence.

use std::ops::RangeInclusive;
use std::sync::Arc;

use blocking_work::{FOLLOWING, WorkTurn};
use events::event::Recorded;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

use super::readers::Readers;
use super::{LogError, Reader};

/// Events that follow each other, whole batches of them.
pub(super) type EventBatch = Arc<[Arc<Recorded>]>;

/// The process that appended a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum AppendedBy {
    ThisProcess,
    #[default]
    Others,
}

/// The last batch that the writer published: without events, those up to the head must be read from the database.
#[derive(Clone, Debug, Default)]
pub(super) struct TailBatch {
    pub(super) events: EventBatch,
    pub(super) appended_by: AppendedBy,
}

/// The next events of a follower.
#[derive(Clone, Debug)]
pub enum Followed {
    /// A batch that this process has just recorded.
    Batch(EventBatch),
    /// A batch of other processes, just read.
    Others(EventBatch),
    /// A page read from the database; there may be more.
    Page(EventBatch),
    /// The database has no more events: the next ones come from the tail.
    CaughtUp,
}

impl Followed {
    pub fn events(&self) -> &[Arc<Recorded>] {
        match self {
            Self::Batch(events) | Self::Others(events) | Self::Page(events) => events,
            Self::CaughtUp => &[],
        }
    }

    /// True for events that were published when they were recorded or read, and not read again from the database.
    pub const fn is_new(&self) -> bool {
        matches!(self, Self::Batch(_) | Self::Others(_))
    }
}

/// A cursor over the log. It does not keep the log open.
pub struct Follower {
    tail: broadcast::Receiver<TailBatch>,
    readers: Arc<Readers>,
    /// The id of this process in a log that others append to as well.
    node_id: Option<Arc<str>>,
    /// The position of the last event that was returned.
    position: u64,
    /// Maximum number of events in a page.
    page: usize,
    /// True if the database must be read before the tail.
    is_behind: bool,
    /// The next page, read ahead while the caller processes the current one.
    reading: Option<Reading>,
    reader: Option<Box<dyn Reader>>,
}

/// A page that is being read, with its connection.
type Reading = JoinHandle<Result<(Box<dyn Reader>, Vec<Arc<Recorded>>), LogError>>;

impl Follower {
    pub(super) fn new(
        tail: broadcast::Receiver<TailBatch>,
        readers: Arc<Readers>,
        node_id: Option<Arc<str>>,
        position: u64,
        page: usize,
        is_behind: bool,
    ) -> Self {
        Self { tail, readers, node_id, position, page, is_behind, reading: None, reader: None }
    }

    /// The position of the last event that was returned.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// True if older events remain to be read from the database.
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Continues after another position.
    pub fn go_to(&mut self, position: u64) {
        self.reading = None;
        self.is_behind = true;
        self.position = position;
    }

    /// Waits for the next events; returns `None` once the log is closed. Cancel-safe.
    ///
    /// Errors: the database cannot be read. The next call tries again.
    pub async fn next(&mut self) -> Result<Option<Followed>, LogError> {
        loop {
            if self.is_behind {
                let page = self.next_page().await?;
                self.is_behind = page.is_some();
                return Ok(Some(page.map_or(Followed::CaughtUp, Followed::Page)));
            }
            match self.tail.recv().await {
                Ok(batch) => {
                    if let Some(followed) = self.take(batch) {
                        return Ok(Some(followed));
                    }
                }
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// The next events of the tail, if any, without waiting.
    pub fn try_next(&mut self) -> Option<Followed> {
        while !self.is_behind {
            match self.tail.try_recv() {
                Ok(batch) => {
                    if let Some(followed) = self.take(batch) {
                        return Some(followed);
                    }
                }
                Err(TryRecvError::Lagged(_)) => self.is_behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
        None
    }

    /// Takes a batch of the tail, unless all of it was returned before. If events before it are missing, part of it was
    /// returned, or it has none, the database must be read.
    fn take(&mut self, batch: TailBatch) -> Option<Followed> {
        let TailBatch { events, appended_by } = batch;
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            self.is_behind = true;
            return None;
        };
        let (first, last) = (first.position, last.position);
        if last <= self.position {
            return None;
        }
        if first != self.position + 1 {
            self.is_behind = true;
            return None;
        }
        self.position = last;
        Some(match appended_by {
            AppendedBy::ThisProcess => Followed::Batch(events),
            AppendedBy::Others => Followed::Others(events),
        })
    }

    /// Which positions of a page are of events that this process appended.
    pub async fn own_positions(&mut self, page: &[Arc<Recorded>]) -> Result<Vec<RangeInclusive<u64>>, LogError> {
        let (Some(first), Some(last)) = (page.first(), page.last()) else { return Ok(Vec::new()) };
        let positions = first.position..=last.position;
        let Some(node_id) = self.node_id.clone() else { return Ok(vec![positions]) };
        let readers = Arc::clone(&self.readers);
        let read = FOLLOWING.run(None, move || readers.open()?.appended_by(&node_id, positions));
        read.await.map_err(|_| LogError::Closed)?
    }

    /// The next page of the database; `None` if there are no more events.
    async fn next_page(&mut self) -> Result<Option<Arc<[Arc<Recorded>]>>, LogError> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => {
                let turn = FOLLOWING.turn(None).await;
                let (readers, reader) = (Arc::clone(&self.readers), self.reader.take());
                self.reading.insert(read(turn, readers, reader, self.position, self.page))
            }
        };
        let read_page = reading.await;
        self.reading = None;
        let (reader, page) = read_page.map_err(|_| LogError::Closed)??;
        let Some(last) = page.last() else {
            self.reader = Some(reader);
            return Ok(None);
        };
        self.position = last.position;
        match FOLLOWING.try_turn(None) {
            Some(turn) => {
                let readers = Arc::clone(&self.readers);
                self.reading = Some(read(turn, readers, Some(reader), self.position, self.page));
            }
            None => self.reader = Some(reader),
        }
        Ok(Some(page.into()))
    }
}

/// Reads off the async threads. A failed connection may be in any state, so it is dropped and replaced.
fn read(turn: WorkTurn, readers: Arc<Readers>, reader: Option<Box<dyn Reader>>, after: u64, page: usize) -> Reading {
    turn.start(move || {
        let reader = reader.map_or_else(|| readers.open(), Ok)?;
        let page = reader.after(after, page)?.into_iter().map(Arc::new).collect();
        Ok((reader, page))
    })
}
