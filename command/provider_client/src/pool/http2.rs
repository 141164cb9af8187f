//! Opens HTTP/2 connections, and learns how many streams their peers allow. Only hyper's connection future knows that limit,
//! and a task polls this future; but the peer's settings arrive in another task, which hyper spawns through the executor.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt;
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::WeakPool;
use super::state::STREAMS_UNANNOUNCED;
use crate::connect::TransportStream;
use crate::{
    CONNECTION_WINDOW, HEADER_LIST_MAX, HTTP2_PING_EVERY, HTTP2_PING_WAIT, RequestBody, STREAM_WINDOW, SendError,
};

/// The longest that the peer may take to accept the connection preface.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

type Connection = http2::Connection<TransportStream, RequestBody, Executor>;

/// A new HTTP/2 connection.
pub struct Http2Connection {
    pub sender: http2::SendRequest<RequestBody>,
    pub streams_watch: Arc<StreamsWatch>,
}

pub async fn open(stream: TransportStream, pool: WeakPool, tasks: &TaskTracker) -> Result<Http2Connection, SendError> {
    let streams_watch = Arc::new(StreamsWatch {
        pool: pool.clone(),
        id: OnceLock::new(),
        connection: OnceLock::new(),
        reported: Mutex::new(STREAMS_UNANNOUNCED),
    });
    let executor =
        Executor { tasks: tasks.clone(), streams_watch: Arc::clone(&streams_watch), is_first: Arc::new(true.into()) };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(STREAMS_UNANNOUNCED)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_MAX)
        // Frames that still arrive for cancelled streams are answered with resets, which h2 counts over the connection's
        // life. With a maximum, a tenant that cancels often would end the streams of all others.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_WAIT);
    let handshake = timeout(HANDSHAKE_MAX, builder.handshake(stream)).await;
    let (sender, connection) = handshake.map_err(|_| SendError::ConnectTimeout)?.map_err(|_| SendError::Connect)?;
    let connection = Arc::new(Mutex::new(connection));
    let _ = streams_watch.connection.set(Arc::downgrade(&connection));
    let watch = Arc::clone(&streams_watch);
    tasks.spawn(async move {
        // Locked for each poll alone, so that others may query the connection between polls.
        let polled =
            poll_fn(|context| Pin::new(&mut *connection.lock().unwrap_or_else(PoisonError::into_inner)).poll(context));
        if let Err(error) = polled.await {
            tracing::debug!(%error, "an upstream's HTTP/2 connection failed");
        }
        if let (Some(pool), Some(id)) = (watch.pool.upgrade(), watch.id.get()) {
            pool.retire(*id);
        }
    });
    Ok(Http2Connection { sender, streams_watch })
}

/// Reports to the pool how many streams the peer of a connection allows.
pub struct StreamsWatch {
    pool: WeakPool,
    /// Set once the connection is in the pool.
    id: OnceLock<u64>,
    connection: OnceLock<Weak<Mutex<Connection>>>,
    /// The last limit that was reported.
    reported: Mutex<usize>,
}

impl StreamsWatch {
    /// Starts to report, now that the connection is in the pool. Its peer may have announced a limit before.
    pub fn start(&self, id: u64) {
        let _ = self.id.set(id);
        self.report_change();
    }

    fn report_change(&self) {
        let (Some(id), Some(connection)) = (self.id.get(), self.connection.get().and_then(Weak::upgrade)) else {
            return;
        };
        // Locked until the pool knows, so that limits are reported in order.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let streams_max = connection.lock().unwrap_or_else(PoisonError::into_inner).current_max_send_streams();
        if std::mem::replace(&mut *reported, streams_max) != streams_max
            && let Some(pool) = self.pool.upgrade()
        {
            pool.set_streams_max(*id, streams_max);
        }
    }
}

/// Spawns hyper's tasks for one connection: first the one that reads and writes, then those of its requests.
#[derive(Clone)]
struct Executor {
    tasks: TaskTracker,
    streams_watch: Arc<StreamsWatch>,
    is_first: Arc<AtomicBool>,
}

impl<F: Future<Output = ()> + Send + 'static> rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        if self.is_first.swap(false, Ordering::AcqRel) {
            let (mut future, streams_watch) = (Box::pin(future), Arc::clone(&self.streams_watch));
            self.tasks.spawn(poll_fn(move |context| {
                let polled = future.as_mut().poll(context);
                // In each poll, settings may have arrived.
                streams_watch.report_change();
                polled
            }));
        } else {
            self.tasks.spawn(future);
        }
    }
}
