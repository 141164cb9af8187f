//! Assembly of a log: the opened database, the writer with its queue, and the readers.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};

use events::ids::{IdMaker, SystemRandom};

use super::engine::postgres::{self, Announcements, DatabaseAddress, Listener, OwnNode};
use super::engine::{Engine, Opened, sqlite};
use super::jobs::{Ender, Message, Unattended};
use super::lock::FolderLock;
use super::readers::Readers;
use super::writer::{LogWriter, WriterFigures, channels};
use super::{LocalNode, Log, LogInner, LogOptions, Migrated, OpenError, QUEUE_LEN_MAX, Queue};

impl Log {
    /// Opens or creates the log in a folder and starts its writer. Blocking.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, OpenError> {
        Self::start(sqlite::open(dir, options.clock.now())?, options, |_| Ok(None))
    }

    /// Migrates a folder's ledger to this version without serving it. Blocking.
    pub fn migrate(dir: &Path) -> Result<Migrated, OpenError> {
        sqlite::bring_up_to_date(dir)
    }

    /// Opens the ledger that several nodes share, and starts this node's writer. `node` names this process among them: another
    /// one at each start. Blocking.
    ///
    /// Errors: among others, the ledger has another schema: it is migrated with [`Log::migrate_shared`] alone, because other
    /// nodes may be using it.
    pub fn open_shared(database: &DatabaseAddress, node: &str, options: LogOptions) -> Result<Self, OpenError> {
        let ids = IdMaker::new(Arc::clone(&options.clock), Arc::new(SystemRandom));
        let announcements = Announcements::default();
        let own = OwnNode {
            id: node.to_owned(),
            serves_requests: options.serves_requests,
            limit_sharing: options.limit_sharing.clone(),
        };
        let opened = postgres::open(database, &own, ids, announcements.clone(), &options)?;
        Self::start(opened, options, |queue| {
            let figures = Arc::clone(&queue.figures);
            let can_append = move || !figures.is_failing();
            Listener::start(database, own, announcements, can_append, move || queue.wake()).map(Some)
        })
    }

    /// Creates a shared ledger, or migrates it to this version. Blocking.
    pub fn migrate_shared(database: &DatabaseAddress) -> Result<Migrated, OpenError> {
        postgres::migrate(database)
    }

    /// `listen` starts what wakes the writer when other processes have appended.
    fn start<E: Engine + Send + 'static>(
        opened: Opened<E>,
        options: LogOptions,
        listen: impl FnOnce(Queue) -> std::io::Result<Option<Listener>>,
    ) -> Result<Self, OpenError> {
        let Parts { mut inner, writer, queue, lock } = assemble(opened, options);
        let listener = listen(inner.jobs.clone()).map_err(OpenError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || {
                writer.run(&queue);
                drop(listener);
                drop(lock);
            })
            .map_err(OpenError::Thread)?;
        inner.writer = Mutex::new(Some(thread));
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// The parts of a log whose writer is not running.
pub(super) struct Parts<E> {
    pub(super) inner: LogInner,
    pub(super) writer: LogWriter<E>,
    pub(super) queue: mpsc::Receiver<Message>,
    pub(super) lock: Option<FolderLock>,
}

pub(super) fn assemble<E: Engine>(opened: Opened<E>, options: LogOptions) -> Parts<E> {
    let Opened { engine, state, open_reader, lock, roles } = opened;
    let (jobs, queue) = mpsc::sync_channel(QUEUE_LEN_MAX);
    let figures = Arc::new(WriterFigures::default());
    let (publisher, published) = channels(Arc::clone(&figures));
    let jobs = Queue { jobs, figures: Arc::clone(&figures), has_wake: Arc::default() };
    let (hold_ttl, unknown_usage) = (options.hold_ttl, options.unknown_usage);
    let local_node = engine.node().map(|id| LocalNode { clock: Arc::clone(&options.clock), node_id: id.into() });
    let ender = Ender { jobs: jobs.clone(), unattended: Unattended::default() };
    let writer = LogWriter::new(engine, state, options, ender, publisher, Arc::clone(&figures));
    let inner = LogInner {
        jobs,
        hold_ttl,
        unknown_usage,
        published,
        readers: Arc::new(Readers::new(open_reader)),
        figures,
        local_node,
        roles: Arc::new(roles),
        stopped: AtomicBool::new(false),
        writer: Mutex::new(None),
    };
    Parts { inner, writer, queue, lock }
}
