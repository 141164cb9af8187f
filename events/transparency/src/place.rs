//! The published log for those who read it over the network. Anybody can, so that what they keep busy is bounded, and callers
//! with a key have room of their own.

use std::sync::Arc;
use std::time::Duration;

use objects::{NotOpened, Objects, Open, Opening};
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::files::Files;
use crate::published::{PublishedError, PublishedLog};

/// For how many of each kind of reader it is read at a time.
const READERS_MAX: usize = 32;
/// How long others wait.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long opening the object store may take.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// The published log, which is opened when it is first read. Cheap to clone.
#[derive(Clone)]
pub struct PublishedPlace {
    opening: Arc<Mutex<Opening<Objects>>>,
    opened: Arc<OnceCell<PublishedLog>>,
    anybody: Arc<Semaphore>,
    callers: Arc<Semaphore>,
}

/// The kinds of readers. Each has room of its own.
#[derive(Clone, Copy)]
pub enum ReaderKind {
    Anybody,
    /// Has a key.
    Caller,
}

/// The log, for one reader.
pub struct Reading {
    pub log: PublishedLog,
    _permit: OwnedSemaphorePermit,
}

impl PublishedPlace {
    pub fn new(open: Open<Objects>) -> Self {
        let room = || Arc::new(Semaphore::new(READERS_MAX));
        let opening = Arc::new(Mutex::new(Opening::new(open)));
        Self { opening, opened: Arc::default(), anybody: room(), callers: room() }
    }

    /// Waits until there is room for another reader.
    pub async fn read(&self, kind: ReaderKind) -> Result<Reading, PublishedError> {
        let room = match kind {
            ReaderKind::Anybody => &self.anybody,
            ReaderKind::Caller => &self.callers,
        };
        let permit = timeout(WAIT_MAX, Arc::clone(room).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(PublishedError::Busy) };
        // Readers wait side by side, each for at most `OPEN_MAX`, although only one attempt to open is made.
        let opened = timeout(OPEN_MAX, self.opened.get_or_try_init(|| self.open())).await;
        let log = opened.map_err(|_| NotOpened::Silent)??.clone();
        Ok(Reading { log, _permit: permit })
    }

    async fn open(&self) -> Result<PublishedLog, PublishedError> {
        let objects = self.opening.lock().await.within(OPEN_MAX).await?;
        Ok(PublishedLog::new(Files::new(objects)))
    }
}
