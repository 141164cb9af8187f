//! A ledger, and what is published of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use events::event::access::AccessDenied;
use events::event::log_key::LogKeyCreated;
use events::event::{Access, Actor, Context, Event, Resource, Stream, StreamKind};
use events::refusal::ErrorCode;
use events::time::{Clock, ManualClock};
use events_log::role::{Role, RoleState, RoleStatus};
use events_log::{Append, Basis, LEDGER_FILE, Log, LogOptions, Note, Reader, open_reader};
use object_storage::{ObjectStoreAddress, Objects};
use outlets::AnyOutlet;
use tempfile::TempDir;
use tlog::Signer;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use transparency::role::{Publisher, PublisherParts};
use transparency::{FOLDER, Files, LogKeys, OpenSigner, PublishedLog};

pub const ORIGIN: &str = "gateway.example/ledger";
/// How long anything may take.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The number of the key that signs checkpoints until another one is recorded.
pub const FIRST_KEY: u8 = 7;

/// A ledger in a folder, with this many events, of which the first names the first key of the log.
pub struct Ledger {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
}

impl Ledger {
    pub fn without_key() -> Self {
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        Self { folder: TempDir::new().expect("a folder"), clock }
    }

    pub async fn with_events(events: u64) -> Self {
        let ledger = Self::without_key();
        let log = ledger.open();
        record_key(&log, FIRST_KEY, 1).await;
        log.note((2..=events).map(denied).collect()).await.expect("noted");
        log.close();
        ledger
    }

    pub async fn record_in(&self, log: &Log, events: u64) {
        self.clock.advance(Duration::from_secs(1));
        log.note((1..=events).map(denied).collect()).await.expect("noted");
    }

    pub fn open(&self) -> Log {
        Log::open(self.folder.path(), LogOptions::new(self.clock.clone())).expect("the log opens")
    }

    /// A copy of its database, which goes another way from here on.
    pub fn fork(&self) -> Self {
        let (folder, clock) = (TempDir::new().expect("a folder"), Arc::new(ManualClock::at(self.clock.now())));
        std::fs::copy(self.file(), folder.path().join(LEDGER_FILE)).expect("a copy");
        clock.advance(Duration::from_millis(1));
        Self { folder, clock }
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join(LEDGER_FILE)
    }

    pub fn reader(&self) -> Box<dyn Reader> {
        open_reader(&self.file()).expect("the ledger opens")
    }
}

/// Records a key of the log, and returns its position.
pub async fn record_key(log: &Log, seed: u8, generation: u32) -> u64 {
    let verifier_key = signer(seed).verifier_key().to_string();
    let created = LogKeyCreated { origin: ORIGIN.to_owned(), generation, verifier_key };
    let append = Append {
        stream: Stream::new(StreamKind::LogKey, ORIGIN),
        expected_sequence: u64::from(generation) - 1,
        events: vec![Event::Resource(Resource::LogKeyCreated(Box::new(created)))],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("recorded").last
}

fn denied(count: u64) -> Note {
    let denied = AccessDenied { code: ErrorCode::Unauthenticated, count };
    let stream = Stream::new(StreamKind::Access, "anonymous");
    let event = Event::Access(Access::Denied(Box::new(denied)));
    Note { stream, context: Context::of(Actor::System("gateway")), event }
}

pub fn signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN.parse().expect("a name"), &[seed; 32]).expect("a key")
}

pub fn keys(seed: u8) -> LogKeys {
    LogKeys::of_verifiers(vec![signer(seed).verifier_key().clone()]).expect("keys")
}

/// Opens the keys of these numbers, and no others.
pub fn opens(seeds: &'static [u8]) -> OpenSigner {
    Arc::new(move |created| {
        let mut signers = seeds.iter().map(|seed| signer(*seed));
        let found = signers.find(|signer| signer.verifier_key().to_string() == created.verifier_key);
        Box::pin(std::future::ready(Ok(found)))
    })
}

pub fn tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("protocols").with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(tls()).no_proxy().build().expect("a client")
}

pub fn objects(folder: &Path) -> Objects {
    Objects::open(&ObjectStoreAddress::of_folder(folder), &[FOLDER], |_| None, &tls()).expect("a store")
}

pub fn published(folder: &Path) -> PublishedLog {
    PublishedLog::new(Files::new(objects(folder)))
}

/// A publisher at work on a ledger.
pub struct Publishing {
    pub log: Log,
    pub status: RoleStatus,
    _task: JoinSet<()>,
}

impl Publishing {
    pub fn start(ledger: &Ledger, into: &Path) -> Self {
        Self::with(ledger, into, |_| ())
    }

    pub fn with(ledger: &Ledger, into: &Path, change: impl FnOnce(&mut PublisherParts)) -> Self {
        let (log, status) = (ledger.open(), RoleStatus::new(Role::Transparency));
        let objects = objects(into);
        let mut parts = PublisherParts {
            open: Arc::new(move || Ok(objects.clone())),
            origin: ORIGIN.to_owned(),
            open_signer: opens(&[FIRST_KEY]),
            witnesses: Vec::new(),
            client: client(),
            may_begin: true,
            witness_retry_after: Duration::from_millis(200),
            partial_kept: Duration::ZERO,
            files_bytes_max: 1,
        };
        change(&mut parts);
        let mut task = JoinSet::new();
        task.spawn(AnyOutlet::from(Publisher::new(parts)).run(log.clone(), status.clone(), ledger.clock.clone()));
        Self { log, status, _task: task }
    }

    pub async fn reaches(&self, position: u64) {
        self.until(|| self.status.read().position >= position).await;
    }

    /// Waits for a failure, and returns why.
    pub async fn fails(&self) -> String {
        self.until(|| matches!(self.status.read().state, RoleState::Failing { .. })).await;
        match self.status.read().state {
            RoleState::Failing { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a failure that has one of these words.
    pub async fn fails_with(&self, words: &[&str]) {
        let has = |why: &str| words.iter().any(|word| why.contains(word));
        self.until(|| matches!(self.status.read().state, RoleState::Failing { why, .. } if has(&why))).await;
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(WAIT_MAX, wait).await.is_ok(), "{:?}", self.status.read());
    }

    /// Stops the publisher where it is, and closes the log.
    pub fn stop(self) {
        let Self { log, _task, .. } = self;
        drop(_task);
        log.close();
    }
}
