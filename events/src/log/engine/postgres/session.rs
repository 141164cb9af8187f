//! A connection to the database, driven by the thread that uses it: the writer and each reader have one. A shared pool would
//! cost two changes of threads per statement.

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};

use super::database::Database;
use super::error::is_about_connection;
use crate::log::{EngineError, EngineErrorKind, LogError};

/// How long a connection may take to be opened.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// How long one piece of work may take: longer than the database's own limit on a statement, so that this one is reached only
/// if the database or the network does not answer at all; shorter than a batch is looked for whose answer was lost, so that it
/// is looked for on another connection.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// After this long without use, a connection is opened anew: the database ends an idle session of a writer after two seconds.
const UNUSED_MAX: Duration = Duration::from_secs(1);
/// How long the work of a start or a migration may take, which has many statements.
pub(super) const LONG_MAX: Duration = Duration::from_secs(600);

pub(super) struct Session {
    // Declared before the runtime, so that it is dropped first.
    connection: Option<Opened>,
    runtime: Runtime,
    database: Database,
}

struct Opened {
    connection: PgConnection,
    used_at: Instant,
}

impl Session {
    /// A session whose connection is opened when it is first used.
    pub(super) fn new(database: Database) -> Result<Self, LogError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime =
            runtime.map_err(|error| LogError::from(unavailable(format!("cannot start a runtime: {error}"))))?;
        Ok(Self { connection: None, runtime, database })
    }

    /// Runs statements on the connection. It is opened if there is none, and dropped if it may be in any state afterwards.
    /// Blocking.
    pub(super) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut used = self.open()?;
        let done = self.runtime.block_on(within(ANSWER_MAX, work(&mut used)));
        match &done {
            Err(error) if is_about_connection(error) => {}
            _ => self.keep(used),
        }
        done
    }

    /// Runs statements that may take this long. The connection is not kept if one of them fails. Blocking.
    pub(super) fn run_for<T, E: From<sqlx::Error> + From<LogError>>(
        &mut self,
        max: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut used = self.open()?;
        let done = self.runtime.block_on(async { tokio::time::timeout(max, work(&mut used)).await });
        let done = done.map_err(|_| unanswered(max))??;
        self.keep(used);
        Ok(done)
    }

    /// Takes the connection, or opens one.
    fn open(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.connection.take() {
            Some(Opened { connection, used_at }) if used_at.elapsed() < UNUSED_MAX => Ok(connection),
            _ => {
                let Self { runtime, database, .. } = self;
                runtime.block_on(within(CONNECT_MAX, database.options().connect()))
            }
        }
    }

    fn keep(&mut self, connection: PgConnection) {
        self.connection = Some(Opened { connection, used_at: Instant::now() });
    }

    /// Closes the connection, if it is open.
    pub(super) fn close(self) {
        let Self { connection, runtime, .. } = self;
        if let Some(Opened { connection, .. }) = connection {
            let _ = runtime.block_on(within(CONNECT_MAX, connection.close()));
        }
    }
}

/// Waits for a limited time.
async fn within<T>(max: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(max, work).await {
        Ok(done) => done,
        Err(_) => Err(unanswered(max)),
    }
}

fn unanswered(max: Duration) -> sqlx::Error {
    let text = format!("the database did not answer within {} s", max.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

fn unavailable(message: String) -> EngineError {
    EngineError { kind: EngineErrorKind::Unavailable, message }
}
