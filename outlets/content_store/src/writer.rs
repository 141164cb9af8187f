//! Puts sealed content beside the requests. No request waits for the store: what there is no room for is lost, and so is what the
//! store has not taken [`GIVEN_UP_AFTER`] it was queued. Requests record the first, and a metric counts both.

use std::sync::Arc;
use std::time::Duration;

use blocking_work::SEALING;
use bytes::Bytes;
use events::content::ContentPart;
use events::ids::IdMaker;
use events_log::backoff::Backoff;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::address::ContentAddress;
use crate::figures::ContentFigures;
use crate::key::ContentKey;
use crate::store::{ContentStore, TEXT_BYTES_MAX};

/// The memory of all that is on its way to the store, in KiB.
const QUEUE_KIB_MAX: u32 = 64 * 1024;
/// The most objects that are on their way.
const OBJECTS_MAX: usize = 4096;
/// How many of them are put at a time.
const PUTS_MAX: usize = 32;
/// How long after it was queued an object is put again if the store fails.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);

/// A prompt or an answer that is to be kept.
pub struct Content {
    pub address: ContentAddress,
    pub key: Arc<ContentKey>,
    pub text: Bytes,
}

/// The way to the store. Cheap to clone.
#[derive(Clone)]
pub struct ContentWriter {
    state: Arc<WriterState>,
}

struct WriterState {
    store: ContentStore,
    ids: IdMaker,
    figures: ContentFigures,
    memory: Arc<Semaphore>,
    objects: Arc<Semaphore>,
    puts: Semaphore,
    tasks: TaskTracker,
    /// Where objects are sealed and put, which are not the threads that serve requests.
    runtime: Handle,
}

/// The share of one object in the writer's memory, until it is stored or lost.
struct QueuePermits {
    _memory: OwnedSemaphorePermit,
    _object: OwnedSemaphorePermit,
}

impl ContentWriter {
    /// Works on the runtime on which this is called.
    pub fn new(store: ContentStore, ids: IdMaker, figures: ContentFigures) -> Self {
        let state = WriterState {
            store,
            ids,
            figures,
            memory: Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize)),
            objects: Arc::new(Semaphore::new(OBJECTS_MAX)),
            puts: Semaphore::new(PUTS_MAX),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        };
        Self { state: Arc::new(state) }
    }

    /// Queues the text to be sealed and stored. False if there is no room for it, or it is too long: it is lost.
    #[must_use]
    pub fn try_enqueue(&self, content: Content) -> bool {
        let state = Arc::clone(&self.state);
        let Some(permits) = state.permits_for(content.text.len()) else {
            self.count_lost(content.address.part);
            return false;
        };
        state.figures.pending().inc();
        let give_up_at = Instant::now() + GIVEN_UP_AFTER;
        let put = async move {
            state.put(content, give_up_at).await;
            state.figures.pending().dec();
            drop(permits);
        };
        self.state.tasks.spawn_on(put, &self.state.runtime);
        true
    }

    /// Counts a text as lost that could not be kept.
    pub fn count_lost(&self, part: ContentPart) {
        self.state.figures.count_lost(part);
    }

    /// Waits until everything is stored or lost, at most this long. Returns how many objects are left.
    pub async fn drain(&self, at_most: Duration) -> usize {
        self.state.tasks.close();
        let _ = tokio::time::timeout(at_most, self.state.tasks.wait()).await;
        self.state.tasks.len()
    }
}

impl WriterState {
    /// Twice the text: for as long as it is put, the sealed copy is there as well.
    fn permits_for(&self, bytes: usize) -> Option<QueuePermits> {
        if bytes > TEXT_BYTES_MAX {
            return None;
        }
        let kib = u32::try_from(bytes.div_ceil(512)).ok()?.clamp(1, QUEUE_KIB_MAX);
        Some(QueuePermits {
            _memory: Arc::clone(&self.memory).try_acquire_many_owned(kib).ok()?,
            _object: Arc::clone(&self.objects).try_acquire_owned().ok()?,
        })
    }

    async fn put(&self, content: Content, give_up_at: Instant) {
        let Content { address, key, text } = content;
        let part = address.part;
        // While the store is down, objects wait here for the attempts of others, which end when these are given up.
        let Ok(Ok(_permit)) = timeout_at(give_up_at, self.puts.acquire()).await else {
            self.figures.count_lost(part);
            tracing::error!(request_id = %address.request, part = part.as_str(), "sealed content is lost: the store is too slow");
            return;
        };
        let nonce = self.ids.bytes();
        let sealed = if text.len() > SEALED_AT_ONCE_MAX {
            SEALING.run(Some(address.tenant), move || key.seal(&address, nonce, &text)).await.ok().flatten()
        } else {
            key.seal(&address, nonce, &text)
        };
        let Some(object) = sealed.map(Bytes::from) else {
            self.figures.count_lost(part);
            return;
        };
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            match self.store.put(&address, object.clone()).await {
                Ok(()) => {
                    self.figures.count_kept(part);
                    return;
                }
                Err(error) if Instant::now() >= give_up_at => {
                    self.figures.count_lost(part);
                    tracing::error!(%error, request_id = %address.request, part = part.as_str(), "sealed content is lost");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, request_id = %address.request, part = part.as_str(), "sealed content is not stored yet");
                    backoff.wait().await;
                }
            }
        }
    }
}

/// A longer text is sealed on a thread of its own: this one takes less than a millisecond.
const SEALED_AT_ONCE_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use events::content::ContentKeyOwner;
    use events::ids::SystemRandom;
    use events::time::{SystemClock, parse_rfc3339};

    use prometheus::Registry;

    use super::*;
    use crate::store::tests::store_in;

    fn writer(folder: &std::path::Path) -> (ContentWriter, ContentStore) {
        let store = store_in(folder);
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let figures = ContentFigures::register(&Registry::new()).expect("metrics");
        (ContentWriter::new(store.clone(), ids, figures), store)
    }

    fn content(text: Vec<u8>) -> Content {
        let address = ContentAddress {
            tenant: "ten_00000000000000000000000000000001".parse().expect("an id"),
            admitted_at: parse_rfc3339("2026-11-25T08:00:00Z").expect("a time"),
            request: "req_00000000000000000000000000000002".parse().expect("an id"),
            part: ContentPart::Prompt,
        };
        let key = ContentKey::new(ContentKeyOwner::Tenant(address.tenant), 7, &[1; 32]);
        Content { address, key: Arc::new(key), text: text.into() }
    }

    #[tokio::test]
    async fn what_is_kept_is_stored_by_the_end_and_opens() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, store) = writer(folder.path());
        let Content { address, key, .. } = content(Vec::new());
        assert!(writer.try_enqueue(content(vec![b'x'; 300_000])));
        assert_eq!(writer.drain(Duration::from_secs(20)).await, 0);
        let found = store.get(&address).await.expect("it reads").expect("an object");
        assert_eq!(key.open(&address, &found.bytes), Some(vec![b'x'; 300_000]));
    }

    #[tokio::test]
    async fn what_finds_no_room_is_lost_at_once_and_the_room_is_free_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, _) = writer(folder.path());
        let mebibytes = |count: usize| content(vec![0; count * 1024 * 1024]);
        assert!(!writer.try_enqueue(content(vec![0; TEXT_BYTES_MAX + 1])), "it is too long");
        // Nothing is put before this test waits.
        assert!(writer.try_enqueue(mebibytes(20)));
        assert!(!writer.try_enqueue(mebibytes(20)) && writer.try_enqueue(mebibytes(5)));
        let lost = writer.state.figures.lost(ContentPart::Prompt);
        assert_eq!((lost, writer.state.figures.pending().get()), (2, 2));
        assert_eq!(writer.drain(Duration::from_secs(60)).await, 0);
        assert_eq!(writer.state.memory.available_permits(), QUEUE_KIB_MAX as usize);
    }
}
