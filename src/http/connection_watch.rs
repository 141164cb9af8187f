//! What a connection shows besides requests: how long a head has been coming, whether its peer, having said all, is still
//! there to be answered, and when what is written answers no request. hyper knows neither of the first two: it has one
//! patience for a connection that rests and for a head that drips, and takes a peer that stops sending for one that has
//! gone. The third it does itself, with an empty body: a head that it cannot read it answers with 400, 414 or 431.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::unread::UnreadRequests;
use super::write_timeout::WriteTimeout;

/// How long a head may take from its first byte on, and HTTP/2's opening words.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether a peer that said all has gone.
const LOOKS_EVERY: Duration = Duration::from_millis(200);
/// Any client of HTTP/1.1 passes over it; a peer that has gone answers it with a reset.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What is read at once.
const READ_BYTES_MAX: usize = 8 * 1024;
const HTTP2_BEGINS: &[u8] = b"PRI";
const HTTP2_PREFACE_BYTES: usize = 24;

/// What the requests of a connection tell about themselves. Cheap to clone.
#[derive(Clone, Default)]
pub struct Requests {
    shared: Arc<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    /// Heads that were whole.
    heads: AtomicUsize,
    in_progress: AtomicUsize,
    /// Nothing of an answer has been written, and the client would understand an interim one.
    may_take_interim: AtomicBool,
    /// What is being answered goes on for as long as somebody listens.
    is_endless: AtomicBool,
}

impl Requests {
    /// A head was whole.
    pub fn begin(&self, version: http::Version) -> InProgress {
        self.shared.heads.fetch_add(1, Ordering::Relaxed);
        self.shared.in_progress.fetch_add(1, Ordering::Relaxed);
        self.shared.may_take_interim.store(version == http::Version::HTTP_11, Ordering::Relaxed);
        InProgress(self.clone())
    }

    /// Whether a request was ever whole.
    pub fn were_any(&self) -> bool {
        self.shared.heads.load(Ordering::Relaxed) > 0
    }

    fn are_in_progress(&self) -> bool {
        self.shared.in_progress.load(Ordering::Relaxed) > 0
    }

    /// Whether a peer that said all may be waiting for the end of an answer.
    fn have_an_end(&self) -> bool {
        self.are_in_progress() && !self.shared.is_endless.load(Ordering::Relaxed)
    }
}

/// One request, until all of its answer was handed over.
pub struct InProgress(Requests);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.shared.is_endless.store(false, Ordering::Relaxed);
        self.0.shared.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InProgress {
    /// Its answer has no end: a peer that stops sending has gone, since nothing else would ever tell.
    pub fn is_endless(&self) {
        self.0.shared.is_endless.store(true, Ordering::Relaxed);
    }

    /// Lasts as long as the body.
    pub fn until_the_end_of<B>(self, body: B) -> Answering<B> {
        Answering { body, _request: self }
    }
}

/// The body of an answer.
pub struct Answering<B> {
    body: B,
    _request: InProgress,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A head that is coming.
struct Head {
    /// How many were whole before it.
    after: usize,
    until: Pin<Box<Sleep>>,
}

/// A connection that is watched.
pub struct WatchedConnection {
    stream: WriteTimeout<TcpStream>,
    requests: Requests,
    head: Option<Head>,
    /// The first bytes, until it is clear which protocol they are of.
    read: usize,
    is_http2: bool,
    /// Since the peer said all while a request was in progress: when to look at it next.
    said_all: Option<Pin<Box<Sleep>>>,
    unread: UnreadRequests,
    /// How many heads had been whole when all that answers them was last written.
    answered: usize,
    /// What is written in place of an answer to no request, as far as it is not written yet.
    reworded: Bytes,
}

impl WatchedConnection {
    pub fn new(stream: TcpStream, requests: Requests, unread: UnreadRequests) -> Self {
        let stream = WriteTimeout::new(stream);
        Self {
            stream,
            requests,
            head: None,
            read: 0,
            is_http2: false,
            said_all: None,
            unread,
            answered: 0,
            reworded: Bytes::new(),
        }
    }

    /// Bytes have come: of a head, unless a request is in progress, whose body they are.
    fn take(&mut self, bytes: &[u8]) {
        if self.read == 0 {
            self.is_http2 = bytes.starts_with(HTTP2_BEGINS.get(..bytes.len().min(3)).unwrap_or_default());
        } else if self.read < HTTP2_BEGINS.len() {
            let expected = HTTP2_BEGINS.get(self.read..).unwrap_or_default();
            let length = expected.len().min(bytes.len());
            self.is_http2 = self.is_http2 && bytes.get(..length) == expected.get(..length);
        }
        self.read = self.read.saturating_add(bytes.len());
        if self.is_http2 && self.read >= HTTP2_PREFACE_BYTES {
            // From here on it has its own ways to tell whether a peer is there.
            self.head = None;
        } else if self.head.is_none() && !self.requests.are_in_progress() {
            let after = self.requests.shared.heads.load(Ordering::Relaxed);
            self.head = Some(Head { after, until: Box::pin(sleep(HEAD_MAX)) });
        }
    }

    /// Ready with an error once a head has been coming for too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let heads = self.requests.shared.heads.load(Ordering::Relaxed);
        self.head.take_if(|head| head.after != heads);
        let Some(head) = &mut self.head else { return Poll::Pending };
        ready!(head.until.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the head did not come in time"))
    }

    /// The peer has said all. As long as something is being answered that has an end it may still listen: ready when nothing
    /// is, or when it turns out to have gone.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.said_all.is_none() {
            self.offer_interim(context);
        }
        let look = self.said_all.get_or_insert_with(|| Box::pin(sleep(LOOKS_EVERY)));
        while self.requests.have_an_end() {
            if let Some(error) = self.stream.get_ref().take_error()? {
                return Poll::Ready(Err(error));
            }
            ready!(look.as_mut().poll(context));
            look.as_mut().reset(Instant::now() + LOOKS_EVERY);
        }
        Poll::Ready(Ok(()))
    }

    /// Whether whatever is written now answers no request: there is none whose answer is not written, and HTTP/1 says
    /// nothing unasked. An answer that hyper writes behind another one that is still on its way is not known by this.
    fn answers_no_request(&self) -> bool {
        let heads = self.requests.shared.heads.load(Ordering::Relaxed);
        !self.is_http2 && heads == self.answered && !self.requests.are_in_progress()
    }

    /// Ready once nothing is left of it.
    fn poll_reworded(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.reworded.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.reworded))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.reworded.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads no more at once than a head is likely to have. hyper gives a connection a buffer of twice what it could read
    /// last, up to that of the largest head, and keeps it: a body that comes fast would cost each connection that much.
    fn poll_read_some(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() <= READ_BYTES_MAX {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        // Not a part of the buffer, which would have to be written before it is read into: it would then be resident.
        let mut part = [0; READ_BYTES_MAX];
        let mut part = ReadBuf::new(&mut part);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut part);
        buffer.put_slice(part.filled());
        polled
    }

    fn offer_interim(&mut self, context: &mut Context<'_>) {
        if self.requests.shared.may_take_interim.swap(false, Ordering::Relaxed) {
            // A buffer without room for so little is one that nobody empties.
            let _ = Pin::new(&mut self.stream).poll_write(context, INTERIM);
        }
    }
}

impl AsyncRead for WatchedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said_all.is_some() {
            return self.poll_gone(context);
        }
        let before = buffer.filled().len();
        match self.poll_read_some(context, buffer) {
            Poll::Pending => self.poll_late(context).map(Err),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled().get(before..).unwrap_or_default();
                if !bytes.is_empty() {
                    self.take(bytes);
                } else if !self.is_http2 && self.requests.are_in_progress() && buffer.remaining() > 0 {
                    return self.poll_gone(context);
                }
                Poll::Ready(Ok(()))
            }
            failed => failed,
        }
    }
}

impl AsyncWrite for WatchedConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.requests.shared.may_take_interim.store(false, Ordering::Relaxed);
        ready!(self.poll_reworded(context))?;
        if self.answers_no_request()
            && let Some(answer) = self.unread.reworded(bytes)
        {
            self.reworded = answer.into();
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.answers_no_request() || !self.reworded.is_empty() {
            // A head alone, which is one slice.
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        self.requests.shared.may_take_interim.store(false, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_reworded(context))?;
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        // hyper flushes when it has nothing left to write.
        if !self.requests.are_in_progress() {
            self.answered = self.requests.shared.heads.load(Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_reworded(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
