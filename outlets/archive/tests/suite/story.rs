//! A ledger, and archives of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use archive::{Archive, Archiver, Sealed};
use chrono::DateTime;
use events::event::access::AccessDenied;
use events::event::{Access, Actor, Context, Event, Stream, StreamKind};
use events::refusal::ErrorCode;
use events::time::{Clock, ManualClock};
use events_log::{LEDGER_FILE, Log, LogOptions, Note, Reader, open_reader};
use object_storage::ObjectStoreAddress;
use tempfile::TempDir;

/// A ledger in a folder, with this many events, each a second after the one before.
pub struct Ledger {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
}

impl Ledger {
    pub async fn with_events(events: u64) -> Self {
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        let ledger = Self { folder: TempDir::new().expect("a folder"), clock };
        ledger.record(events).await;
        ledger
    }

    /// Records more events.
    pub async fn record(&self, events: u64) {
        let log = self.open();
        self.record_in(&log, events).await;
        log.close();
    }

    /// The same while it is open.
    pub async fn record_in(&self, log: &Log, events: u64) {
        for count in 1..=events {
            self.clock.advance(Duration::from_secs(1));
            log.note(vec![denied(count)]).await.expect("noted");
        }
    }

    /// Records more events at one time.
    pub async fn record_at_once(&self, events: u64) {
        let log = self.open();
        log.note((1..=events).map(denied).collect()).await.expect("noted");
        log.close();
    }

    pub fn open(&self) -> Log {
        Log::open(self.folder.path(), LogOptions::new(self.clock.clone())).expect("the log opens")
    }

    /// A copy of its database, which goes another way from here on.
    pub fn fork(&self) -> Self {
        let fork =
            Self { folder: TempDir::new().expect("a folder"), clock: Arc::new(ManualClock::at(self.clock.now())) };
        fs::copy(self.folder.path().join(LEDGER_FILE), fork.folder.path().join(LEDGER_FILE)).expect("a copy");
        fork.clock.advance(Duration::from_millis(1));
        fork
    }

    pub fn reader(&self) -> Box<dyn Reader> {
        open_reader(&self.folder.path().join(LEDGER_FILE)).expect("the ledger opens")
    }
}

fn denied(count: u64) -> Note {
    let denied = AccessDenied { code: ErrorCode::Unauthenticated, count };
    let stream = Stream::new(StreamKind::Access, "anonymous");
    let event = Event::Access(Access::Denied(Box::new(denied)));
    Note { stream, context: Context::of(Actor::System("gateway")), event }
}

/// An archive in a folder.
pub fn in_folder(folder: &Path) -> Archive {
    open(&ObjectStoreAddress::of_folder(folder))
}

pub fn open(address: &ObjectStoreAddress) -> Archive {
    Archive::open(address, |_| None, &tls()).expect("the archive opens")
}

pub fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = rustls::RootCertStore::empty();
    builder.expect("protocols").with_root_certificates(roots).with_no_client_auth()
}

/// An archiver that goes on where the archive ends.
pub async fn archiver(archive: &Archive, log: &dyn Reader, events_max: u64) -> Archiver {
    let head = log.head().expect("a head").position;
    let newest = archive.newest(head).await.expect("an archive");
    let begins_after = log.revaluation_begins_after().expect("a position");
    Archiver::new(archive.clone(), newest, begins_after, events_max)
}

/// Archives all events in segments of this many; returns how many segments were put.
pub async fn archive_all(archive: &Archive, log: &dyn Reader, events_max: u64) -> u64 {
    let (mut archiver, mut segments) = (archiver(archive, log, events_max).await, 0);
    loop {
        let page = log.after(archiver.position(), usize::try_from(events_max).expect("few")).expect("a page");
        if page.is_empty() {
            return segments;
        }
        archiver.add(&page).expect("they follow");
        let packed = archiver.pack().expect("a segment").expect("events");
        assert_eq!(archiver.put(&packed).await.expect("put"), Sealed::Own);
        segments += 1;
    }
}
