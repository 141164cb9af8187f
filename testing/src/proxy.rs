//! A proxy between clients and a server, which can be slow, fall silent, refuse connections, and lose an answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use memchr::memmem;

/// The treatment of bytes by a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    Open,
    /// Each piece is passed on late, in both directions.
    Slow(Duration),
    /// Nothing is passed on, and nothing is lost: it arrives when the proxy is open again, also from a client that has gone.
    Silent,
    /// All connections are closed, and new ones at once.
    Refused,
}

/// Passes bytes on between its clients and a server. Its threads end with their connections.
pub struct Proxy {
    pub port: u16,
    relay: Arc<Relay>,
}

struct Relay {
    mode: Mutex<ProxyMode>,
    mode_changed: Condvar,
    lost_answer: Mutex<Option<LostAnswer>>,
    answers_cut: AtomicU64,
    /// Those that are open, among others.
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// The answer that will be lost.
struct LostAnswer {
    /// In the next piece that has these bytes is its question.
    question: Vec<u8>,
    /// Passed on in its place, before the connection ends.
    last_words: Vec<u8>,
    /// No connection is made after it.
    is_last: bool,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// The next answer, if it is lost.
    loses_answer: Mutex<Option<LostAnswer>>,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let relay = Arc::new(Relay {
            mode: Mutex::new(ProxyMode::Open),
            mode_changed: Condvar::new(),
            lost_answer: Mutex::default(),
            answers_cut: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let of_thread = Arc::clone(&relay);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                of_thread.connect(client, server);
            }
        });
        Self { port, relay }
    }

    pub fn set(&self, mode: ProxyMode) {
        *lock(&self.relay.mode) = mode;
        self.relay.mode_changed.notify_all();
        if mode == ProxyMode::Refused {
            let mut connections = lock(&self.relay.connections);
            connections.drain(..).filter_map(|open| open.upgrade()).for_each(|open| open.close());
        }
    }

    /// Loses one answer: the server gets the next piece with these bytes, and the connection ends when its answer comes.
    pub fn cut_answer_to(&self, bytes: &[u8]) {
        self.replace_answer_to(bytes, Vec::new());
    }

    /// The same, with other bytes in the place of the answer.
    pub fn replace_answer_to(&self, bytes: &[u8], last_words: Vec<u8>) {
        *lock(&self.relay.lost_answer) = Some(LostAnswer { question: bytes.to_vec(), last_words, is_last: false });
    }

    /// Loses the answer, and is then in [`ProxyMode::Refused`], so that nobody can ask again.
    pub fn cut_off_after_answer_to(&self, bytes: &[u8]) {
        let lost = LostAnswer { question: bytes.to_vec(), last_words: Vec::new(), is_last: true };
        *lock(&self.relay.lost_answer) = Some(lost);
    }

    /// The number of answers that were lost.
    pub fn answers_cut(&self) -> u64 {
        self.relay.answers_cut.load(Ordering::SeqCst)
    }
}

impl Relay {
    fn connect(self: &Arc<Self>, client: TcpStream, server: SocketAddr) {
        // Locked until the connection is among them, so that none outlives a change to `Refused`.
        let mut connections = lock(&self.connections);
        if *lock(&self.mode) == ProxyMode::Refused {
            return;
        }
        // The server may be away.
        let Ok(server) = TcpStream::connect(server) else { return };
        for side in [&client, &server] {
            side.set_nodelay(true).expect("a socket");
        }
        let connection = Arc::new(Connection { client, server, loses_answer: Mutex::default() });
        connections.retain(|open| open.strong_count() > 0);
        connections.push(Arc::downgrade(&connection));
        let (relay, asking) = (Arc::clone(self), Arc::clone(&connection));
        thread::spawn(move || relay.pass_questions(&asking));
        let relay = Arc::clone(self);
        thread::spawn(move || relay.pass_answers(&connection));
    }

    fn pass_questions(&self, connection: &Connection) {
        self.pass(&connection.client, &connection.server, |bytes| {
            let is_asked = |lost: &mut LostAnswer| memmem::find(bytes, &lost.question).is_some();
            if let Some(lost) = lock(&self.lost_answer).take_if(is_asked) {
                *lock(&connection.loses_answer) = Some(lost);
            }
            true
        });
    }

    fn pass_answers(&self, connection: &Connection) {
        self.pass(&connection.server, &connection.client, |_| {
            let Some(LostAnswer { last_words, is_last, .. }) = lock(&connection.loses_answer).take() else {
                return true;
            };
            if is_last {
                *lock(&self.mode) = ProxyMode::Refused;
            }
            self.answers_cut.fetch_add(1, Ordering::SeqCst);
            // Whoever has asked may have gone.
            let _ = (&connection.client).write_all(&last_words);
            false
        });
    }

    /// Passes pieces on until one side closes the connection, or one of them is not to be passed on.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, is_passed: impl Fn(&[u8]) -> bool) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let piece = &bytes[..read];
            if self.wait() == ProxyMode::Refused || !is_passed(piece) || to.write_all(piece).is_err() {
                close(from);
                return close(to);
            }
        }
        // The side that closed it may have gone while the proxy was silent: the other side must not know yet.
        self.wait();
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits as long as the mode demands, which is returned.
    fn wait(&self) -> ProxyMode {
        let mode = self.mode_changed.wait_while(lock(&self.mode), |mode| *mode == ProxyMode::Silent);
        let mode = *mode.unwrap_or_else(PoisonError::into_inner);
        if let ProxyMode::Slow(delay) = mode {
            thread::sleep(delay);
        }
        mode
    }
}

impl Connection {
    fn close(&self) {
        close(&self.client);
        close(&self.server);
    }
}

fn close(stream: &TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
