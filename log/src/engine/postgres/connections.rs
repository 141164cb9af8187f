//! The connections of a node's readers: four in all, shared by however many readers there are. A reader has one only during a
//! call, so that a follower or a view that keeps its reader for good keeps no connection, and nobody who waits for one has
//! another: there can be no deadlock. Each purpose has its own pool, so that clients' queries never delay decisions.
//!
//! A reader can be called and dropped on any thread, also on one that runs async tasks: the connections are driven by a thread
//! of their own. The two changes of threads that a statement then costs are paid by readers, not by the writer, which has a
//! [`Session`](super::session::Session).
//!
//! Rejected: `sqlx::PgPool`. It asks a connection whether it still works before each call, or else hands out one that was lost.
//! It also keeps the connection of an interrupted call, and waits until its statement has ended; here, such a connection is
//! closed, and the database ends the statement.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_executor::block_on;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::database::DatabaseAddress;
use super::error::unavailable;
use super::session::{CONNECT_MAX, within};
use crate::LogError;
use crate::interrupt::Interrupt;
use crate::readers::Purpose;

/// How long a read waits for others of its purpose.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take to show that it still works.
const PING_MAX: Duration = Duration::from_millis(500);
/// How long a connection may have been idle to be used again without a sign that it still works: a network can drop an idle one
/// and tell neither end.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Time between two looks at an interrupt.
const INTERRUPT_CHECK: Duration = Duration::from_millis(10);
/// How long the database may go on with the statement of a client that is gone, an interrupted one among them.
const CLIENT_CHECK: &str = "100ms";

/// The connections to a database, by purpose.
pub(super) struct Connections {
    database: DatabaseAddress,
    deciding: PurposePool,
    following: PurposePool,
    tenant_queries: PurposePool,
    platform_queries: PurposePool,
    // Declared after the connections, so that it is dropped last.
    runtime: ReaderRuntime,
}

/// The connections for one purpose.
struct PurposePool {
    permits: Semaphore,
    /// Each with the time of its last use.
    idle: Mutex<Vec<(PgConnection, Instant)>>,
    /// How long one call may take.
    call_max: Duration,
    /// How long a call may take on a connection that was kept, before it is tried on a new one.
    kept_call_max: Duration,
}

impl PurposePool {
    fn new(connections_max: usize, call_max: Duration) -> Self {
        Self { permits: Semaphore::new(connections_max), idle: Mutex::default(), call_max, kept_call_max: call_max }
    }

    /// For short calls, which take this long only if their connection was dropped.
    fn with_kept_call_max(self, kept_call_max: Duration) -> Self {
        Self { kept_call_max, ..self }
    }

    /// A connection that was kept and still works, as far as anybody knows.
    async fn take_idle(&self) -> Option<PgConnection> {
        loop {
            let (mut kept, used_at) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if used_at.elapsed() < TRUSTED_FOR || is_alive(&mut kept).await {
                return Some(kept);
            }
        }
    }

    fn keep(&self, connection: PgConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, Instant::now()));
    }
}

impl Connections {
    /// The four connections of a node's readers. Each is opened when it is first needed.
    pub(super) fn of_node(database: DatabaseAddress) -> Result<Self, LogError> {
        Ok(Self {
            database,
            deciding: PurposePool::new(1, Duration::from_secs(5)).with_kept_call_max(Duration::from_secs(1)),
            // The tables of administration read all of it at the start, over a new connection.
            following: PurposePool::new(1, Duration::from_secs(60)).with_kept_call_max(Duration::from_secs(2)),
            // A query is interrupted at its deadline, which is earlier. The platform's never wait for those of tenants.
            tenant_queries: PurposePool::new(1, Duration::from_secs(15)),
            platform_queries: PurposePool::new(1, Duration::from_secs(15)),
            runtime: ReaderRuntime::start()?,
        })
    }

    /// A connection for a command that reads the whole ledger.
    pub(super) fn of_command(database: DatabaseAddress) -> Result<Self, LogError> {
        let one = || PurposePool::new(1, Duration::from_secs(900));
        let (deciding, following, tenant_queries, platform_queries) = (one(), one(), one(), one());
        Ok(Self { database, deciding, following, tenant_queries, platform_queries, runtime: ReaderRuntime::start()? })
    }

    /// Runs `work` on a connection, and again on a new one if the kept one was lost or does not answer. Fails as interrupted
    /// once `interrupt` is due; the database then stops working on the statement. Blocking.
    pub(super) fn run<T>(
        &self,
        purpose: Purpose,
        interrupt: Option<&Interrupt>,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let pool = match purpose {
            Purpose::Deciding => &self.deciding,
            Purpose::Following => &self.following,
            Purpose::TenantQueries => &self.tenant_queries,
            Purpose::PlatformQueries => &self.platform_queries,
        };
        self.runtime.wait_for(async {
            tokio::select! {
                biased;
                () = due(interrupt) => Err(unavailable("interrupted").into()),
                done = self.run_in(pool, purpose, work) => done,
            }
        })
    }

    async fn run_in<T>(
        &self,
        pool: &PurposePool,
        purpose: Purpose,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let permit = tokio::time::timeout(WAIT_MAX, pool.permits.acquire()).await;
        let _permit = permit.map_err(|_| waited_in_vain(purpose))?.map_err(|_| LogError::Closed)?;
        if let Some(mut kept) = pool.take_idle().await {
            let done = within(Instant::now() + pool.kept_call_max, work(&mut kept)).await;
            // The database may have been restarted since the last call, or the network may have dropped the connection. Reading
            // again is harmless.
            if let Ok(done) = done
                && (done.is_ok() || is_alive(&mut kept).await)
            {
                pool.keep(kept);
                return done;
            }
        }
        let mut opened = within(Instant::now() + CONNECT_MAX, self.options(pool).connect()).await??;
        let done = within(Instant::now() + pool.call_max, work(&mut opened)).await?;
        if done.is_ok() || is_alive(&mut opened).await {
            pool.keep(opened);
        }
        done
    }

    fn options(&self, pool: &PurposePool) -> PgConnectOptions {
        // Before a call is given up, which loses its connection.
        let statement_max = format!("{}s", pool.call_max.as_secs() - 1);
        self.database.options().clone().options([
            ("default_transaction_read_only", "on"),
            ("client_connection_check_interval", CLIENT_CHECK),
            ("statement_timeout", &statement_max),
        ])
    }
}

/// Queries wait for those of others; whatever else waits does so for a database that hangs.
fn waited_in_vain(purpose: Purpose) -> LogError {
    match purpose {
        Purpose::TenantQueries | Purpose::PlatformQueries => LogError::QueryTookTooLong(WAIT_MAX),
        Purpose::Deciding | Purpose::Following => LogError::TimedOut(WAIT_MAX),
    }
}

/// True if the connection answers, so that its error concerned the statement alone.
async fn is_alive(connection: &mut PgConnection) -> bool {
    matches!(within(Instant::now() + PING_MAX, connection.ping()).await, Ok(Ok(())))
}

/// Waits until a read must stop.
async fn due(interrupt: Option<&Interrupt>) {
    let Some(interrupt) = interrupt else { return std::future::pending().await };
    while !interrupt.is_due() {
        tokio::time::sleep(INTERRUPT_CHECK).await;
    }
}

/// A thread that waits for the network, for callers on any thread. `Runtime::block_on` would panic on a thread of async tasks,
/// and so would dropping a runtime there.
struct ReaderRuntime {
    /// Present until it is dropped.
    runtime: Option<Runtime>,
}

impl ReaderRuntime {
    fn start() -> Result<Self, LogError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ledger-readers")
            .enable_io()
            .enable_time()
            .build();
        let runtime = runtime.map_err(|error| unavailable(format!("cannot start the readers' thread: {error}")))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Polls the work on the caller's thread.
    fn wait_for<T>(&self, work: impl Future<Output = T>) -> T {
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        // On a thread of async tasks, the budget of the task would otherwise end, and with it all progress.
        block_on(tokio::task::unconstrained(work))
    }
}

impl Drop for ReaderRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests;
