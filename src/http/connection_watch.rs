//! A client's connection, watched below hyper for three things that hyper cannot do:
//!
//! - A request's head that arrives too slowly ends the connection. hyper has one timeout for an idle connection and for a
//!   head that drips in; here the head has its own, much shorter one.
//! - A client that closes its sending side (a half-close, as `nc -N` does) still gets its response. hyper takes it for one
//!   that has disconnected. Only a write shows whether it has, so an HTTP/1.1 client whose response has not begun is sent
//!   `100 Continue`, which clients skip, and which a peer that has gone answers with a reset. An endless response ends with the half-close, because
//!   nothing else would ever end it.
//! - hyper answers a head that it cannot parse with 400, 414 or 431 and an empty body; that response is replaced by one
//!   with an error in its body (`parse_errors.rs`).
//!
//! It parses no requests, so that hyper stays the only parser: bytes are counted, and the service says when a head was
//! complete and when its response has ended. HTTP/2 has its own means for all three; after its preface only the write
//! timeout applies.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::connection_requests::ConnectionRequests;
use super::parse_errors::ParseErrorResponses;
use super::write_timeout::WriteTimeout;

/// Time limit for a request's head from its first byte, and for HTTP/2's preface.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How often a peer that has closed its sending side is checked for having gone.
const PEER_CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// An interim response. HTTP/1.1 clients skip it; a peer that has gone answers it with a reset.
const INTERIM_RESPONSE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The most that one read takes.
const READ_BYTES_MAX: usize = 8 * 1024;
const HTTP2_PREFACE_START: &[u8] = b"PRI";
const HTTP2_PREFACE_BYTES: usize = 24;

/// A head that is arriving.
struct Head {
    /// Number of complete heads before it.
    after: usize,
    deadline: Pin<Box<Sleep>>,
}

/// A client's connection, as hyper reads and writes it.
pub struct WatchedConnection {
    stream: WriteTimeout<TcpStream>,
    requests: Arc<ConnectionRequests>,
    head: Option<Head>,
    /// Number of bytes read; the first ones decide which protocol it is.
    bytes_read: usize,
    is_http2: bool,
    /// Set once the peer has closed its sending side with a request in progress: the time of the next check.
    half_closed: Option<Pin<Box<Sleep>>>,
    parse_errors: ParseErrorResponses,
    /// Number of complete heads when all responses to them had last been written.
    answered: usize,
    /// The rest of a response that replaces one of hyper's own, as far as it is not written yet.
    replacement: Bytes,
}

impl WatchedConnection {
    pub fn new(stream: TcpStream, requests: Arc<ConnectionRequests>, parse_errors: ParseErrorResponses) -> Self {
        Self {
            stream: WriteTimeout::new(stream),
            requests,
            head: None,
            bytes_read: 0,
            is_http2: false,
            half_closed: None,
            parse_errors,
            answered: 0,
            replacement: Bytes::new(),
        }
    }

    /// Accounts for bytes that were read: part of a body while a request is in progress, else of a head.
    fn note_read(&mut self, bytes: &[u8]) {
        if self.bytes_read == 0 {
            self.is_http2 = bytes.starts_with(HTTP2_PREFACE_START.get(..bytes.len().min(3)).unwrap_or_default());
        } else if self.bytes_read < HTTP2_PREFACE_START.len() {
            let expected = HTTP2_PREFACE_START.get(self.bytes_read..).unwrap_or_default();
            let length = expected.len().min(bytes.len());
            self.is_http2 = self.is_http2 && bytes.get(..length) == expected.get(..length);
        }
        self.bytes_read = self.bytes_read.saturating_add(bytes.len());
        if self.is_http2 && self.bytes_read >= HTTP2_PREFACE_BYTES {
            // HTTP/2's own frames show whether the peer is there.
            self.head = None;
        } else if self.head.is_none() && !self.requests.any_in_progress() {
            self.head = Some(Head { after: self.requests.heads(), deadline: Box::pin(sleep(HEAD_MAX)) });
        }
    }

    /// Ready with an error once a head has taken too long.
    fn poll_head_timeout(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let heads = self.requests.heads();
        self.head.take_if(|head| head.after != heads);
        let Some(head) = &mut self.head else { return Poll::Pending };
        ready!(head.deadline.as_mut().poll(context));
        Poll::Ready(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the request's head did not arrive within {} s", HEAD_MAX.as_secs()),
        ))
    }

    /// Waits for a peer that has closed its sending side, and may still read while a finite response is in progress. Ready
    /// when there is none left, or with an error when the peer turns out to have gone.
    fn poll_half_closed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.half_closed.is_none() && self.requests.takes_interim() {
            // If the socket has no room for so little, the peer does not read anyway.
            let _ = Pin::new(&mut self.stream).poll_write(context, INTERIM_RESPONSE);
        }
        let next_check = self.half_closed.get_or_insert_with(|| Box::pin(sleep(PEER_CHECK_INTERVAL)));
        while self.requests.any_finite_in_progress() {
            if let Some(error) = self.stream.get_ref().take_error()? {
                return Poll::Ready(Err(error));
            }
            ready!(next_check.as_mut().poll(context));
            next_check.as_mut().reset(Instant::now() + PEER_CHECK_INTERVAL);
        }
        Poll::Ready(Ok(()))
    }

    /// True if what is written now answers no complete request, because every response has been written: then it is
    /// hyper's own response to a head that it cannot parse. One that follows a response still being written is missed.
    fn answers_no_request(&self) -> bool {
        !self.is_http2 && self.requests.heads() == self.answered && !self.requests.any_in_progress()
    }

    /// Ready once the replacement has been written.
    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.replacement))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replacement.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads at most as much as a head is likely to have. hyper gives a connection a buffer of twice what its last read
    /// returned, up to the size of the largest head, and keeps it: a fast body would cost each connection that much.
    fn poll_read_bounded(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() <= READ_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        // Not a part of the buffer: that would have to be initialised first, and would then be resident.
        let mut part = [MaybeUninit::uninit(); READ_BYTES_MAX];
        let mut part = ReadBuf::uninit(&mut part);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut part);
        buffer.put_slice(part.filled());
        polled
    }
}

impl AsyncRead for WatchedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.half_closed.is_some() {
            return self.poll_half_closed(context);
        }
        let before = buffer.filled().len();
        match self.poll_read_bounded(context, buffer) {
            Poll::Pending => self.poll_head_timeout(context).map(Err),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                if !bytes.is_empty() {
                    self.note_read(bytes);
                } else if !self.is_http2 && self.requests.any_in_progress() && buffer.remaining() > 0 {
                    return self.poll_half_closed(context);
                }
                Poll::Ready(Ok(()))
            }
            failed => failed,
        }
    }
}

impl AsyncWrite for WatchedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.requests.forbid_interim();
        ready!(self.poll_replacement(context))?;
        if self.answers_no_request()
            && let Some(response) = self.parse_errors.replacement(bytes)
        {
            self.replacement = response.into();
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.answers_no_request() || !self.replacement.is_empty() {
            // hyper's own response is a head alone, in one slice.
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        self.requests.forbid_interim();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // hyper flushes when it has nothing left to write.
        if !self.requests.any_in_progress() {
            self.answered = self.requests.heads();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
