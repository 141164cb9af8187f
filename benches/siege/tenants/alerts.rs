//! The webhook that alerts are posted to: it notes when the first alert of each budget came.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use memchr::memmem;
use testing::http1::{Body, Received};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::commands::OrderedAlert;
use super::report::LAG_MAX;

const ACCEPTED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// The words before a budget's id in an event.
const BEFORE_ID: &[u8] = b"\"stream\":\"alert-";
const BUFFER_BYTES: usize = 64 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Arrivals {
    /// The first alert of each budget.
    first: HashMap<String, Instant>,
    all: usize,
}

pub struct AlertReceiver {
    address: SocketAddr,
    arrivals: Arc<Mutex<Arrivals>>,
}

/// The time from the creation of budgets to the arrival of their alerts.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlertLag {
    pub longest: Duration,
    /// Alerts that did not come within [`LAG_MAX`].
    pub missing: usize,
}

impl AlertReceiver {
    /// Serves on a thread of its own until the process ends.
    pub fn start() -> Self {
        let (ready, is_ready) = mpsc::channel();
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let noted = Arc::clone(&arrivals);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("its address")).expect("the caller waits");
                serve(listener, &noted).await;
            });
        });
        Self { address: is_ready.recv().expect("a receiver"), arrivals }
    }

    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The number of alerts so far.
    pub fn received(&self) -> usize {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    /// Waits for those that are not here yet, for as long as they may take. Blocking.
    pub fn lag(&self, ordered: &[OrderedAlert]) -> AlertLag {
        let mut lag = AlertLag::default();
        for alert in ordered {
            match self.wait_for(alert) {
                Some(arrived) => lag.longest = lag.longest.max(arrived.saturating_duration_since(alert.ordered)),
                None => lag.missing += 1,
            }
        }
        lag
    }

    fn wait_for(&self, alert: &OrderedAlert) -> Option<Instant> {
        loop {
            let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            let arrived = arrivals.first.get(&alert.budget).copied();
            drop(arrivals);
            if arrived.is_some() || alert.ordered.elapsed() > LAG_MAX {
                return arrived;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

async fn serve(listener: TcpListener, arrivals: &Arc<Mutex<Arrivals>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(receive_all(stream, Arc::clone(arrivals)));
        while connections.try_join_next().is_some() {}
    }
}

/// Accepts the posts of a connection until the peer closes it.
async fn receive_all(mut stream: TcpStream, arrivals: Arc<Mutex<Arrivals>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Received::with_room(BUFFER_BYTES);
    loop {
        let head = loop {
            if let Some(head) = received.take_head()? {
                break head;
            }
            if !received.read(&mut stream).await? {
                return Ok(());
            }
        };
        let (mut body, mut event) = (Body::new(head.framing), Vec::new());
        loop {
            received.take_body(&mut body, |bytes| event.extend_from_slice(bytes))?;
            if body.is_over() {
                break;
            }
            if !received.read(&mut stream).await? {
                return Ok(());
            }
        }
        note(&event, &arrivals);
        stream.write_all(ACCEPTED).await?;
    }
}

fn note(event: &[u8], arrivals: &Mutex<Arrivals>) {
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    arrivals.all += 1;
    if let Some(id) = budget_of(event) {
        arrivals.first.entry(id).or_insert_with(Instant::now);
    }
}

fn budget_of(event: &[u8]) -> Option<String> {
    let rest = event.get(memmem::find(event, BEFORE_ID)? + BEFORE_ID.len()..)?;
    let id = rest.get(..memchr::memchr(b'"', rest)?)?;
    String::from_utf8(id.to_vec()).ok()
}
