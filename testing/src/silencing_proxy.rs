//! A proxy before a PostgreSQL that can silence some of its connections, as a network does that drops a flow and tells neither
//! end: nothing arrives any more, and nothing is closed. Other connections, and new ones, work.
//!
//! Connections are told apart by the settings that their clients ask for in their first message, such as `statement_timeout=59s`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Settings that only one kind of a node's connections asks for: the writer's and that of its turns, the listener's, those of
/// followers and tables, of look-ups for decisions, and of clients' queries.
pub const WRITER: &str = "enable_seqscan=off";
pub const LISTENER: &str = "synchronous_commit=off";
pub const FOLLOWING: &str = "statement_timeout=59s";
pub const DECIDING: &str = "statement_timeout=4s";
pub const QUERIES: &str = "statement_timeout=14s";
/// The part of a connection's beginning in which the settings are. Nothing else that a client sends then is as long.
const FIRST_BYTES_MAX: usize = 4096;

/// Its threads end with their connections.
pub struct SilencingProxy {
    pub port: u16,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    all: Mutex<Vec<Arc<Connection>>>,
    /// The setting whose connections are silenced as soon as they ask for it.
    unwanted: Mutex<Option<String>>,
}

/// Keeps both sockets open when one end has closed its own.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    first_bytes: Mutex<Vec<u8>>,
    is_silent: AtomicBool,
}

impl SilencingProxy {
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::<Connections>::default();
        let of_thread = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // The server may be away.
                if let Ok(server) = TcpStream::connect(server) {
                    of_thread.open(client, server);
                }
            }
        });
        Self { port, connections }
    }

    /// Silences the open connections that have this setting, and returns their number.
    pub fn silence(&self, setting: &str) -> usize {
        let all = lock(&self.connections.all);
        all.iter().filter(|connection| connection.asked_for(setting) && connection.silence()).count()
    }

    /// Silences the connections that have this setting, now and later.
    pub fn silence_for_good(&self, setting: &str) {
        *lock(&self.connections.unwanted) = Some(setting.to_owned());
        self.silence(setting);
    }

    /// From now on, new connections work.
    pub fn let_through(&self) {
        *lock(&self.connections.unwanted) = None;
    }
}

impl Connections {
    fn open(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        for side in [&client, &server] {
            side.set_nodelay(true).expect("a socket");
        }
        let connection =
            Connection { client, server, first_bytes: Mutex::default(), is_silent: AtomicBool::new(false) };
        let connection = Arc::new(connection);
        lock(&self.all).push(Arc::clone(&connection));
        let (connections, asking) = (Arc::clone(self), Arc::clone(&connection));
        thread::spawn(move || {
            asking.pass(&asking.client, &asking.server, |bytes| connections.read_first(&asking, bytes));
        });
        thread::spawn(move || connection.pass(&connection.server, &connection.client, |_| {}));
    }

    fn read_first(&self, connection: &Connection, bytes: &[u8]) {
        let mut first_bytes = lock(&connection.first_bytes);
        if first_bytes.len() >= FIRST_BYTES_MAX {
            return;
        }
        first_bytes.extend_from_slice(bytes);
        drop(first_bytes);
        if lock(&self.unwanted).as_ref().is_some_and(|setting| connection.asked_for(setting)) {
            connection.silence();
        }
    }
}

impl Connection {
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, mut look_at: impl FnMut(&[u8])) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            look_at(&bytes[..read]);
            if !self.is_silent() && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        if !self.is_silent() {
            // Either may be closed already.
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        }
    }

    fn asked_for(&self, setting: &str) -> bool {
        lock(&self.first_bytes).windows(setting.len()).any(|bytes| bytes == setting.as_bytes())
    }

    fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::SeqCst)
    }

    /// Returns true if it was not silent before.
    fn silence(&self) -> bool {
        !self.is_silent.swap(true, Ordering::SeqCst)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
