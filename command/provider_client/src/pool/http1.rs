//! An HTTP/1.1 connection, which carries one request at a time. In hyper it is a future beside its requests and responses.
//! Polled by a task of its own, it hands every head and every chunk over to another task, and that wakes a sleeping core. So
//! whoever has the connection polls it: a request while it waits for a head or a chunk, and the pool now and then while it is
//! idle.
//!
//! Guarantees: a connection has one owner at a time, so nothing about it is locked. Not guaranteed: that the connection goes
//! on while its request waits for something else, such as a client that does not read. The rest of an upload then waits as
//! well, until the request goes on or its deadline drops the connection. A peer that closes an idle connection is noticed
//! late: by the next request that takes it, or by the pool's next look.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1};
use tokio::runtime::{self, Handle};
use tokio::task::coop::has_budget_remaining;
use tokio::task::yield_now;

use crate::connect::TransportStream;
use crate::{READ_BUFFER_MAX, RequestBody, SendError};

/// Turns of its task that a check may take. A peer that fills each with records of TLS, unasked, would never let it end.
const CHECK_TURNS_MAX: usize = 8;

/// An HTTP/1.1 connection. Dropping it closes it at once, even in the middle of a request: a peer that does not read could
/// otherwise keep it open for as long as it likes.
pub struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    /// The runtime that watches its socket: that of its last request.
    runtime: runtime::Id,
}

impl Http1Connection {
    pub async fn open(stream: TransportStream) -> Result<Self, SendError> {
        let handshake = http1::Builder::new().max_buf_size(READ_BUFFER_MAX).handshake(stream).await;
        let (sender, connection) = handshake.map_err(|_| SendError::Connect)?;
        Ok(Self { sender, driver: Driver(Some(Box::pin(connection))), runtime: Handle::current().id() })
    }

    pub const fn runtime(&self) -> runtime::Id {
        self.runtime
    }

    /// Checks whether an idle connection can take a request. It cannot if its peer has closed it, or sent something unasked.
    pub async fn check_open(&mut self) -> bool {
        for _ in 0..CHECK_TURNS_MAX {
            self.driver.poll(&mut Context::from_waker(Waker::noop()));
            if !self.sender.is_ready() {
                return false;
            }
            // A task that has used up its budget reads nothing, and so a closed connection looks open.
            if has_budget_remaining() {
                return true;
            }
            yield_now().await;
        }
        false
    }

    /// Sends a request, and waits for the head of its response.
    pub async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        self.runtime = Handle::current().id();
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|context| self.driver.poll_with(context, |context| response.as_mut().poll(context))).await
    }

    /// Polls the body of its response.
    pub fn poll_frame(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.driver.poll_with(context, |context| Pin::new(&mut *body).poll_frame(context))
    }

    /// Polls until it is ready for another request. Errors: it is closed.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.driver.poll_with(context, |context| self.sender.poll_ready(context))
    }
}

/// hyper's side of the connection; `None` once it has ended.
struct Driver(Option<Pin<Box<http1::Connection<TransportStream, RequestBody>>>>);

impl Driver {
    /// Polls what the connection brings, and the connection if that is missing.
    fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut what: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let before = what(context);
        if before.is_ready() {
            return before;
        }
        self.poll(context);
        what(context)
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        let Some(connection) = &mut self.0 else { return };
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            self.0 = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "an upstream's HTTP/1.1 connection failed");
            }
        }
    }
}
