//! Who reads the published log while its object store does not open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use objects::{NotOpened, Objects, Open, OpenError};
use tokio::task::JoinSet;
use transparency::{PublishedError, PublishedPlace, ReaderKind};

const READERS: usize = 5;
/// Longer than a reader waits.
const OPENING: Duration = Duration::from_secs(8);
const WAIT_MAX: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread")]
async fn readers_wait_for_an_object_store_beside_each_other_and_it_is_opened_once() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    // Whoever waits for it goes on at the end of the test.
    let (end, never) = std::sync::mpsc::channel::<()>();
    let never = Mutex::new(never);
    let open: Open<Objects> = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = never.lock().expect("one attempt at a time").recv_timeout(OPENING);
        Err(OpenError::Folder { folder: "objects".to_owned(), reason: "it was too slow".to_owned() })
    });
    let (place, began, mut reading) = (PublishedPlace::new(open), Instant::now(), JoinSet::new());
    for number in 0..READERS {
        let (place, reader) = (place.clone(), [ReaderKind::Anybody, ReaderKind::Caller][number % 2]);
        reading.spawn(async move { place.read(reader).await.map(drop) });
    }
    for read in reading.join_all().await {
        assert!(matches!(read, Err(PublishedError::Open(NotOpened::Silent))), "{read:?}");
    }
    assert!(began.elapsed() < WAIT_MAX, "{:?}", began.elapsed());
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    drop(end);
}
