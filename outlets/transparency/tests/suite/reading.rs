//! Readers of the published log while its object store is slow or does not open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use events::ids::TenantId;
use object_storage::{NotOpened, ObjectStoreAddress, Objects, Open, OpenError};
use tokio::task::JoinSet;
use transparency::{PublishedError, PublishedPlace, ReaderKind, repairer};
use uuid::Uuid;

use crate::ledger::{Ledger, tls};

const READERS: usize = 5;
/// Longer than a reader waits.
const OPENING: Duration = Duration::from_secs(8);
const WAIT_MAX: Duration = Duration::from_secs(7);

fn place_of(ledger: &Ledger, open: Open<Objects>) -> PublishedPlace {
    let log = ledger.open();
    let (repairs, _) = repairer(log.clone());
    PublishedPlace::new(open, log, repairs)
}

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
    let ledger = Ledger::without_key();
    let (place, began, mut reading) = (place_of(&ledger, open), Instant::now(), JoinSet::new());
    for number in 0..READERS {
        let (place, reader) = (place.clone(), [ReaderKind::Anybody, ReaderKind::Caller(None)][number % 2]);
        reading.spawn(async move { place.read(reader).await.map(drop) });
    }
    for read in reading.join_all().await {
        assert!(matches!(read, Err(PublishedError::Open(NotOpened::Silent))), "{read:?}");
    }
    assert!(began.elapsed() < WAIT_MAX, "{:?}", began.elapsed());
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    drop(end);
}

#[tokio::test]
async fn one_tenant_leaves_room_for_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = ObjectStoreAddress::of_folder(folder.path());
    let ledger = Ledger::without_key();
    let open = Arc::new(move || Objects::open(&address, &[], |_| None, &tls()));
    let place = place_of(&ledger, open);
    let tenant = |number| ReaderKind::Caller(Some(TenantId::from(Uuid::from_u128(number))));
    let mut readings = Vec::new();
    let busy = loop {
        match place.read(tenant(1)).await {
            Ok(reading) => readings.push(reading),
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, PublishedError::Busy), "{busy:?}");
    assert_eq!(readings.len(), 8);
    for reader in [tenant(2), ReaderKind::Caller(None)] {
        assert!(place.read(reader).await.is_ok());
    }
    readings.pop();
    assert!(place.read(tenant(1)).await.is_ok());
}
