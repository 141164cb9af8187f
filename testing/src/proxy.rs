//! A connection to a server that can be disturbed: slow, silent, refused, or cut when an answer comes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What a proxy does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    Open,
    /// Each piece is passed on late, in both directions.
    Slow(Duration),
    /// Nothing is passed on, and nothing is lost: it arrives when the way is open again, also from a client that has gone.
    Silent,
    /// All connections are closed, and new ones at once.
    Refused,
}

/// Passes bytes on between its clients and a server. Its threads end with their connections.
pub struct Proxy {
    pub port: u16,
    ways: Arc<Ways>,
}

struct Ways {
    way: Mutex<ProxyMode>,
    changed: Condvar,
    cuts_next_answer: AtomicBool,
    /// Sent instead of an answer that is cut.
    last_words: Mutex<Vec<u8>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let ways = Arc::new(Ways {
            way: Mutex::new(ProxyMode::Open),
            changed: Condvar::new(),
            cuts_next_answer: AtomicBool::new(false),
            last_words: Mutex::default(),
            open: Mutex::default(),
        });
        let of_thread = Arc::clone(&ways);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connect(&of_thread, server, client);
            }
        });
        Self { port, ways }
    }

    pub fn set(&self, way: ProxyMode) {
        *lock(&self.ways.way) = way;
        self.ways.changed.notify_all();
        if way == ProxyMode::Refused {
            lock(&self.ways.open).drain(..).for_each(close);
        }
    }

    /// Ends the connection of the next answer instead of passing it on.
    pub fn cut_next_answer(&self) {
        self.ways.cuts_next_answer.store(true, Ordering::SeqCst);
    }

    /// Passes these bytes on instead of the next answer, and ends its connection.
    pub fn replace_next_answer(&self, last_words: Vec<u8>) {
        *lock(&self.ways.last_words) = last_words;
        self.cut_next_answer();
    }

    /// False once an answer was cut.
    pub fn cuts_next_answer(&self) -> bool {
        self.ways.cuts_next_answer.load(Ordering::SeqCst)
    }
}

fn connect(ways: &Arc<Ways>, server: SocketAddr, client: TcpStream) {
    if *lock(&ways.way) == ProxyMode::Refused {
        return close(client);
    }
    // The server may be away.
    let Ok(server) = TcpStream::connect(server) else { return close(client) };
    for side in [&client, &server] {
        side.set_nodelay(true).expect("a socket");
        lock(&ways.open).push(copy_of(side));
    }
    let (asking, asked, of_thread) = (copy_of(&client), copy_of(&server), Arc::clone(ways));
    thread::spawn(move || of_thread.pass(asking, asked, false));
    let ways = Arc::clone(ways);
    thread::spawn(move || ways.pass(server, client, true));
}

impl Ways {
    fn pass(&self, mut from: TcpStream, mut to: TcpStream, is_answer: bool) {
        let mut bytes = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            self.wait();
            if is_answer && self.cuts_next_answer.swap(false, Ordering::SeqCst) {
                let last_words = std::mem::take(&mut *lock(&self.last_words));
                // Whoever has asked may have gone.
                let _ = to.write_all(&last_words);
                close(from);
                return close(to);
            }
            if to.write_all(&bytes[..read]).is_err() {
                return close(from);
            }
        }
        // Whoever has closed it may have gone while the way was silent: the other side must not know yet.
        self.wait();
        let _ = to.shutdown(Shutdown::Write);
    }

    fn wait(&self) {
        let way = self.changed.wait_while(lock(&self.way), |way| *way == ProxyMode::Silent);
        let way = *way.unwrap_or_else(PoisonError::into_inner);
        if let ProxyMode::Slow(delay) = way {
            thread::sleep(delay);
        }
    }
}

fn copy_of(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a socket")
}

fn close(stream: TcpStream) {
    // It may be closed already.
    let _ = stream.shutdown(Shutdown::Both);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
