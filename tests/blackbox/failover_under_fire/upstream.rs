//! Mock providers that keep their own books: which calls they got, what they answered, and the usage that they reported. They fail as
//! the name of the model says, byte by byte: no server library sends half of an answer, or no HTTP at all.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testing::http1::{Body, Received};
use testing::random::SplitMix64;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::faults::{self, Behaviour, Break, Point};

const BUFFER_BYTES: usize = 64 * 1024;
/// Words of an answer after its first one, which no other answer has.
const WORDS: [&str; 6] = ["says", "that", "all", "is", "well", "here"];
/// Words of a stream before it breaks.
const WORDS_BEFORE_BREAK: usize = 3;

/// A call that a provider got.
#[derive(Clone, Debug)]
pub struct SeenCall {
    /// The gateway's request.
    pub request: String,
    pub model: String,
    pub is_streamed: bool,
    /// The text of the answer, had it been sent to its end.
    pub text: String,
    /// The report made before the gateway left.
    pub reported: Option<Reported>,
}

/// The tokens of one report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    pub input: u64,
    /// The part of the input that was cached.
    pub cached: u64,
    pub output: u64,
}

impl Reported {
    fn draw(dice: &mut SplitMix64) -> Self {
        let mut below = |bound: u64| dice.next_u64() % bound;
        let input = 1 + below(3000);
        Self { input, cached: below(input + 1), output: 1 + below(200) }
    }

    fn as_json(self) -> Value {
        json!({
            "prompt_tokens": self.input, "completion_tokens": self.output, "total_tokens": self.input + self.output,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        })
    }
}

pub struct FaultyProvider {
    pub name: &'static str,
    address: SocketAddr,
    state: Arc<State>,
    _server: JoinSet<()>,
}

struct State {
    name: &'static str,
    /// How long it waits until it answers too late.
    late_for: Duration,
    seen: Mutex<Vec<SeenCall>>,
    dice: Mutex<SplitMix64>,
}

impl FaultyProvider {
    pub async fn start(name: &'static str, late_for: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seed = name.bytes().fold(0, |seed: u64, byte| seed * 31 + u64::from(byte));
        let dice = Mutex::new(SplitMix64::new(seed));
        let state = Arc::new(State { name, late_for, seen: Mutex::default(), dice });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Self { name, address, state, _server: server }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn seen(&self) -> Vec<SeenCall> {
        self.state.seen.lock().expect("the calls").clone()
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer_all(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until either side closes it.
async fn answer_all(mut stream: TcpStream, state: Arc<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Received::with_room(BUFFER_BYTES);
    loop {
        let (head, text) = loop {
            if let Some(head) = received.take_head_with_text()? {
                break head;
            }
            if !received.read(&mut stream).await? {
                return Ok(());
            }
        };
        let (mut body, mut bytes) = (Body::new(head.framing), Vec::new());
        while !body.is_over() {
            received.take_body(&mut body, |piece| bytes.extend_from_slice(piece))?;
            if !body.is_over() && !received.read(&mut stream).await? {
                return Ok(());
            }
        }
        let mut call = state.begin(&text, &serde_json::from_slice(&bytes).expect("a request in JSON"));
        if !call.answer(&mut stream, &mut received).await? {
            return Ok(());
        }
    }
}

impl State {
    fn begin(self: &Arc<Self>, head: &str, body: &Value) -> AnsweredCall {
        let id = head.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("the gateway's request id");
        let mut seen = self.seen.lock().expect("the calls");
        let number = seen.len();
        let call = SeenCall {
            request: id.trim().to_owned(),
            model: body["model"].as_str().expect("a model").to_owned(),
            is_streamed: body["stream"] == true,
            text: [format!("{}-{number}", self.name)]
                .into_iter()
                .chain(WORDS.map(str::to_owned))
                .collect::<Vec<_>>()
                .join(" "),
            reported: None,
        };
        seen.push(call.clone());
        let usage = Reported::draw(&mut self.dice.lock().expect("the dice"));
        AnsweredCall { state: Arc::clone(self), number, call, usage }
    }
}

/// A call that is being answered.
struct AnsweredCall {
    state: Arc<State>,
    number: usize,
    call: SeenCall,
    usage: Reported,
}

impl AnsweredCall {
    /// Answers as the model says; false if the connection is to be closed.
    async fn answer(&mut self, stream: &mut TcpStream, received: &mut Received) -> io::Result<bool> {
        let Some(fault) = faults::of(&self.call.model) else {
            let answer = self.complete(self.call.is_streamed, "");
            self.has_reported();
            stream.write_all(answer.as_bytes()).await?;
            return Ok(true);
        };
        match fault.behaviour {
            Behaviour::Refused | Behaviour::Closes => {}
            Behaviour::Silent => until_the_gateway_leaves(stream, received).await,
            Behaviour::Late => {
                if timeout(self.state.late_for, until_the_gateway_leaves(stream, received)).await.is_err() {
                    self.has_reported();
                    stream.write_all(self.complete(self.call.is_streamed, CLOSE).as_bytes()).await?;
                }
            }
            Behaviour::SilentAfterHead => {
                let head = head(self.call.is_streamed, None) + CLOSE + "\r\n";
                stream.write_all(head.as_bytes()).await?;
                until_the_gateway_leaves(stream, received).await;
            }
            Behaviour::Says(bytes) => stream.write_all(bytes.as_bytes()).await?,
            Behaviour::Responds(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Fault\r\n{headers}content-length: {length}\r\n{CLOSE}\r\n");
                stream.write_all((head + body).as_bytes()).await?;
            }
            // Whatever it reports is in words that nobody asked for.
            Behaviour::OtherForm => {
                stream.write_all(self.complete(!self.call.is_streamed, CLOSE).as_bytes()).await?;
            }
            Behaviour::Breaks(point, how) => {
                let broken =
                    if self.call.is_streamed { self.broken_stream(point, how) } else { self.broken_whole(how) };
                stream.write_all(broken.as_bytes()).await?;
                if how == Break::Stalls {
                    until_the_gateway_leaves(stream, received).await;
                }
            }
        }
        Ok(false)
    }

    /// Notes that its report is on its way.
    fn has_reported(&self) {
        self.state.seen.lock().expect("the calls")[self.number].reported = Some(self.usage);
    }

    /// A good answer, with further headers.
    fn complete(&self, is_streamed: bool, headers: &str) -> String {
        if !is_streamed {
            let body = self.whole_body();
            return format!("{}{headers}\r\n{body}", head(false, Some(body.len())));
        }
        let stop = self.event(&json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]), false);
        let events = [self.words(usize::MAX), stop, self.event(&json!([]), true), "data: [DONE]\n\n".to_owned()];
        format!("{}{headers}\r\n{}{LAST_CHUNK}", head(true, None), chunk(&events.concat()))
    }

    fn whole_body(&self) -> String {
        let message = json!({ "role": "assistant", "content": self.call.text });
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": self.call.model,
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }], "usage": self.usage.as_json(),
        })
        .to_string()
    }

    fn broken_whole(&self, how: Break) -> String {
        let body = self.whole_body();
        let half = &body[..body.len() / 2];
        let (length, sent) = match how {
            Break::Cut | Break::Stalls => (body.len(), half.to_owned()),
            Break::Ends => (half.len(), half.to_owned()),
            Break::Error => {
                self.has_reported();
                let error = self.error().to_string();
                (error.len(), error)
            }
        };
        format!("{}{CLOSE}\r\n{sent}", head(false, Some(length)))
    }

    /// Reports the usage before it breaks, so that nobody has to count what went through.
    fn broken_stream(&self, point: Point, how: Break) -> String {
        self.has_reported();
        let words = match point {
            Point::BeforeFirstToken => String::new(),
            Point::AfterFirstToken => self.words(WORDS_BEFORE_BREAK),
        };
        let role = json!([{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }]);
        let begun = [self.event(&role, false), self.event(&json!([]), true), words].concat();
        let end = match how {
            Break::Cut | Break::Stalls => String::new(),
            Break::Ends => LAST_CHUNK.to_owned(),
            Break::Error => chunk(&format!("data: {}\n\n", self.error())) + LAST_CHUNK,
        };
        format!("{}{CLOSE}\r\n{}{end}", head(true, None), chunk(&begun))
    }

    fn error(&self) -> Value {
        json!({ "error": { "message": "lost", "type": "server_error", "code": 500 }, "usage": self.usage.as_json() })
    }

    /// So many words of the text, each in an event.
    fn words(&self, most: usize) -> String {
        let words = self.call.text.split_inclusive(' ').take(most);
        words
            .map(|word| {
                self.event(&json!([{ "index": 0, "delta": { "content": word }, "finish_reason": null }]), false)
            })
            .collect()
    }

    fn event(&self, choices: &Value, has_usage: bool) -> String {
        let mut event = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.call.model,
            "choices": choices,
        });
        if has_usage {
            event["usage"] = self.usage.as_json();
        }
        format!("data: {event}\n\n")
    }
}

const CLOSE: &str = "connection: close\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

/// The head of an answer without the empty line after it, with its length or in chunks.
fn head(is_streamed: bool, length: Option<usize>) -> String {
    let content_type = if is_streamed { "text/event-stream" } else { "application/json" };
    let framing = match length {
        Some(length) => format!("content-length: {length}"),
        None => "transfer-encoding: chunked".to_owned(),
    };
    format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n{framing}\r\n")
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

async fn until_the_gateway_leaves(stream: &mut TcpStream, received: &mut Received) {
    // It sends nothing more; an error is an end as well.
    while received.read(stream).await.is_ok_and(|is_open| is_open) {
        received.clear();
    }
}
