//! One connection to a syslog receiver.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use events::shown_text::shown_text;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::address::{SyslogAddress, Transport};

/// To resolve the name, to connect, and for TLS.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a receiver may take nothing before the connection ends. Less than after what time it counts as delivered.
pub const TAKE_NOTHING_MAX: Duration = Duration::from_secs(20);
/// While there is nothing to send, a receiver that is gone is noticed by these.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The most that the kernel keeps for a slow receiver, twice over: a receiver for which bytes wait there longer than it takes to count as
/// delivered takes less than some 4 KiB a second.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// For a last word when the stream ends.
const CLOSE_MAX: Duration = Duration::from_secs(1);
const CAUSE_CHARS_MAX: usize = 200;
/// Bytes from a receiver that are read at once, and ignored.
const IGNORED_BYTES: usize = 1_024;

#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    #[error("{0} cannot be reached: {1}")]
    Unreachable(SyslogAddress, String),
    #[error("{0} did not accept a connection within {seconds} s", seconds = CONNECT_MAX.as_secs())]
    ConnectTimeout(SyslogAddress),
    #[error("{0} took nothing for {seconds} s", seconds = TAKE_NOTHING_MAX.as_secs())]
    TakesNothing(SyslogAddress),
    #[error("{0} has closed the connection")]
    Closed(SyslogAddress),
    #[error("the connection to {0} is lost: {1}")]
    Lost(SyslogAddress, String),
}

trait Transported: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transported for T {}

/// A syslog receiver, and what the gateway trusts when it connects to it.
pub struct Receiver {
    address: SyslogAddress,
    tls: Arc<ClientConfig>,
}

impl Receiver {
    pub fn new(address: SyslogAddress, tls: ClientConfig) -> Self {
        Self { address, tls: Arc::new(tls) }
    }
}

pub struct Connection {
    address: SyslogAddress,
    reading: ReadHalf<Box<dyn Transported>>,
    writing: WriteHalf<Box<dyn Transported>>,
}

impl Connection {
    pub async fn open(receiver: &Receiver) -> Result<Self, ConnectionError> {
        let address = &receiver.address;
        let stream = match timeout(CONNECT_MAX, connect(receiver)).await {
            Ok(connected) => connected
                .map_err(|error| ConnectionError::Unreachable(address.clone(), shown_text(error, CAUSE_CHARS_MAX)))?,
            Err(_) => return Err(ConnectionError::ConnectTimeout(address.clone())),
        };
        let (reading, writing) = split(stream);
        Ok(Self { address: address.clone(), reading, writing })
    }

    /// Hands bytes to the connection. That does not mean that the receiver has them.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ConnectionError> {
        let written = async {
            self.writing.write_all(bytes).await?;
            self.writing.flush().await
        };
        match timeout(TAKE_NOTHING_MAX, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error)),
            Err(_) => Err(ConnectionError::TakesNothing(self.address.clone())),
        }
    }

    /// Waits until the connection ends, and says why. Cancel-safe.
    pub async fn ended(&mut self) -> ConnectionError {
        let mut ignored = [0; IGNORED_BYTES];
        loop {
            match self.reading.read(&mut ignored).await {
                Ok(0) => return ConnectionError::Closed(self.address.clone()),
                Ok(_) => {}
                Err(error) => return self.lost(&error),
            }
        }
    }

    /// Tells the receiver that nothing follows.
    pub async fn close(mut self) {
        let _ = timeout(CLOSE_MAX, self.writing.shutdown()).await;
    }

    fn lost(&self, error: &io::Error) -> ConnectionError {
        ConnectionError::Lost(self.address.clone(), shown_text(error, CAUSE_CHARS_MAX))
    }
}

async fn connect(Receiver { address, tls }: &Receiver) -> io::Result<Box<dyn Transported>> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TAKE_NOTHING_MAX))?;
    match address.transport {
        Transport::Tcp => Ok(Box::new(stream)),
        Transport::Tls => {
            let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
            Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio_rustls::rustls::RootCertStore;
    use tokio_rustls::rustls::crypto::ring::default_provider;

    use super::*;

    async fn connected(listener: &TcpListener) -> (Connection, TcpStream) {
        let address = format!("tcp://{}", listener.local_addr().expect("an address")).parse().expect("an address");
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let tls = tls.with_safe_default_protocol_versions().expect("versions of TLS");
        let tls = tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let receiver = Receiver::new(address, tls);
        let (connection, accepted) = tokio::join!(Connection::open(&receiver), listener.accept());
        (connection.expect("a connection"), accepted.expect("a connection").0)
    }

    #[tokio::test]
    async fn a_receiver_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (mut connection, _unread) = connected(&listener).await;
        tokio::time::pause();
        let written = connection.write(&vec![b'x'; 64 << 20]).await;
        assert!(matches!(written, Err(ConnectionError::TakesNothing(_))), "{written:?}");
    }

    #[tokio::test]
    async fn a_connection_that_the_receiver_closes_has_ended_whatever_it_said_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (mut connection, mut accepted) = connected(&listener).await;
        accepted.write_all(b"hello").await.expect("it is sent");
        drop(accepted);
        let ended = connection.ended().await;
        assert!(matches!(ended, ConnectionError::Closed(_)), "{ended}");
    }
}
