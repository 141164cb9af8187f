//! A TCP proxy between a node and its database, which can stop, end, and lose replies.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What an append of an admission has, and nothing else that a node sends.
const IN_AN_APPEND: &[u8] = b"budget.reserved";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    Open,
    /// Nothing passes, and connections stay as they are.
    Stalled,
    /// Connections are ended.
    Closed,
}

pub struct Proxy {
    port: u16,
    way: watch::Sender<ProxyMode>,
    replies: Arc<Replies>,
    _server: JoinSet<()>,
}

/// Which replies to appends are lost.
#[derive(Default)]
struct Replies {
    next_is_cut: AtomicBool,
    cut: AtomicU64,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (way, replies) = (watch::Sender::new(ProxyMode::Open), Arc::<Replies>::default());
        let mut server = JoinSet::new();
        server.spawn(serve(listener, to, way.subscribe(), Arc::clone(&replies)));
        Self { port, way, replies, _server: server }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, way: ProxyMode) {
        self.way.send_replace(way);
    }

    /// The database gets the next append, and its reply is lost with the connection.
    pub fn reply_cutter(&self) -> impl Fn() + Send + use<> {
        let replies = Arc::clone(&self.replies);
        move || replies.next_is_cut.store(true, Ordering::SeqCst)
    }

    /// How many replies were lost.
    pub fn replies_cut(&self) -> u64 {
        self.replies.cut.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, to: u16, way: watch::Receiver<ProxyMode>, replies: Arc<Replies>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (way, replies) = (way.clone(), Arc::clone(&replies));
        // Its end is that of the connection, whatever it was.
        connections.spawn(async move { relay(client, to, way, &replies).await.unwrap_or_default() });
        while connections.try_join_next().is_some() {}
    }
}

async fn relay(
    mut client: TcpStream,
    to: u16,
    mut way: watch::Receiver<ProxyMode>,
    replies: &Replies,
) -> io::Result<()> {
    if *way.borrow() == ProxyMode::Closed {
        return Ok(());
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut of_client, mut of_server) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut is_cut = false;
    loop {
        let (bytes, to_server) = tokio::select! {
            read = client.read(&mut of_client) => (&of_client[..read?], true),
            read = server.read(&mut of_server) => (&of_server[..read?], false),
            _ = way.wait_for(|way| *way == ProxyMode::Closed) => return Ok(()),
        };
        if bytes.is_empty()
            || way.wait_for(|way| *way != ProxyMode::Stalled).await.is_ok_and(|way| *way == ProxyMode::Closed)
        {
            return Ok(());
        }
        if to_server {
            is_cut |= memchr::memmem::find(bytes, IN_AN_APPEND).is_some()
                && replies.next_is_cut.swap(false, Ordering::SeqCst);
            server.write_all(bytes).await?;
        } else if is_cut {
            replies.cut.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        } else {
            client.write_all(bytes).await?;
        }
    }
}
