//! A log, a NATS server, and relays between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context as JetStream};
use events::event::access::{Access, AccessDenied};
use events::event::admin::Partner;
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::refusal::ErrorCode;
use events::time::SystemClock;
use events_log::role::{Role, RoleReport, RoleState, RoleStatus};
use events_log::{Log, LogOptions, Note};
use nats_relay::{NatsAddress, NatsRelay, STREAM, StreamLimits};
use outlets::AnyOutlet;
use tempfile::TempDir;
use testing::nats::NatsServer;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stored;

/// Longer than anything takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);
/// The pauses between the first attempts are shorter together.
const SOME_ATTEMPTS: Duration = Duration::from_secs(2);
pub const NO_LIMIT: StreamLimits = StreamLimits { replicas: 1, bytes_max: None };

pub struct World {
    pub log: Log,
    pub nats: NatsServer,
    _folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        Self::with_settings(&[])
    }

    /// With settings of the NATS server.
    pub fn with_settings(settings: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).expect("a log");
        Self { log, nats: NatsServer::start_with(settings), _folder: folder }
    }

    /// Records events in one batch.
    pub async fn record(&self, events: u64) {
        record(&self.log, events).await;
    }

    /// Records an event of about this many bytes.
    pub async fn record_long(&self, bytes: usize) {
        let partner = "par_0193d6a0000070008000000000000001".parse().expect("an id");
        let event = Event::from(Change::created(Partner::new(partner, "x".repeat(bytes))));
        let note = Note { stream: Stream::new(StreamKind::Partner, partner), context: context(1), event };
        self.log.note(vec![note]).await.expect("recorded");
    }

    pub fn relay(&self) -> Relaying {
        Relaying::start(&self.log, &self.nats.url(), NO_LIMIT)
    }

    pub fn relay_with(&self, limits: StreamLimits) -> Relaying {
        Relaying::start(&self.log, &self.nats.url(), limits)
    }

    pub async fn jetstream(&self) -> JetStream {
        jetstream(&self.nats.url()).await
    }

    /// Waits until the stream has the whole log, and compares them.
    #[track_caller]
    pub fn must_become_a_copy(&self) -> impl Future<Output = ()> {
        let (log, url) = (self.log.clone(), self.nats.url());
        async move {
            let jetstream = jetstream(&url).await;
            stored::must_reach(&log, &jetstream).await;
            stored::must_be_copy(&log, &jetstream, 1).await;
        }
    }
}

/// A relay that runs until it is dropped.
pub struct Relaying {
    pub status: RoleStatus,
    running: JoinSet<()>,
}

impl Relaying {
    pub fn start(log: &Log, address: &str, limits: StreamLimits) -> Self {
        let status = RoleStatus::new(Role::Relay);
        let address: NatsAddress = address.parse().expect("an address");
        let clock = Arc::new(SystemClock::new());
        let mut running = JoinSet::new();
        running.spawn(AnyOutlet::from(NatsRelay::new(address, limits)).run(log.clone(), status.clone(), clock));
        Self { status, running }
    }

    /// Waits until it says that it fails, with these words among others.
    pub async fn must_fail_with(&mut self, words: &[&str]) -> String {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < SOON {
            last = why_failing(&self.status);
            if let Some(why) = &last
                && words.iter().all(|word| why.contains(word))
            {
                return why.clone();
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it should fail with {words:?}: {last:?}");
    }

    /// Waits until it works and has relayed a position.
    pub async fn must_reach(&self, position: u64) {
        let began = Instant::now();
        while self.status.read() != (RoleReport { role: Role::Relay, state: RoleState::Working, position }) {
            assert!(began.elapsed() < SOON, "{:?}", self.status.read());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The relay fails, and goes on failing since then without a break, although it tries again.
    pub async fn must_keep_failing(&self) {
        let failing = self.status.read().state;
        assert!(matches!(failing, RoleState::Failing { .. }), "{failing:?}");
        let began = Instant::now();
        while began.elapsed() < SOME_ATTEMPTS {
            assert_eq!(self.status.read().state, failing);
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drops it wherever it is.
    pub async fn kill(mut self) {
        self.running.shutdown().await;
    }

    /// Waits for its end, which only that of the log brings about.
    pub async fn ended(mut self) {
        let ended = tokio::time::timeout(SOON, self.running.join_next()).await;
        ended.expect("it ends with the log").expect("a relay").expect("no panic");
    }
}

/// Lets the time pass until an idle relay inspects the stream again, on a runtime with one thread.
pub async fn next_inspection() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
}

pub fn why_failing(status: &RoleStatus) -> Option<String> {
    match status.read().state {
        RoleState::Failing { why, .. } => Some(why),
        RoleState::Waiting | RoleState::Working => None,
    }
}

pub fn context(tenant: u64) -> Context {
    let mut context = Context::of(Actor::System("gateway"));
    context.tenant_id = (tenant > 0).then(|| format!("ten_{tenant:032x}").parse().expect("an id"));
    context
}

/// Records events in one batch, of three tenants and of none.
pub async fn record(log: &Log, events: u64) {
    let note = |number: u64| Note {
        stream: Stream::new(StreamKind::Access, "anonymous"),
        context: context(number % 4),
        event: Access::Denied(Box::new(AccessDenied { code: ErrorCode::Unauthenticated, count: number + 1 })).into(),
    };
    log.note((0..events).map(note).collect()).await.expect("recorded");
}

pub async fn jetstream(url: &str) -> JetStream {
    let client = async_nats::connect(url).await.expect("a connection");
    jetstream::new(client)
}

/// The last sequence of the stream; `None` if there is no stream.
pub async fn end(jetstream: &JetStream) -> Option<u64> {
    Some(jetstream.get_stream(STREAM).await.ok()?.cached_info().state.last_sequence)
}
