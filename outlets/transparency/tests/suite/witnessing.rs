//! Witnesses that cosign, that do not, and that do anything else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::time::{Clock, SystemClock};
use tempfile::TempDir;
use tlog::{AddCheckpoint, Cosigner, SIZE_CONTENT_TYPE, SignedCheckpoint, TreeHead, VerifierKey, verify_consistency};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use transparency::WitnessAddress;

use crate::ledger::{Ledger, ORIGIN, Publishing, published, signer};

const WAIT_MAX: Duration = Duration::from_secs(20);

/// A witness that checks what it is asked, and answers otherwise while it is told to.
struct WitnessServer {
    address: WitnessAddress,
    key: VerifierKey,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

struct State {
    cosigner: Cosigner,
    cosigned: Mutex<TreeHead>,
    is_honest: AtomicBool,
    /// The time that it cosigns with; that of the machine if it is zero.
    unix_seconds: AtomicU64,
    /// The answer of a witness that is not honest; `None` for no answer at all.
    otherwise: Option<Vec<u8>>,
}

impl WitnessServer {
    async fn start(name: &str, seed: u8, otherwise: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let cosigner = Cosigner::from_seed(name.parse().expect("a name"), &[seed; 32]).expect("a key");
        let key = cosigner.verifier_key().clone();
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let address = format!("{key} {url}").parse().expect("an address");
        let (cosigned, unix_seconds) = (Mutex::new(TreeHead::EMPTY), AtomicU64::default());
        let state = State { cosigner, cosigned, is_honest: true.into(), unix_seconds, otherwise };
        let state = Arc::new(state);
        let (serving, mut task) = (Arc::clone(&state), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(answer(connection, Arc::clone(&serving)));
            }
        });
        Self { address, key, state, _serving: task }
    }

    fn be_honest(&self, is_honest: bool) {
        self.state.is_honest.store(is_honest, Ordering::SeqCst);
    }
}

async fn answer(mut connection: TcpStream, state: Arc<State>) {
    let body = request_body(&mut connection).await;
    let answer = match (state.is_honest.load(Ordering::SeqCst), &state.otherwise) {
        (true, _) => state.decide(&AddCheckpoint::parse(&body).expect("a request")),
        (false, Some(otherwise)) => otherwise.clone(),
        (false, None) => return std::future::pending().await,
    };
    let _ = connection.write_all(&answer).await;
}

impl State {
    fn decide(&self, request: &AddCheckpoint) -> Vec<u8> {
        let keys = [signer(7).verifier_key().clone()];
        let head = *request.checkpoint.verify(ORIGIN, &keys).expect("signed by the log").head();
        let mut cosigned = self.cosigned.lock().expect("not poisoned");
        if request.old_size != cosigned.size {
            return reply("409 Conflict", SIZE_CONTENT_TYPE, &format!("{}\n", cosigned.size));
        }
        if cosigned.size > 0 && cosigned.size < head.size {
            assert_eq!(verify_consistency(&cosigned, &head, &request.consistency), Ok(()));
        }
        *cosigned = head;
        let note = request.checkpoint.note();
        let time = match self.unix_seconds.load(Ordering::SeqCst) {
            0 => seconds_of(&SystemClock::new()),
            set => set,
        };
        reply("200 OK", "text/plain", &format!("{}\n", self.cosigner.cosign(note.text(), time)))
    }
}

fn seconds_of(clock: &dyn Clock) -> u64 {
    u64::try_from(clock.now().timestamp()).expect("after 1970")
}

fn reply(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    format!("{head}Connection: close\r\n\r\n{body}").into_bytes()
}

async fn request_body(connection: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        if connection.read_buf(&mut bytes).await.expect("a request") == 0 {
            return Vec::new();
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let length: usize = length.parse().expect("a number");
        if bytes.len() >= head.len() + 4 + length {
            return bytes.split_off(head.len() + 4);
        }
    }
}

/// Waits until the published checkpoint of so many events is cosigned by all of these.
async fn cosigned_by(folder: &TempDir, events: u64, witnesses: &[&WitnessServer]) {
    let keys: Vec<_> = witnesses.iter().map(|witness| witness.key.clone()).collect();
    let (log, began) = (published(folder.path()), Instant::now());
    loop {
        let checkpoint = log.unchecked_checkpoint().await.expect("readable").expect("published");
        let signed = SignedCheckpoint::parse(&checkpoint.bytes).expect("a checkpoint");
        signed.verify(ORIGIN, &[signer(7).verifier_key().clone()]).expect("signed by the log");
        if checkpoint.head.size == events && signed.cosignatures(&keys).expect("right ones").len() == keys.len() {
            return;
        }
        assert!(began.elapsed() < WAIT_MAX, "not cosigned: {signed}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_cosigned_by_witnesses_that_check_each_step() {
    let (ledger, folder) = (Ledger::with_events(300).await, TempDir::new().expect("a folder"));
    let first = WitnessServer::start("first.example", 3, None).await;
    let publishing = Publishing::with(&ledger, folder.path(), |parts| parts.witnesses = vec![first.address.clone()]);
    publishing.reaches(300).await;
    cosigned_by(&folder, 300, &[&first]).await;
    ledger.record_in(&publishing.log, 100).await;
    publishing.reaches(400).await;
    cosigned_by(&folder, 400, &[&first]).await;
    publishing.stop();
    // The next publisher does not know what they have cosigned, and cosigns with one more.
    let second = WitnessServer::start("second.example", 4, None).await;
    let both = vec![first.address.clone(), second.address.clone()];
    let publishing = Publishing::with(&ledger, folder.path(), |parts| parts.witnesses = both);
    ledger.record_in(&publishing.log, 30).await;
    publishing.reaches(430).await;
    cosigned_by(&folder, 430, &[&first, &second]).await;
    publishing.stop();
}

/// Whatever a witness says, the log is published, and a wrong cosignature is not.
/// Holds: log.published-witnesses
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_fails_holds_up_nobody_and_is_asked_again() {
    let other = Cosigner::from_seed("first.example".parse().expect("a name"), &[9; 32]).expect("a key");
    let wrong = Cosigner::from_seed("first.example".parse().expect("a name"), &[3; 32]).expect("a key");
    let elsewhere = tlog::NoteText::new("elsewhere\n1\n".to_owned()).expect("a text");
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n{}", "x".repeat(200_000));
    for otherwise in [
        Some(b"what?\r\n\r\n".to_vec()),
        Some(reply("500 Internal Server Error", "text/plain", "")),
        Some(reply("404 Not Found", "text/plain", "")),
        Some(reply("409 Conflict", SIZE_CONTENT_TYPE, "99999\n")),
        Some(reply("409 Conflict", SIZE_CONTENT_TYPE, "3\n")),
        Some(reply("200 OK", "text/plain", "")),
        Some(reply("200 OK", "text/plain", &format!("{}\n", other.cosign(&elsewhere, 1)))),
        Some(reply("200 OK", "text/plain", &format!("{}\n", wrong.cosign(&elsewhere, 1)))),
        Some(huge.into_bytes()),
        None,
    ] {
        let (ledger, folder) = (Ledger::with_events(20).await, TempDir::new().expect("a folder"));
        let witness = WitnessServer::start("first.example", 3, otherwise).await;
        witness.be_honest(false);
        let publishing =
            Publishing::with(&ledger, folder.path(), |parts| parts.witnesses = vec![witness.address.clone()]);
        publishing.reaches(20).await;
        ledger.record_in(&publishing.log, 10).await;
        publishing.reaches(30).await;
        let checkpoint = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published");
        let signed = SignedCheckpoint::parse(&checkpoint.bytes).expect("a checkpoint");
        assert_eq!(signed.note().signatures().len(), 1, "{signed}");
        witness.be_honest(true);
        cosigned_by(&folder, 30, &[&witness]).await;
        publishing.stop();
    }
}

/// A day is what clocks may differ by.
/// Holds: log.published-cosigned-ahead
#[tokio::test(flavor = "multi_thread")]
async fn a_cosignature_of_a_time_that_has_not_come_is_not_published() {
    let (ledger, folder) = (Ledger::with_events(20).await, TempDir::new().expect("a folder"));
    let witness = WitnessServer::start("first.example", 3, None).await;
    let now = seconds_of(&*ledger.clock);
    witness.state.unix_seconds.store(now + 25 * 3600, Ordering::SeqCst);
    let publishing = Publishing::with(&ledger, folder.path(), |parts| parts.witnesses = vec![witness.address.clone()]);
    publishing.reaches(20).await;
    ledger.record_in(&publishing.log, 10).await;
    publishing.reaches(30).await;
    let began = Instant::now();
    while witness.state.cosigned.lock().expect("not poisoned").size < 30 {
        assert!(began.elapsed() < WAIT_MAX, "it was not asked");
        sleep(Duration::from_millis(20)).await;
    }
    let checkpoint = published(folder.path()).unchecked_checkpoint().await.expect("readable").expect("published");
    let signed = SignedCheckpoint::parse(&checkpoint.bytes).expect("a checkpoint");
    assert_eq!(signed.note().signatures().len(), 1, "{signed}");
    witness.state.unix_seconds.store(now + 23 * 3600, Ordering::SeqCst);
    cosigned_by(&folder, 30, &[&witness]).await;
    publishing.stop();
}
