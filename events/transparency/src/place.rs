//! The published log for those who read it over the network: anybody, so that what they can keep busy is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::files::Files;
use crate::published::{PublishedError, PublishedLog};
use crate::role::OpenObjects;

/// How many are read for at a time.
const READERS_MAX: usize = 32;
/// How long others wait.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long opening the object store may take.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// The published log, which is opened when it is first read. Cheap to clone.
#[derive(Clone)]
pub struct PublishedPlace {
    open: OpenObjects,
    opened: Arc<OnceCell<PublishedLog>>,
    readers: Arc<Semaphore>,
}

/// The log, for one reader.
pub struct Reading {
    pub log: PublishedLog,
    _permit: OwnedSemaphorePermit,
}

impl PublishedPlace {
    pub fn new(open: OpenObjects) -> Self {
        Self { open, opened: Arc::default(), readers: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Waits until there is room for another reader.
    pub async fn read(&self) -> Result<Reading, PublishedError> {
        let permit = timeout(WAIT_MAX, Arc::clone(&self.readers).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return Err(PublishedError::Busy) };
        let log = self.opened.get_or_try_init(|| self.open()).await?.clone();
        Ok(Reading { log, _permit: permit })
    }

    async fn open(&self) -> Result<PublishedLog, PublishedError> {
        let open = Arc::clone(&self.open);
        let opened = timeout(OPEN_MAX, tokio::task::spawn_blocking(move || open())).await;
        let Ok(Ok(opened)) = opened else { return Err(PublishedError::Silent) };
        Ok(PublishedLog::new(Files::new(opened?)))
    }
}
