//! An upstream of every family. It answers with the golden samples of that family, as they are or with a fault.
//!
//! The first two segments of a path say which: `/KIND/SAMPLE/…` gives that sample, `/KIND/SAMPLE~late/…` gives it after a
//! while, `/KIND/SAMPLE~open/…` gives most of it and then nothing, and `/KIND/any/…` draws a sample from a seed and gives it with the
//! next fault.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::mock::{Pieces, closed, in_pieces, whole};
use crate::event_stream;
use crate::random::SplitMix64;

/// Faults of a response. All but the first make it another one than the family sends.
const FAULTS: [&str; 14] = [
    "none", "half", "cut", "html", "empty", "text500", "leak", "flipped", "long", "twice", "done_first", "foreign",
    "stall", "numbers_as_text",
];
/// Bytes of an event without an end: more than the gateway takes.
const LONG_BYTES: usize = 16 * 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;
/// No faults: time enough for a client to leave.
const OPEN: &str = "open";
const LATE: &str = "late";
const LATE_FOR: Duration = Duration::from_secs(2);

/// Samples by family.
type Families = BTreeMap<String, Vec<Sample>>;

struct Sample {
    name: String,
    content_type: &'static str,
    is_stream: bool,
    body: Bytes,
}

pub struct SampleUpstream {
    port: u16,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    families: Families,
    dice: Mutex<SplitMix64>,
    /// How often each fault was sent, by kind.
    sent: Mutex<BTreeMap<(String, &'static str), u64>>,
    /// The body of each request, with the first two segments of its path.
    seen: Mutex<Vec<(String, Value)>>,
}

impl SampleUpstream {
    /// Serves the samples in the folders of `golden`; which comes when is drawn from the seed.
    pub async fn start(golden: &Path, seed: u64) -> Self {
        Self::serving(golden, "answers", seed).await
    }

    /// Serves the samples of embeddings likewise.
    pub async fn of_embeddings(golden: &Path) -> Self {
        Self::serving(golden, "embeddings", 0).await
    }

    async fn serving(golden: &Path, folder: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let dice = Mutex::new(SplitMix64::new(seed));
        let state = Arc::new(State {
            families: families(golden, folder),
            dice,
            sent: Mutex::default(),
            seen: Mutex::default(),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Self { port, state, _server: server }
    }

    /// The address at which a family's sample is given; `any` draws one.
    pub fn address(&self, kind: &str, sample: &str) -> String {
        format!("http://127.0.0.1:{}/{kind}/{sample}", self.port)
    }

    /// The families that have samples.
    pub fn kinds(&self) -> Vec<String> {
        self.state.families.keys().cloned().collect()
    }

    /// The names of a family's samples, whole ones or streams.
    pub fn samples(&self, kind: &str, streamed: bool) -> Vec<String> {
        let of_kind = self.state.families.get(kind).into_iter().flatten();
        of_kind.filter(|sample| sample.is_stream == streamed).map(|sample| sample.name.clone()).collect()
    }

    /// How often each fault was sent, by kind.
    pub fn sent(&self) -> BTreeMap<(String, &'static str), u64> {
        self.state.sent.lock().expect("the counts").clone()
    }

    /// The bodies of the requests for a family's sample, in order.
    pub fn seen(&self, kind: &str, sample: &str) -> Vec<Value> {
        let (seen, wanted) = (self.state.seen.lock().expect("the requests"), format!("{kind}/{sample}"));
        seen.iter().filter(|(of, _)| *of == wanted).map(|(_, body)| body.clone()).collect()
    }

    pub const fn faults() -> &'static [&'static str] {
        &FAULTS
    }
}

/// The families with such a folder of samples.
fn families(golden: &Path, of: &str) -> Families {
    let folders = fs::read_dir(golden).expect("a folder of golden files").map(|entry| entry.expect("an entry").path());
    folders
        .filter_map(|folder| {
            let answers = fs::read_dir(folder.join(of)).ok()?;
            let kind = folder.file_name()?.to_str()?.to_owned();
            let files = answers.map(|entry| entry.expect("an entry").path());
            let samples: Vec<Sample> = files.filter_map(sample).collect();
            (!samples.is_empty()).then_some((kind, samples))
        })
        .collect()
}

/// A sample is a file with one dot in its name: what was made of it has more.
fn sample(path: PathBuf) -> Option<Sample> {
    let (name, extension) = path.file_name()?.to_str()?.split_once('.')?;
    let stored = fs::read(&path).expect("a sample");
    let (content_type, is_stream) = match extension {
        "json" => ("application/json", false),
        "sse" => ("text/event-stream", true),
        "ndjson" => ("application/x-ndjson", true),
        "frames" => ("application/vnd.amazon.eventstream", true),
        _ => return None,
    };
    let body = if extension == "frames" { event_stream::stream(&stored) } else { stored };
    Some(Sample { name: format!("{name}.{extension}"), content_type, is_stream, body: body.into() })
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // Faults cut connections on purpose.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> io::Result<Response<Pieces>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().trim_start_matches('/').to_owned();
    let (kind, rest) = path.split_once('/').unwrap_or((&path, ""));
    let (wanted, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_stream = rest.contains("stream") || rest.contains("Stream") || body["stream"] == true;
    state.seen.lock().expect("the requests").push((format!("{kind}/{wanted}"), body));
    let Some(samples) = state.families.get(kind) else { return Ok(whole(404, "text/plain", "no such family")) };
    if wanted != "any" {
        let (wanted, fault) = wanted.split_once('~').unwrap_or((wanted, "none"));
        let found = samples.iter().find(|sample| sample.name == wanted && sample.is_stream == is_stream);
        if fault == LATE {
            tokio::time::sleep(LATE_FOR).await;
        }
        return match found {
            Some(Sample { content_type, body, .. }) if fault == OPEN => {
                Ok(in_pieces(content_type, vec![Ok(body.slice(..body.len() * 3 / 4))], true))
            }
            Some(sample) => Ok(whole(200, sample.content_type, sample.body.clone())),
            None => Ok(whole(404, "text/plain", "no such sample")),
        };
    }
    let fault = state.next_fault(kind);
    let foreign: Vec<&Sample> = state.families.values().flatten().collect();
    let fitting: Vec<&Sample> = match fault {
        "foreign" => foreign,
        _ => samples.iter().filter(|sample| sample.is_stream == is_stream).collect(),
    };
    let sample = fitting[state.draw(fitting.len())];
    state.spoiled(sample, fault, &head.headers)
}

impl State {
    /// Each kind sends one fault after the other.
    fn next_fault(&self, kind: &str) -> &'static str {
        let mut sent = self.sent.lock().expect("the counts");
        let of_kind = sent.iter().filter(|((of, _), _)| of == kind).map(|(_, count)| count).sum::<u64>();
        let fault = FAULTS[usize::try_from(of_kind).expect("a count") % FAULTS.len()];
        *sent.entry((kind.to_owned(), fault)).or_default() += 1;
        fault
    }

    fn draw(&self, below: usize) -> usize {
        let drawn = self.dice.lock().expect("the dice").next_u64();
        usize::try_from(drawn % below as u64).expect("an index")
    }

    fn spoiled(&self, sample: &Sample, fault: &str, headers: &HeaderMap) -> io::Result<Response<Pieces>> {
        let Sample { content_type, body, .. } = sample;
        let half = body.slice(..body.len() / 2);
        Ok(match fault {
            "half" => whole(200, content_type, half),
            "cut" => in_pieces(content_type, vec![Ok(half), Err(closed())], false),
            "html" => whole(200, "text/html", "<html><body>Welcome to nginx</body></html>"),
            "empty" => whole(200, content_type, ""),
            "text500" => whole(500, "text/plain", "upstream connect error or disconnect/reset before headers"),
            "leak" => {
                let said: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
                whole(401, "text/plain", said.join("\n"))
            }
            "flipped" if !body.is_empty() => {
                let mut spoiled = body.to_vec();
                let at = self.draw(spoiled.len());
                spoiled[at] ^= 1 << self.draw(7);
                whole(200, content_type, spoiled)
            }
            "long" => {
                let pieces = std::iter::repeat_with(|| Ok(Bytes::from_static(&[b'x'; PIECE_BYTES])));
                let begin: Bytes = match *content_type {
                    // A frame that says that it has 16 MiB, with headers of 16 bytes.
                    "application/vnd.amazon.eventstream" => vec![1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0].into(),
                    _ => "data: {\"text\":\"".into(),
                };
                let pieces = std::iter::once(Ok(begin)).chain(pieces.take(LONG_BYTES / PIECE_BYTES));
                in_pieces(content_type, pieces.collect(), false)
            }
            "twice" => whole(200, content_type, [body.as_ref(), body].concat()),
            "done_first" => whole(200, content_type, [b"data: [DONE]\n\n".as_slice(), body].concat()),
            "stall" => in_pieces(content_type, vec![Ok(half)], true),
            "numbers_as_text" => whole(200, content_type, numbers_as_text(body)),
            _ => whole(200, content_type, body.clone()),
        })
    }
}

/// Each number after a colon becomes a string.
fn numbers_as_text(body: &[u8]) -> Vec<u8> {
    let mut spoiled = Vec::with_capacity(body.len() * 2);
    let mut rest = body;
    while let Some((first, after)) = rest.split_first() {
        spoiled.push(*first);
        rest = after;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if *first == b':' && digits > 0 {
            let (number, after) = rest.split_at(digits);
            spoiled.extend([b"\"".as_slice(), number, b"\""].concat());
            rest = after;
        }
    }
    spoiled
}
