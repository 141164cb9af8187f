//! The writer's connection, driven by the writer's own thread: a shared pool would cost two changes of threads per statement.
//! Readers share [`Connections`](super::connections::Connections).

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::database::DatabaseAddress;
use super::error::{is_about_connection, unavailable};
use crate::LogError;

/// How long a connection may take to be opened.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(3);
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
    connection: Option<OpenedSession>,
    runtime: Runtime,
    database: DatabaseAddress,
}

struct OpenedSession {
    connection: PgConnection,
    used_at: Instant,
}

impl OpenedSession {
    fn was_used_lately(&self) -> bool {
        self.used_at.elapsed() < UNUSED_MAX
    }
}

impl Session {
    /// A session whose connection is opened when it is first used.
    pub(super) fn new(database: DatabaseAddress) -> Result<Self, LogError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| unavailable(format!("cannot start a runtime: {error}")))?;
        Ok(Self { connection: None, runtime, database })
    }

    /// Runs statements on the connection. It is opened if there is none, and dropped if it may be in any state afterwards.
    /// Blocking.
    pub(super) fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut used = self.open()?;
        let done =
            self.runtime.block_on(async { within(Instant::now() + ANSWER_MAX, work(&mut used)).await.flatten() });
        match &done {
            Err(error) if is_about_connection(error) => {}
            _ => self.keep(used),
        }
        done
    }

    /// The same, without opening a connection: `None` if there is none that was used lately. Blocking.
    pub(super) fn run_if_open<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Option<Result<T, sqlx::Error>> {
        self.connection.take_if(|opened| !opened.was_used_lately());
        self.connection.is_some().then(|| self.run(work))
    }

    /// Runs statements that may take this long. The connection is not kept if one of them fails. Blocking.
    pub(super) fn run_for<T, E: From<sqlx::Error> + From<LogError>>(
        &mut self,
        max: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut used = self.open()?;
        let done = self.runtime.block_on(async { within(Instant::now() + max, work(&mut used)).await })??;
        self.keep(used);
        Ok(done)
    }

    /// Takes the connection, or opens one.
    fn open(&mut self) -> Result<PgConnection, sqlx::Error> {
        match self.connection.take() {
            Some(opened) if opened.was_used_lately() => Ok(opened.connection),
            _ => {
                let Self { runtime, database, .. } = self;
                let open = async { within(Instant::now() + CONNECT_MAX, database.options().connect()).await.flatten() };
                runtime.block_on(open)
            }
        }
    }

    fn keep(&mut self, connection: PgConnection) {
        self.connection = Some(OpenedSession { connection, used_at: Instant::now() });
    }

    /// Closes the connection, if it is open.
    pub(super) fn close(self) {
        let Self { connection, runtime, .. } = self;
        if let Some(OpenedSession { connection, .. }) = connection {
            let _ = runtime.block_on(async { within(Instant::now() + CONNECT_MAX, connection.close()).await });
        }
    }
}

/// Waits until the deadline. What is late may have left a connection in any state.
pub(super) async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, sqlx::Error> {
    let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time");
    tokio::time::timeout_at(deadline, work).await.map_err(|error| sqlx::Error::Io(late(error)))
}
