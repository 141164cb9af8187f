//! A socket that moves to the runtime of whoever writes to it. An HTTP/1.1 connection is polled by the request that has it, and
//! each connection thread of the server has a runtime of its own: what arrived for a request would first wake the thread
//! that opened the connection, and that one would wake the request's.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};

use super::sockets::SocketPermit;

pub struct MovingSocket {
    /// `None` if a move has failed half-way.
    stream: Option<TcpStream>,
    /// The runtime that watches it.
    runtime: runtime::Id,
    _permit: SocketPermit,
}

impl MovingSocket {
    /// A socket that was opened by a task of the current runtime.
    pub fn new(stream: TcpStream, permit: SocketPermit) -> Self {
        Self { stream: Some(stream), runtime: Handle::current().id(), _permit: permit }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
    }

    /// The stream, watched by the current runtime.
    fn stream_here(&mut self, context: &Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        let here = Handle::current().id();
        if self.runtime != here
            && let Some(stream) = self.stream.take()
        {
            self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
            self.runtime = here;
            // A read that waits does so on the other runtime, which no longer watches: the task must read once more.
            context.waker().wake_by_ref();
        }
        self.stream()
    }
}

impl AsyncRead for MovingSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for MovingSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream_here(context)?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream_here(context)?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

impl Connection for MovingSocket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::sockets::Sockets;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_read_that_waits_on_the_runtime_of_before_is_polled_again() {
        let [here, there] =
            [(); 2].map(|()| runtime::Builder::new_current_thread().enable_io().build().expect("a runtime"));
        let (mut socket, mut peer) = there.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let socket = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
            let permit = Sockets::new(1).try_take(None).expect("a socket");
            (MovingSocket::new(socket, permit), listener.accept().await.expect("the same connection").0)
        });
        let woken = Arc::<Woken>::default();
        let waker = Arc::clone(&woken).into();
        let context = &mut Context::from_waker(&waker);
        let mut bytes = [0; 4];
        there.block_on(async {
            assert!(Pin::new(&mut socket).poll_read(context, &mut ReadBuf::new(&mut bytes)).is_pending());
        });
        here.block_on(async {
            let _ = Pin::new(&mut socket).poll_write(context, b"");
            assert!(woken.0.load(Ordering::SeqCst));
            socket.write_all(b"ping").await.expect("a reader");
        });
        there.block_on(peer.read_exact(&mut bytes)).expect("what was written");
        assert_eq!(&bytes, b"ping");
    }
}
