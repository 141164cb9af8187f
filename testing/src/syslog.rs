//! A syslog receiver: takes messages by TCP or TLS, each with the count of its bytes before it, and keeps them by connection.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::task::JoinSet;

use crate::upstream::stream_acceptor;

/// The received messages, by connection.
#[derive(Clone, Default)]
pub struct SyslogReceiver {
    connections: Arc<Mutex<Vec<Vec<String>>>>,
    /// A longer message ends its connection.
    message_bytes_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogTransport {
    Tcp,
    Tls,
}

impl SyslogReceiver {
    /// One that takes no longer messages.
    pub fn taking_at_most(message_bytes: usize) -> Self {
        Self { message_bytes_max: Some(message_bytes), ..Self::default() }
    }

    /// Serves until it is dropped, which also ends its connections. Others can connect to the port all the time.
    pub fn serve(&self, listener: &TcpListener, transport: SyslogTransport) -> JoinSet<()> {
        let listener = listener.try_clone().expect("a listener");
        listener.set_nonblocking(true).expect("a listener");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let receiver = self.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let receiver = receiver.clone();
                connections.spawn(async move {
                    match transport {
                        SyslogTransport::Tcp => receiver.read(stream).await,
                        SyslogTransport::Tls => match stream_acceptor().accept(stream).await {
                            Ok(stream) => receiver.read(stream).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        serving
    }

    /// The messages of each connection, in the order of their arrival.
    pub fn connections(&self) -> Vec<Vec<String>> {
        self.connections.lock().expect("no panic").clone()
    }

    async fn read(&self, stream: impl AsyncRead + Unpin) -> Option<()> {
        let index = {
            let mut connections = self.connections.lock().expect("no panic");
            connections.push(Vec::new());
            connections.len() - 1
        };
        let mut stream = BufReader::new(stream);
        loop {
            let mut count = Vec::new();
            stream.read_until(b' ', &mut count).await.ok().filter(|read| *read > 0)?;
            // A connection can end anywhere.
            let count = String::from_utf8(count).ok()?.strip_suffix(' ')?.to_owned();
            assert!(count.starts_with(|first| ('1'..='9').contains(&first)), "a count of bytes: {count:?}");
            let count: usize = count.parse().expect("a count of bytes");
            if self.message_bytes_max.is_some_and(|max| count > max) {
                return None;
            }
            let mut message = vec![0; count];
            stream.read_exact(&mut message).await.ok()?;
            let message = String::from_utf8(message).expect("UTF-8");
            self.connections.lock().expect("no panic")[index].push(message);
        }
    }
}
