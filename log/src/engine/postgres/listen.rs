//! Wakes the nodes of a shared log when one of them has appended. The database's notifications travel outside of the appends:
//! a transaction that notifies takes a lock that all others wait for when they commit. Many appends are announced at once, and
//! a notification that is lost costs only the time until the next poll. On the same connection, the node shows each second that
//! it is still there.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Acquire, ConnectOptions, Connection};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::database::DatabaseAddress;
use super::running_nodes::OwnNode;
use super::{lease_rows, running_nodes};

const CHANNEL: &str = "ledgerway";
const ANNOUNCE: &str = "SELECT pg_notify($1, $2)";
/// The shortest time between two announcements of one node.
const BETWEEN_ANNOUNCEMENTS: Duration = Duration::from_millis(5);
/// The time between two signs that this node is there. It counts as gone after ten seconds without one.
const BETWEEN_SIGNS: Duration = Duration::from_secs(1);
/// An announcement is a transaction of its own, and nobody misses it after a crash: it must not wait for the disk.
const NOT_DURABLE: [(&str, &str); 1] = [("synchronous_commit", "off")];
/// How long a connection may take to be opened, and an announcement to be sent.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The time between two attempts to connect.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// Notified when this node has appended.
pub(crate) type Announcements = Arc<Notify>;

/// The thread that listens and announces. Dropping it stops the thread.
pub(crate) struct Listener {
    stops: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// `can_append` tells whether this node can. `wake` is called when another node has appended, and after every time in which
    /// that could have been missed.
    pub(crate) fn start(
        database: &DatabaseAddress,
        own: OwnNode,
        announcements: Announcements,
        can_append: impl Fn() -> bool + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> std::io::Result<Self> {
        let stops = Arc::<Notify>::default();
        let (stopped, database) = (Arc::clone(&stops), database.clone());
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = std::thread::Builder::new().name("ledger-listener".to_owned()).spawn(move || {
            runtime.block_on(async {
                let listening = async {
                    loop {
                        if let Err(error) = listen(&database, &own, &announcements, &can_append, &wake).await {
                            tracing::debug!(%error, "no notifications of other nodes: polling");
                        }
                        sleep(BETWEEN_ATTEMPTS).await;
                    }
                };
                tokio::select! {
                    () = stopped.notified() => {}
                    _ = listening => {}
                }
                if !matches!(timeout(ANSWER_MAX, leave(&database, &own.id)).await, Ok(Ok(()))) {
                    tracing::debug!("the database did not hear that this node ends: others notice in ten seconds");
                }
            });
        })?;
        Ok(Self { stops, thread: Some(thread) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Kept for the thread, if it does not wait for it yet.
        self.stops.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Listens and announces until the connection fails.
async fn listen(
    database: &DatabaseAddress,
    own: &OwnNode,
    announcements: &Notify,
    can_append: &impl Fn() -> bool,
    wake: &impl Fn(),
) -> Result<(), Box<dyn std::error::Error>> {
    let one = PgPoolOptions::new().max_connections(1).acquire_timeout(ANSWER_MAX);
    let pool = one.connect_lazy_with(database.options().clone().options(NOT_DURABLE));
    let mut listener = timeout(ANSWER_MAX, PgListener::connect_with(&pool)).await??;
    // A lost connection is opened again here, after a pause.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // Whatever was announced before.
    wake();
    let mut signs = interval(BETWEEN_SIGNS);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            received = listener.try_recv() => match received? {
                Some(notification) if notification.payload() == own.id => {}
                Some(_) => wake(),
                None => return Err("the connection is lost".into()),
            },
            _ = signs.tick() => {
                timeout(ANSWER_MAX, running_nodes::show(listener.acquire().await?, own, can_append())).await??;
            }
            () = announcements.notified() => {
                let announced = Instant::now();
                let send = sqlx::query(ANNOUNCE).bind(CHANNEL).bind(&own.id).execute(&mut listener);
                timeout(ANSWER_MAX, send).await??;
                tokio::time::sleep_until(announced + BETWEEN_ANNOUNCEMENTS).await;
            }
        }
    }
}

/// Over a connection of its own: the other may be in any state.
async fn leave(database: &DatabaseAddress, node: &str) -> Result<(), sqlx::Error> {
    let mut connection = database.options().connect().await?;
    running_nodes::leave(&mut connection, node).await?;
    lease_rows::release_all(&mut connection, node).await?;
    connection.close().await
}
