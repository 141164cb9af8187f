//! Opening a connection of HTTP/2, and learning how many streams its peer takes. hyper tells that of a connection alone,
//! which a task of its own has to poll; and what the peer says arrives in another task, which hyper has executed for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper::rt;
use hyper_util::rt::TokioTimer;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::WeakPool;
use super::state::STREAMS_UNSETTLED;
use crate::connect::Stream;
use crate::{
    CONNECTION_WINDOW, HEADER_LIST_MAX, HTTP2_PING_EVERY, HTTP2_PING_WAIT, RequestBody, STREAM_WINDOW, SendError,
};

/// Our opening words must be taken by then.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

type Connection = http2::Connection<Stream, RequestBody, Executor>;

pub struct Opened {
    pub sender: http2::SendRequest<RequestBody>,
    pub watch: Arc<Watch>,
}

pub async fn open(stream: Stream, pool: WeakPool, tasks: &TaskTracker) -> Result<Opened, SendError> {
    let watch = Arc::new(Watch {
        pool: pool.clone(),
        id: OnceLock::new(),
        connection: OnceLock::new(),
        streams_max: Mutex::new(STREAMS_UNSETTLED),
    });
    let executor = Executor { tasks: tasks.clone(), watch: Arc::clone(&watch), is_first: Arc::new(true.into()) };
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .initial_max_send_streams(STREAMS_UNSETTLED)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST_MAX)
        // What still comes for streams that were cancelled is answered with resets, which h2 counts for as long as the
        // connection lasts. With a maximum, whoever cancels often would end the streams of all others.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_WAIT);
    let handshake = timeout(HANDSHAKE_MAX, builder.handshake(stream)).await;
    let (sender, connection) = handshake.map_err(|_| SendError::ConnectTimeout)?.map_err(|_| SendError::Connect)?;
    let connection = Arc::new(Mutex::new(connection));
    let _ = watch.connection.set(Arc::downgrade(&connection));
    let ends = Arc::clone(&watch);
    tasks.spawn(async move {
        if let Err(error) = Driven(connection).await {
            tracing::debug!(%error, "converse with an upstream");
        }
        if let (Some(pool), Some(id)) = (ends.pool.upgrade(), ends.id.get()) {
            pool.forget(*id);
        }
    });
    Ok(Opened { sender, watch })
}

/// Tells the pool how many streams a connection takes.
pub struct Watch {
    pool: WeakPool,
    /// Once it is in the pool.
    id: OnceLock<u64>,
    connection: OnceLock<Weak<Mutex<Connection>>>,
    /// As the pool was told last.
    streams_max: Mutex<usize>,
}

impl Watch {
    /// The connection is in the pool now, by this id. Its peer may have said something before.
    pub fn begin(&self, id: u64) {
        let _ = self.id.set(id);
        self.look();
    }

    fn look(&self) {
        let (Some(id), Some(connection)) = (self.id.get(), self.connection.get().and_then(Weak::upgrade)) else {
            return;
        };
        // Held until the pool knows, so that what is told last is what was said last.
        let mut told = self.streams_max.lock().unwrap_or_else(PoisonError::into_inner);
        let streams_max = connection.lock().unwrap_or_else(PoisonError::into_inner).current_max_send_streams();
        if std::mem::replace(&mut *told, streams_max) != streams_max
            && let Some(pool) = self.pool.upgrade()
        {
            pool.takes(*id, streams_max);
        }
    }
}

/// A connection that is polled where others may ask it something in between.
struct Driven(Arc<Mutex<Connection>>);

impl Future for Driven {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).poll(context)
    }
}

/// Executes what hyper needs for one connection: first what reads from it and writes to it, then what its requests need.
#[derive(Clone)]
struct Executor {
    tasks: TaskTracker,
    watch: Arc<Watch>,
    is_first: Arc<AtomicBool>,
}

impl<F: Future<Output = ()> + Send + 'static> rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        if self.is_first.swap(false, Ordering::AcqRel) {
            self.tasks.spawn(Watched { future: Box::pin(future), watch: Arc::clone(&self.watch) });
        } else {
            self.tasks.spawn(future);
        }
    }
}

/// Looks what the peer says whenever something of it may have arrived.
struct Watched<F> {
    future: Pin<Box<F>>,
    watch: Arc<Watch>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let polled = self.future.as_mut().poll(context);
        self.watch.look();
        ready!(polled);
        Poll::Ready(())
    }
}
