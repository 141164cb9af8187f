//! The requests: as many as there shall be, and some beside the corrections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testing::blocking::BlockingWire;

const RESPONSE_MAX: Duration = Duration::from_secs(20);
/// The pause between two requests of the probe.
const PROBE_EVERY: Duration = Duration::from_millis(20);

/// Sends the requests over several connections.
pub fn send(address: SocketAddr, request: &[u8], requests: u64, connections: usize) -> io::Result<()> {
    let each = requests / connections as u64;
    let rest = requests % connections as u64;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections as u64)
            .map(|connection| scope.spawn(move || send_some(address, request, each + u64::from(connection < rest))))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| io::Error::other("a connection ended"))?)
    })
}

fn send_some(address: SocketAddr, request: &[u8], requests: u64) -> io::Result<()> {
    let mut wire = BlockingWire::open(address, RESPONSE_MAX)?;
    (0..requests).try_for_each(|_| ask(&mut wire, request).map(drop))
}

fn ask(wire: &mut BlockingWire, request: &[u8]) -> io::Result<Duration> {
    let started = Instant::now();
    match wire.ask(request)? {
        (200, _) => Ok(started.elapsed()),
        (status, body) => Err(io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&body)))),
    }
}

/// A connection that sends a request every few milliseconds until it is stopped.
pub struct Probe {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Probe {
    pub fn start(address: SocketAddr, request: &[u8]) -> Self {
        let (stopped, request) = (Arc::<AtomicBool>::default(), request.to_vec());
        let stop = Arc::clone(&stopped);
        let thread = thread::spawn(move || {
            let mut wire = BlockingWire::open(address, RESPONSE_MAX).expect("a connection");
            let mut took = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                took.push(ask(&mut wire, &request).expect("a response"));
                thread::sleep(PROBE_EVERY);
            }
            took
        });
        Self { stopped, thread }
    }

    /// How long each of its requests took.
    pub fn stop(self) -> Vec<Duration> {
        self.stopped.store(true, Ordering::SeqCst);
        self.thread.join().expect("a probe that ends")
    }
}
