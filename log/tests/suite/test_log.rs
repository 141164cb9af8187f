//! The log of a test, in a folder or in a database that nodes share. A test of what every engine guarantees has one body, which
//! is given its log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use events::ledger::{Balances, Ending};
use events::time::ManualClock;
use events_log::{
    DatabaseAddress, LEDGER_FILE, Log, LogOptions, Reader, Stepped, SteppedNode, open_reader, open_shared_reader,
};
use rusqlite::Connection;
use tempfile::TempDir;
use testing::postgres::TestDatabase;

pub enum TestLog {
    Folder(TempDir),
    Database(Box<TestDatabase>),
}

/// Makes one test per engine of each body: `async fn(TestLog)` in the module that lists it.
macro_rules! on_both_engines {
    ($($(#[$about:meta])* $body:ident,)+) => {$(
        $(#[$about])*
        mod $body {
            #[tokio::test]
            async fn sqlite() {
                super::$body($crate::test_log::TestLog::in_folder()).await;
            }

            #[tokio::test]
            async fn postgres() {
                super::$body($crate::test_log::TestLog::in_database()).await;
            }
        }
    )+};
}

pub(crate) use on_both_engines;

impl TestLog {
    pub fn in_folder() -> Self {
        Self::Folder(TempDir::new().expect("a folder"))
    }

    pub fn in_database() -> Self {
        let database = TestDatabase::create();
        let owner = database.url().parse().expect("an address");
        blocking(|| Log::migrate_shared(&owner).expect("an empty database"));
        Self::Database(Box::new(database))
    }

    /// Opens the log. In a database, this is another node each time.
    pub fn open(&self, clock: &Arc<ManualClock>) -> Log {
        let options = LogOptions::new(clock.clone()).with_any_clock();
        blocking(|| match self {
            Self::Folder(folder) => Log::open(folder.path(), options).expect("the log opens"),
            Self::Database(database) => {
                Log::open_shared(&address(database), &next_node(), options).expect("the log opens")
            }
        })
    }

    /// Opens the log with a writer that the test moves.
    pub fn stepped(&self, options: LogOptions) -> (Log, TestWriter) {
        let options = options.with_any_clock();
        blocking(|| match self {
            Self::Folder(folder) => {
                let (log, writer) = Stepped::open(folder.path(), options).expect("the log opens");
                (log, TestWriter::Folder(Box::new(writer)))
            }
            Self::Database(database) => {
                let opened = SteppedNode::open_shared(&address(database), &next_node(), options);
                let (log, writer) = opened.expect("the log opens");
                (log, TestWriter::Database(Some(Box::new(writer))))
            }
        })
    }

    /// Where the next process finds what the log's process has left if it was killed: without what it does when it is
    /// closed. The old process ends.
    pub fn after_crash(self, log: Log) -> Self {
        let next = match self {
            Self::Folder(left) => {
                let next = TempDir::new().expect("another folder");
                copy_files(left.path(), next.path());
                Self::Folder(next)
            }
            // A node writes nothing there when it is closed.
            database @ Self::Database(_) => database,
        };
        log.close();
        next
    }

    /// Opens the log for reading alone.
    pub fn reader(&self) -> Box<dyn Reader> {
        let reader = match self {
            Self::Folder(folder) => open_reader(&folder.path().join(LEDGER_FILE)),
            Self::Database(database) => open_shared_reader(&address(database)),
        };
        reader.expect("a reader")
    }

    /// Lets the log's database refuse all events of this name, as it refuses what can never be recorded.
    pub fn refuse_events_named(&self, name: &str) {
        match self {
            Self::Folder(folder) => {
                let ledger = Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger");
                let refuse = format!(
                    "CREATE TRIGGER refused BEFORE INSERT ON events WHEN NEW.event_type = '{name}'
                     BEGIN SELECT raise(ABORT, 'refused'); END"
                );
                ledger.execute_batch(&refuse).expect("a trigger");
            }
            Self::Database(database) => {
                database.execute(&format!("ALTER TABLE ledger.events ADD CHECK (event_type <> '{name}')"));
            }
        }
    }

    /// The number that a query finds in the log's own tables.
    pub fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Folder(folder) => {
                let ledger = Connection::open(folder.path().join(LEDGER_FILE)).expect("the ledger");
                ledger.query_row(sql, [], |row| row.get(0)).expect("a number")
            }
            Self::Database(database) => database.number(sql),
        }
    }
}

/// The writer of a log that the test moves.
pub enum TestWriter {
    Folder(Box<Stepped>),
    /// Present until it is dropped.
    Database(Option<Box<SteppedNode>>),
}

impl TestWriter {
    /// See [`Stepped::step`].
    pub fn step(&mut self, jobs_max: usize) {
        blocking(|| match self {
            Self::Folder(writer) => writer.step(jobs_max),
            Self::Database(writer) => writer.as_mut().expect("a writer").step(jobs_max),
        });
    }

    /// See [`Stepped::repeat`].
    pub fn repeat(&self, ending: Ending) {
        match self {
            Self::Folder(writer) => writer.repeat(ending),
            Self::Database(writer) => writer.as_ref().expect("a writer").repeat(ending),
        }
    }

    pub fn balances(&self) -> &Balances {
        match self {
            Self::Folder(writer) => writer.balances(),
            Self::Database(writer) => writer.as_ref().expect("a writer").balances(),
        }
    }
}

impl Drop for TestWriter {
    fn drop(&mut self) {
        if let Self::Database(writer) = self {
            blocking(|| drop(writer.take()));
        }
    }
}

/// Runs what blocks on a thread of its own: a test is in a runtime, where the writer of a database cannot wait for it.
pub fn blocking<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    match thread::scope(|scope| scope.spawn(work).join()) {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Nodes have the rights of gateways alone.
fn address(database: &TestDatabase) -> DatabaseAddress {
    database.gateway_url().parse().expect("an address")
}

fn next_node() -> String {
    static NODES: AtomicU64 = AtomicU64::new(1);
    format!("node-{}", NODES.fetch_add(1, Ordering::Relaxed))
}

fn copy_files(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).expect("the folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
}
