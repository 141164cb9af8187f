//! Following the log: every event behind a position, in order, none twice and none left out. What is being recorded comes from
//! the writer, what was recorded before from the database, and whoever follows need not know which: that the writer's tail
//! forgets batches, and may have more than was asked for, stays in here.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;

use super::readers::Readers;
use super::{LogError, Reader};
use crate::event::Recorded;

/// What the writer publishes of one batch.
pub(super) type Published = Arc<[Arc<Recorded>]>;

/// Events that follow on those before them.
#[derive(Clone, Debug)]
pub enum Followed {
    /// As they were recorded, in one batch.
    Batch(Arc<[Arc<Recorded>]>),
    /// Read from the database; there may be more.
    Page(Arc<[Arc<Recorded>]>),
    /// The database had no more: what comes next is being recorded.
    CaughtUp,
}

impl Followed {
    pub fn events(&self) -> &[Arc<Recorded>] {
        match self {
            Self::Batch(events) | Self::Page(events) => events,
            Self::CaughtUp => &[],
        }
    }
}

/// A place in the log that moves on. It does not keep the log open.
pub struct Follower {
    tail: broadcast::Receiver<Published>,
    readers: Arc<Readers>,
    /// Everything up to here was given.
    position: u64,
    /// Events that are read at a time.
    page: usize,
    /// Whether the database has to be read before the tail goes on.
    is_behind: bool,
    /// The next page, while whoever follows is busy with the one before.
    reading: Option<Reading>,
    reader: Option<Box<dyn Reader>>,
}

/// A page that is being read, and the connection that it is read on.
type Reading = JoinHandle<Result<(Box<dyn Reader>, Vec<Arc<Recorded>>), LogError>>;

/// How a batch of the tail stands to what was given.
enum Next {
    Follows(Published),
    /// All of it was given before.
    Known,
    /// Something in front of it is missing, or it was given in part: the database has it too.
    Gap,
}

impl Follower {
    pub(super) const fn new(
        tail: broadcast::Receiver<Published>,
        readers: Arc<Readers>,
        position: u64,
        page: usize,
        is_behind: bool,
    ) -> Self {
        Self { tail, readers, position, page, is_behind, reading: None, reader: None }
    }

    /// Everything up to here was given.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Whether something that was recorded before has to be read.
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Goes on behind another position.
    pub fn go_to(&mut self, position: u64) {
        self.reading = None;
        self.is_behind = true;
        self.position = position;
    }

    /// Waits for the next events; `None` once the log is closed. Nothing is lost where it is dropped while it waits.
    ///
    /// Errors: the database cannot be read; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Followed>, LogError> {
        loop {
            if self.is_behind {
                let page = self.next_page().await?;
                self.is_behind = page.is_some();
                return Ok(Some(page.map_or(Followed::CaughtUp, Followed::Page)));
            }
            match self.tail.recv().await {
                Ok(batch) => match self.standing_of(batch) {
                    Next::Follows(batch) => return Ok(Some(self.gives(batch))),
                    Next::Known => {}
                    Next::Gap => self.is_behind = true,
                },
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// The next events where the writer has published any, without waiting for them.
    pub fn try_next(&mut self) -> Option<Followed> {
        while !self.is_behind {
            match self.tail.try_recv() {
                Ok(batch) => match self.standing_of(batch) {
                    Next::Follows(batch) => return Some(self.gives(batch)),
                    Next::Known => {}
                    Next::Gap => self.is_behind = true,
                },
                Err(TryRecvError::Lagged(_)) => self.is_behind = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
        None
    }

    fn gives(&mut self, batch: Published) -> Followed {
        self.position = batch.last().map_or(self.position, |last| last.position);
        Followed::Batch(batch)
    }

    fn standing_of(&self, batch: Published) -> Next {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Next::Known };
        if last.position <= self.position {
            Next::Known
        } else if first.position == self.position + 1 {
            Next::Follows(batch)
        } else {
            Next::Gap
        }
    }

    /// The next page of the database; `None` where there is no more.
    async fn next_page(&mut self) -> Result<Option<Arc<[Arc<Recorded>]>>, LogError> {
        let reading = match &mut self.reading {
            Some(reading) => reading,
            None => {
                let (readers, reader) = (Arc::clone(&self.readers), self.reader.take());
                self.reading.insert(read(readers, reader, self.position, self.page))
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
        self.reading = Some(read(Arc::clone(&self.readers), Some(reader), self.position, self.page));
        Ok(Some(page.into()))
    }
}

/// Off the async threads. A connection that failed may be in any state: it is dropped, and the next one is a new one.
fn read(readers: Arc<Readers>, reader: Option<Box<dyn Reader>>, after: u64, page: usize) -> Reading {
    tokio::task::spawn_blocking(move || {
        let reader = reader.map_or_else(|| readers.open(), Ok)?;
        let page = reader.after(after, page)?.into_iter().map(Arc::new).collect();
        Ok((reader, page))
    })
}
