//! The responses of the prepared upstream, as bytes that are made once.

/// The nine words as a non-streaming body.
pub const WHOLE: &[u8] = concat!(
    r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"whole","choices":[{"index":0,"message":"#,
    r#"{"role":"assistant","content":"The quick brown fox jumps over the lazy dog"},"finish_reason":"stop"}],"usage":"#,
    r#"{"prompt_tokens":12,"completion_tokens":9,"total_tokens":21}}"#
)
.as_bytes();

/// The end of every complete stream.
pub const DONE: &[u8] = b"data: [DONE]\n\n";

/// Number of events after the tokens: the finish, the usage, and `[DONE]`.
pub const CLOSING_EVENTS: usize = 3;

pub const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

/// A comment in a stream, as a chunk.
pub const COMMENT: &[u8] = b"8\r\n: wait\n\n\r\n";

/// The usage that the upstream reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    /// Tokens of the prompt that came from a cache.
    pub cached: u64,
    pub completion: u64,
}

/// A non-streaming response with its head.
pub fn whole() -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", WHOLE.len())
            .into_bytes();
    bytes.extend_from_slice(WHOLE);
    bytes
}

/// A stream in one piece. Every event is a chunk of its own, as from a server that flushes after each.
pub fn burst(model: &str, usage: Usage) -> Vec<u8> {
    let pieces = Pieces::of(model);
    let mut bytes = STREAM_HEAD.to_vec();
    bytes.extend_from_slice(&pieces.first);
    for _ in 1..usage.completion {
        bytes.extend_from_slice(&pieces.token);
    }
    bytes.extend_from_slice(&closing(model, usage));
    bytes
}

/// The events of a stream, each as a chunk.
pub struct Pieces {
    pub first: Vec<u8>,
    pub token: Vec<u8>,
}

impl Pieces {
    pub fn of(model: &str) -> Self {
        let first = choice(model, r#"{"role":"assistant","content":"The"}"#, "null");
        Self { first: chunk(&first), token: chunk(&choice(model, r#"{"content":" fox"}"#, "null")) }
    }
}

/// The events after the last token.
pub fn closing(model: &str, usage: Usage) -> Vec<u8> {
    let mut bytes = chunk(&choice(model, "{}", r#""stop""#));
    bytes.extend_from_slice(&chunk(&report(model, usage)));
    bytes.extend_from_slice(&chunk(DONE));
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn choice(model: &str, delta: &str, finish: &str) -> Vec<u8> {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
    )
    .into_bytes()
}

fn report(model: &str, usage: Usage) -> Vec<u8> {
    let Usage { prompt, cached, completion } = usage;
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}\",\
         \"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
         \"total_tokens\":{},\"prompt_tokens_details\":{{\"cached_tokens\":{cached}}}}}}}\n\n",
        prompt + completion
    )
    .into_bytes()
}

fn chunk(event: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", event.len()).into_bytes();
    bytes.extend_from_slice(event);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
