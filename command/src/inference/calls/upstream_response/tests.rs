use std::collections::VecDeque;
use std::convert::Infallible;

use dialects::provider_dialects::{self, KeyFault};
use dialects::{Api, ProviderKind};
use http_body::Frame;
use http_body_util::StreamBody;
use secrets::Secret;

use super::*;
use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner};
use crate::secret_headers::tests::of_one;

/// The next step of a source.
#[derive(Clone, Debug)]
enum Act {
    Bytes(Bytes),
    End,
    Break,
}

/// A source that follows a script: pauses, each followed by an act. A pause keeps its due time if the read is dropped.
pub struct Script {
    acts: VecDeque<(Duration, Act)>,
    /// The time at which the next act happens.
    due: Option<Instant>,
}

impl Script {
    fn of(acts: impl IntoIterator<Item = (u64, Act)>) -> Self {
        let acts = acts.into_iter().map(|(pause_ms, act)| (Duration::from_millis(pause_ms), act)).collect();
        Self { acts, due: None }
    }

    pub async fn next(&mut self) -> Result<Option<Bytes>, Cause> {
        let (pause, act) = self.acts.front().cloned().expect("nobody asks for more");
        let due = *self.due.get_or_insert_with(|| Instant::now() + pause);
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        (_, self.due) = (self.acts.pop_front(), None);
        match act {
            Act::Bytes(bytes) => Ok(Some(bytes)),
            Act::End => Ok(None),
            Act::Break => Err(Cause::Send(SendError::Closed)),
        }
    }
}

fn bytes(number: usize) -> Act {
    Act::Bytes(vec![b'x'; number].into())
}

const LONG: Duration = Duration::from_secs(1000);
const MIB: usize = 1024 * 1024;

fn key() -> events::ids::KeyId {
    uuid::Uuid::from_u128(1).into()
}

/// A permit with as much memory as any answer may take.
fn unbounded() -> AnswerPermit {
    let memory = BodyMemory::new(BodyBounds::of_process(1024 * MIB));
    AnswerPermit::new(memory.permit(BodyOwner::of(None, Some(key()))), Instant::now() + LONG, LONG)
}

/// A body with these limits, counted from now.
fn body(
    first_ms: Option<u64>,
    idle_ms: u64,
    deadline: Duration,
    acts: impl IntoIterator<Item = (u64, Act)>,
) -> UpstreamBody {
    let now = Instant::now();
    UpstreamBody {
        source: AnswerSource::Scripted(Script::of(acts)),
        idle: Duration::from_millis(idle_ms),
        waits_since: None,
        first_until: first_ms.map(|first| now + Duration::from_millis(first)),
        deadline: now + deadline,
        arrives_fast: false,
        answer_bytes: 0,
        pace: StreamPace::starting_at(now),
        rest: Bytes::new(),
        sent: sent(),
    }
}

fn sent() -> Credentials {
    let provider = serde_json::json!({
        "provider_id": events::ids::ProviderId::from(uuid::Uuid::from_u128(1)), "name": "scripted", "kind": "openai",
        "allow_private_network": false, "timeout_ms": 1, "idle_timeout_ms": 1, "headers": { "x-team": "Team-9f3c1b" },
        "output_cap_field": "max_tokens", "secret_generation": 1,
    });
    let provider = Arc::new(serde_json::from_value(provider).expect("a provider"));
    Credentials::own(provider, Some(Secret::new("gw-7Hq2xVt9LmBz4KpWs8Rn")))
}

/// A signature covers the finished request: nothing may be added after it.
#[test]
fn a_request_is_finished_when_it_is_authenticated() {
    fn sign(
        request: &mut Request<Bytes>,
        key: &Secret,
        _: &Invocation<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), KeyFault> {
        let names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        let signed = format!("{} {} {} {}", request.uri(), request.body().len(), key.reveal(), now.timestamp());
        let signature = format!("{signed} {}", names.join(" ")).parse().map_err(|_| KeyFault::NotAHeader)?;
        request.headers_mut().insert("signature", signature);
        Ok(())
    }
    let mut sent = sent();
    Arc::make_mut(&mut sent.provider).base_url = Some("https://api.example.com/v1/".to_owned());
    let endpoint = Endpoint {
        path: |invocation| format!("/{}/{}", invocation.model, invocation.streamed).into(),
        wrong_base_url_ends: &[],
        settings: &[],
        headers: &[("x-version", "1")],
        token_exchange: None,
        authenticate: sign,
    };
    let invocation = Invocation { model: "m", streamed: true, api_version: None, region: None };
    let path = (endpoint.path)(&invocation);
    let outgoing = Outgoing { endpoint: &endpoint, path: &path, framing: Framing::Sse, invocation, forwarded: &[] };
    let trace = TraceHeaders { parent: Some(HeaderValue::from_static("00-1")), state: None };
    let request = outgoing.request(&sent, "{}".into(), "req_1", trace, DateTime::UNIX_EPOCH).expect("a request");
    let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
    names.retain(|name| *name != "signature");
    assert_eq!(names.len(), 8, "{names:?}");
    let signed = "https://api.example.com/v1/m/true 2 gw-7Hq2xVt9LmBz4KpWs8Rn 0";
    assert_eq!(request.headers()["signature"], format!("{signed} {}", names.join(" ")));
}

/// The path and headers of a call to each kind of provider.
#[test]
fn each_kind_is_called_at_its_path_with_its_headers() {
    for (kind, wanted, headers) in [
        (ProviderKind::Openai, "/chat/completions", [("authorization", "Bearer gw-7Hq2xVt9LmBz4KpWs8Rn")].as_slice()),
        (
            ProviderKind::Anthropic,
            "/v1/messages",
            &[("anthropic-version", "2023-06-01"), ("x-api-key", "gw-7Hq2xVt9LmBz4KpWs8Rn")],
        ),
        (ProviderKind::AzureOpenai, "/openai/v1/chat/completions", &[("api-key", "gw-7Hq2xVt9LmBz4KpWs8Rn")]),
        (ProviderKind::Gemini, "/models/m:generateContent", &[("x-goog-api-key", "gw-7Hq2xVt9LmBz4KpWs8Rn")]),
        (
            ProviderKind::Vertex,
            "/publishers/google/models/m:generateContent",
            &[("authorization", "Bearer gw-7Hq2xVt9LmBz4KpWs8Rn")],
        ),
    ] {
        let mut sent = sent();
        Arc::make_mut(&mut sent.provider).base_url = Some("https://api.example.com/".to_owned());
        let upstream = provider_dialects::of(kind);
        let endpoint = upstream.endpoint().expect("it is called over HTTP");
        let invocation = Invocation { model: "m", streamed: false, api_version: None, region: None };
        let path = upstream.path(Api::Chat, &invocation).expect("every kind has chat");
        let outgoing = Outgoing { endpoint, path: &path, framing: upstream.framing, invocation, forwarded: &[] };
        let trace = TraceHeaders { parent: None, state: None };
        let request = outgoing.request(&sent, "{}".into(), "req_1", trace, DateTime::UNIX_EPOCH).expect("a request");
        assert_eq!(request.uri().to_string(), format!("https://api.example.com{wanted}"));
        let common = [
            ("x-team", "Team-9f3c1b"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("x-request-id", "req_1"),
            ("accept-encoding", "identity"),
        ];
        for (name, value) in common.iter().chain(headers) {
            assert_eq!(request.headers()[*name], *value, "{name}");
        }
        assert_eq!(request.headers().len(), common.len() + 1 + headers.len(), "and its user agent");
        let shown = format!("{request:?}");
        assert!(!shown.contains("gw-7Hq"), "{shown}");
    }
}

/// Holds: admin.headers
#[test]
fn secret_headers_are_sent_beside_the_key_and_redacted_as_it_is() {
    let mut sent = sent();
    sent.secret_headers = of_one("Basic Z3c6TG1Cejk0S3A=");
    Arc::make_mut(&mut sent.provider).base_url = Some("https://api.example.com/".to_owned());
    let upstream = provider_dialects::of(ProviderKind::Openai);
    let endpoint = upstream.endpoint().expect("it is called over HTTP");
    let invocation = Invocation { model: "m", streamed: false, api_version: None, region: None };
    let path = (endpoint.path)(&invocation);
    let outgoing = Outgoing { endpoint, path: &path, framing: upstream.framing, invocation, forwarded: &[] };
    let trace = TraceHeaders { parent: None, state: None };
    let request = outgoing.request(&sent, "{}".into(), "req_1", trace, DateTime::UNIX_EPOCH).expect("a request");
    let header = |name: &str| request.headers()[name].to_str().expect("text");
    assert_eq!(header("x-gateway-auth"), "Basic Z3c6TG1Cejk0S3A=");
    assert_eq!(header("authorization"), "Bearer gw-7Hq2xVt9LmBz4KpWs8Rn");
    let shown = format!("{request:?}");
    assert!(!shown.contains("Z3c6"), "{shown}");
    let shown = sent.redactor().text("nobody has Z3c6TG1Cejk0S3A= here, or LmBz94Kp");
    assert!(shown.is_some_and(|shown| !shown.contains("Z3c6TG1C") && !shown.contains("LmBz94Kp")), "it is redacted");
}

/// The signature covers the path as it is sent, and no header that is added on the way.
#[test]
fn a_call_to_bedrock_is_signed_for_its_region() {
    for (region, wanted) in [(None, "us-east-1"), (Some("eu-west-1"), "eu-west-1")] {
        let mut sent = sent();
        let provider = Arc::make_mut(&mut sent.provider);
        provider.base_url = Some("https://bedrock-runtime.us-east-1.amazonaws.com/".to_owned());
        sent.secret = Some(Secret::new("AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let upstream = provider_dialects::of(ProviderKind::Bedrock);
        let endpoint = upstream.endpoint().expect("it is called over HTTP");
        let invocation = Invocation { model: "amazon.nova-lite-v1:0", streamed: true, api_version: None, region };
        let path = (endpoint.path)(&invocation);
        let outgoing = Outgoing { endpoint, path: &path, framing: upstream.framing, invocation, forwarded: &[] };
        let trace = TraceHeaders { parent: None, state: None };
        let request = outgoing.request(&sent, "{}".into(), "req_1", trace, DateTime::UNIX_EPOCH).expect("a request");
        assert_eq!(request.uri().path(), "/model/amazon.nova-lite-v1%3A0/converse-stream");
        let authorization = request.headers()["authorization"].to_str().expect("text");
        let begins = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/19700101/{wanted}/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature="
        );
        assert!(authorization.starts_with(&begins), "{authorization}");
        assert_eq!(request.headers()["accept"], "application/json, application/vnd.amazon.eventstream");
        let shown = format!("{request:?}");
        assert!(!shown.contains("Signature=") && !shown.contains("wJalr"), "{shown}");
    }
}

/// Holds: http.upstream-words
#[test]
fn each_part_of_an_access_key_is_redacted() {
    let (id, secret, token) =
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEGEaDJ//");
    let sent = Credentials::own(sent().provider, Some(Secret::new([id, secret, token].join(":"))));
    let redactor = sent.redactor();
    for part in [id, secret, token] {
        let encoded = part.replace('/', "%2F").replace('+', "%2B");
        for said in [part.to_owned(), part.to_ascii_lowercase(), encoded, part[4..].to_owned()] {
            let shown = redactor.text(&format!("nobody has {said} here"));
            assert_eq!(shown.as_deref(), Some("nobody has [redacted] here"), "{said}");
        }
    }
}

/// Holds: http.anthropic-headers
#[test]
fn a_clients_headers_replace_defaults_and_add_to_lists() {
    let mut sent = sent();
    let provider = Arc::make_mut(&mut sent.provider);
    provider.base_url = Some("https://api.example.com/".to_owned());
    provider.headers.insert("anthropic-beta".to_owned(), "of-the-row".to_owned());
    let upstream = provider_dialects::of(ProviderKind::Anthropic);
    let endpoint = upstream.endpoint().expect("it is called over HTTP");
    let invocation = Invocation { model: "m", streamed: false, api_version: None, region: None };
    let forwarded = [
        (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2026-10-21")),
        (HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("of-the-client")),
    ];
    let path = (endpoint.path)(&invocation);
    let outgoing = Outgoing { endpoint, path: &path, framing: upstream.framing, invocation, forwarded: &forwarded };
    let trace = TraceHeaders { parent: None, state: None };
    let request = outgoing.request(&sent, "{}".into(), "req_1", trace, DateTime::UNIX_EPOCH).expect("a request");
    let all = |name: &str| request.headers().get_all(name).iter().cloned().collect::<Vec<_>>();
    assert_eq!(all("anthropic-version"), ["2026-10-21"]);
    assert_eq!(all("anthropic-beta"), ["of-the-row", "of-the-client"]);
}

/// Holds: http.upstream-words
#[test]
fn credentials_are_redacted_from_an_error_inside_an_answer() {
    let error = r#"{"error":{"code":400,"message":"no gw-7Hq2xVt9LmBz4KpWs8Rn for team-9f3c1b here"}}"#;
    let answer = dialects::read_whole(ProviderKind::Openai, dialects::Surface::Native, error.into());
    let failure = at_once(&[]).fault(answer.err().expect("it is an error").fault);
    let Cause::Rejected(rejection) = failure.cause else { panic!("{failure:?}") };
    assert_eq!(rejection.message.as_deref(), Some("no [redacted] for [redacted] here"));
}

#[test]
fn a_key_and_the_token_that_it_was_exchanged_for_are_redacted_and_nothing_else() {
    let mut sent = sent();
    sent.secret = Some(Secret::new(crate::service_account::tests::KEY));
    sent.exchange(Secret::new("ya29.c0ASRK0Ga7Hq2xVt9LmBz4Kp"));
    let key: serde_json::Value = serde_json::from_str(crate::service_account::tests::KEY).expect("a key");
    let part = &key["private_key"].as_str().expect("a text")[200..260];
    let message = format!("ya29.c0ASRK0Ga7Hq2xVt9LmBz4Kp and {part} of the service_account at googleapis.com");
    let error = serde_json::json!({ "error": { "code": 400, "message": message } }).to_string();
    let answer = dialects::read_whole(ProviderKind::Vertex, dialects::Surface::Native, error.into());
    let failure = CallFailure::fault(answer.err().expect("it is an error").fault, &sent);
    let Cause::Rejected(rejection) = failure.cause else { panic!("{failure:?}") };
    let shown = rejection.message.expect("a message");
    assert_eq!(shown, "[redacted] and [redacted] of the service_account at googleapis.com");
}

fn patient(acts: impl IntoIterator<Item = (u64, Act)>) -> UpstreamBody {
    body(None, 1_000_000, LONG, acts)
}

fn at_once(chunks: &[usize]) -> UpstreamBody {
    let chunks: Vec<_> = chunks.iter().map(|chunk| (0, bytes(*chunk))).chain([(0, Act::End)]).collect();
    patient(chunks)
}

fn is_too_large(answer: Result<Bytes, CallFailure>) -> bool {
    matches!(answer.expect_err("too large").cause, Cause::Fault(UpstreamFault::TooLarge))
}

fn is_late<T: std::fmt::Debug>(answer: Result<T, CallFailure>) -> bool {
    answer.is_err_and(|failure| failure.is_timeout())
}

/// The client is told three times that the stream is alive, and the wait for the chunk goes on.
#[tokio::test(start_paused = true)]
async fn a_client_is_not_left_without_a_word_and_that_gives_the_upstream_no_more_time() {
    let told_before = async |body: &mut UpstreamBody| {
        let mut told = 0;
        loop {
            match body.next_piece_or_keep_alive(&mut KeepAliveTimer::of(Some(Duration::from_millis(300)))).await {
                Some(piece) => return (told, piece),
                None => told += 1,
            }
        }
    };
    let mut body = body(None, 1000, LONG, [(950, bytes(1)), (200, bytes(1)), (5000, bytes(1))]);
    let (told, piece) = told_before(&mut body).await;
    assert_eq!((told, piece.expect("in time").map(|piece| piece.len())), (3, Some(1)));
    body.heard(1).expect("in time");
    let (told, piece) = told_before(&mut body).await;
    assert_eq!((told, piece.is_ok()), (0, true));
    body.heard(2).expect("in time");
    let began = Instant::now();
    let (told, piece) = told_before(&mut body).await;
    assert!(is_late(piece) && told == 3 && began.elapsed() < Duration::from_millis(1100), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound_and_not_a_byte_further_however_it_is_cut() {
    const MAX: usize = 32 * 1024 * 1024;
    let many = [vec![MAX / 32; 31], vec![MAX / 32 - 1]].concat();
    for chunks in
        [vec![MAX], vec![MAX - 1, 1], vec![1, MAX - 1], vec![MAX / 2, MAX / 2], [many.clone(), vec![1]].concat()]
    {
        let whole = at_once(&chunks).whole(&mut unbounded()).await.expect("a whole answer");
        assert_eq!(whole.len(), MAX, "in {} chunks", chunks.len());
    }
    for chunks in [vec![MAX + 1], vec![MAX, 1], vec![1, MAX], vec![MAX / 2, MAX / 2 + 1], [many, vec![2]].concat()] {
        let number = chunks.len();
        assert!(is_too_large(at_once(&chunks).whole(&mut unbounded()).await), "in {number} chunks");
    }
}

#[tokio::test]
async fn a_whole_answer_is_its_chunks_in_their_order() {
    let texts = ["", "a", "bc", "def", "g", ""];
    for number in 0..texts.len() {
        let chunks = texts.iter().take(number).map(|text| (0, Act::Bytes(Bytes::from_static(text.as_bytes()))));
        let whole = patient(chunks.chain([(0, Act::End)]).collect::<Vec<_>>()).whole(&mut unbounded()).await;
        assert_eq!(whole.expect("whole"), texts.iter().take(number).copied().collect::<String>());
    }
    let broken = patient([(0, bytes(1)), (0, bytes(1)), (0, Act::Break)]).whole(&mut unbounded()).await;
    assert!(matches!(broken.expect_err("broken").cause, Cause::Send(SendError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_taken_as_far_as_there_is_memory_for_it() {
    for (room, is_whole) in [(2 * MIB, true), (MIB, false), (64 * 1024, false)] {
        let memory = BodyMemory::new(BodyBounds { process: room, tenant: room, key: room, reserve: 0 });
        let mut permit =
            AnswerPermit::new(memory.permit(BodyOwner::of(None, Some(key()))), Instant::now() + LONG, LONG);
        let answer = at_once(&[100_000; 15]).whole(&mut permit).await;
        assert_eq!(answer.as_ref().map(Bytes::len).ok(), is_whole.then_some(1_500_000), "{room}");
        if let Err(failure) = answer {
            assert!(matches!(failure.cause, Cause::NoMemory(BoundOf::Key)), "{failure:?}");
        }
        assert!(memory.bytes_held() <= room);
        drop(permit);
        assert_eq!(memory.bytes_held(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_bytes_have_their_own_time_and_never_less_than_any_others() {
    for (first, idle, pause, is_in_time) in
        [(5000, 1000, 5000, true), (5000, 1000, 5001, false), (1000, 3000, 3000, true), (1000, 3000, 3001, false)]
    {
        let mut body = body(Some(first), idle, LONG, [(pause, bytes(1)), (0, Act::End)]);
        let came = body.next().await;
        assert_eq!(matches!(came, Ok(Some(_))), is_in_time, "{first} {idle} {pause}");
        assert!(is_in_time || is_late(came));
    }
}

#[tokio::test(start_paused = true)]
async fn later_bytes_have_the_time_between_bytes_alone() {
    for (pause, is_in_time) in [(1000, true), (1001, false)] {
        let mut body = body(Some(60_000), 1000, LONG, [(0, bytes(1)), (pause, bytes(1)), (0, Act::End)]);
        assert!(matches!(body.next().await, Ok(Some(_))));
        let came = body.next().await;
        assert_eq!(matches!(came, Ok(Some(_))), is_in_time, "{pause}");
        assert!(is_in_time || is_late(came));
    }
}

/// Holds: admin.timeouts
#[tokio::test(start_paused = true)]
async fn pieces_of_no_answer_give_the_upstream_no_more_time() {
    // A piece that comes when the time is up is too late as well.
    for (pause, heard, wanted_ms) in [(450, 0, 2000), (500, 0, 2000), (450, 1, 1450), (500, 1, 1500)] {
        let (mut body, began) = (body(Some(2000), 1000, LONG, vec![(pause, bytes(1)); 9]), Instant::now());
        let failure = loop {
            let piece = body.next_piece().await;
            if let Err(failure) = piece.and_then(|_| body.heard(heard)) {
                break failure;
            }
        };
        assert!(failure.is_timeout());
        assert_eq!(began.elapsed(), Duration::from_millis(wanted_ms), "{pause} {heard}");
    }
}

/// Holds: admin.timeouts
#[tokio::test(start_paused = true)]
async fn blank_bytes_of_a_whole_answer_give_the_upstream_no_more_time() {
    let blank = Act::Bytes(Bytes::from_static(b" \r\n"));
    for (first, wanted_ms) in [(blank.clone(), 2000), (bytes(1), 1450)] {
        let acts = [vec![(450, first)], vec![(450, blank.clone()); 9]].concat();
        let (mut body, began) = (body(Some(2000), 1000, LONG, acts), Instant::now());
        assert!(is_late(body.whole(&mut unbounded()).await));
        assert_eq!(began.elapsed(), Duration::from_millis(wanted_ms));
    }
}

/// Holds: inf.stream-pace
#[tokio::test(start_paused = true)]
async fn a_stream_is_read_at_once_up_to_16_megabytes_and_then_at_its_pace() {
    const MB: usize = 1_000_000;
    let began = Instant::now();
    let mut body = at_once(&[MB; 40]);
    let mut read = 0;
    loop {
        let piece = match body.next_if_ready().await {
            Some(piece) => piece,
            None => body.next_piece().await,
        };
        let Some(piece) = piece.expect("in time") else { break };
        read += piece.len();
        assert!(read <= 17 * MB || began.elapsed() > Duration::ZERO, "{read} bytes at once");
    }
    assert_eq!((read, began.elapsed().as_secs()), (40 * MB, 12));
    let began = Instant::now();
    assert!(at_once(&[MB; 30]).whole(&mut unbounded()).await.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO, "a whole answer is bounded by its length");
}

#[tokio::test(start_paused = true)]
async fn small_chunks_count_for_the_work_that_they_make() {
    let began = Instant::now();
    let mut body = patient(vec![(0, bytes(1)); 200_000].into_iter().chain([(0, Act::End)]));
    while body.next_piece().await.expect("in time").is_some() {}
    assert_eq!(began.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_at_the_deadline_and_none_begins_after_it() {
    let deadline = Duration::from_millis(4000);
    for first in [None, Some(60_000)] {
        for (pause, is_in_time) in [(4000, true), (4001, false)] {
            let began = Instant::now();
            let mut body = body(first, 60_000, deadline, [(pause, bytes(1)), (0, bytes(1)), (0, Act::End)]);
            let came = body.next().await;
            assert_eq!((matches!(came, Ok(Some(_))), began.elapsed()), (is_in_time, deadline));
            // Bytes that are ready all the time do not keep the request alive.
            assert!(is_late(body.next().await));
        }
    }
    let mut body = body(None, 60_000, deadline, [(3999, bytes(1)), (0, bytes(1)), (0, Act::End)]);
    assert!(matches!(body.next().await, Ok(Some(_))) && matches!(body.next().await, Ok(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn a_ready_chunk_is_looked_for_only_after_one_that_arrived_fast() {
    for (pause, is_asked) in [(0, true), (4, true), (5, false), (6, false)] {
        let mut body = patient([(pause, bytes(1)), (0, bytes(2)), (0, Act::End)]);
        assert!(body.next_if_ready().await.is_none(), "nothing came before it");
        assert!(matches!(body.next().await, Ok(Some(_))));
        assert_eq!(body.next_if_ready().await.is_some(), is_asked, "{pause} ms");
    }
    let mut body = patient([(0, bytes(1)), (1, bytes(2)), (0, Act::End)]);
    assert!(matches!(body.next().await, Ok(Some(_))));
    assert!(body.next_if_ready().await.is_none(), "it is not there yet");
}

#[tokio::test(start_paused = true)]
async fn a_long_chunk_of_a_stream_is_handed_out_in_pieces_and_none_is_waited_for() {
    const PIECE: usize = 16 * 1024;
    let chunks = || [(1000, bytes(2 * PIECE + 1)), (1000, bytes(PIECE)), (0, Act::End)];
    let wanted = [PIECE, PIECE, 1, PIECE];
    let mut body = patient(chunks());
    for wanted in wanted {
        assert_eq!(body.next_piece().await.expect("a piece").map(|piece| piece.len()), Some(wanted));
    }
    assert!(matches!(body.next_piece().await, Ok(None)));
    let mut body = patient(chunks());
    assert!(matches!(body.next_piece().await, Ok(Some(_))));
    for wanted in [PIECE, 1] {
        let piece = body.next_if_ready().await.expect("it is there").expect("a piece");
        assert_eq!(piece.map(|piece| piece.len()), Some(wanted));
    }
    assert!(body.next_if_ready().await.is_none(), "what comes next did not come fast");
}

#[tokio::test(start_paused = true)]
async fn only_the_beginning_of_a_refusal_is_read() {
    const MAX: usize = 16 * 1024;
    let refusal = |text: &'static str| (0, Act::Bytes(Bytes::from_static(text.as_bytes())));
    let beginning = patient([refusal("{\"error\":"), refusal("\"no\"}"), (0, Act::End)]).refusal_body().await;
    assert_eq!(beginning, b"{\"error\":\"no\"}");
    assert_eq!(patient([(0, Act::End)]).refusal_body().await, b"");
    assert_eq!(patient([refusal("half"), (0, Act::Break)]).refusal_body().await, b"half");
    // Once enough has arrived, nothing more is waited for.
    for chunks in [vec![MAX], vec![MAX + 1], vec![MAX - 1, 1], vec![10_000, 10_000], vec![MAX - 1, 2 * MAX]] {
        let began = Instant::now();
        let chunks: Vec<_> = chunks.into_iter().map(|chunk| (0, bytes(chunk))).chain([(3_600_000, Act::End)]).collect();
        assert_eq!(patient(chunks).refusal_body().await.len(), MAX);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
    let long: Vec<u8> = (0..=u8::MAX).cycle().take(MAX + 300).collect();
    let beginning = patient([(0, Act::Bytes(long.clone().into())), (3_600_000, Act::End)]).refusal_body().await;
    assert_eq!(beginning, long[..MAX]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_waited_for_two_seconds_and_not_beyond_the_deadline() {
    let drips = || (0..10).map(|_| (500, bytes(1))).chain([(3_600_000, Act::End)]);
    for (deadline, waited, came) in [(LONG, 2000, 4), (Duration::from_millis(1200), 1200, 2)] {
        let began = Instant::now();
        let beginning = body(None, 1_000_000, deadline, drips()).refusal_body().await;
        assert_eq!((beginning.len(), began.elapsed()), (came, Duration::from_millis(waited)));
    }
    // The provider's idle time-out holds here as well.
    let began = Instant::now();
    let beginning = body(None, 300, LONG, [(0, bytes(3)), (301, bytes(1)), (0, Act::End)]).refusal_body().await;
    assert_eq!((beginning.len(), began.elapsed()), (3, Duration::from_millis(300)));
}

/// An empty chunk is not the end, and a client has no use for it.
#[tokio::test]
async fn empty_chunks_and_trailers_are_passed_over() {
    let frames = |texts: &[&'static str], trailers: bool| {
        let data = texts.iter().map(|text| Ok::<_, Infallible>(Frame::data(Bytes::from_static(text.as_bytes()))));
        let trailers = trailers.then(|| Ok(Frame::trailers(HeaderMap::new())));
        StreamBody::new(futures_util::stream::iter(data.chain(trailers).collect::<Vec<_>>()))
    };
    for (texts, trailers, wanted) in [
        (&["", "a", "", "", "b", ""][..], true, &["a", "b"][..]),
        (&[""], false, &[]),
        (&[], true, &[]),
        (&["abc"], false, &["abc"]),
    ] {
        let mut body = frames(texts, trailers);
        for wanted in wanted {
            let data = next_data(&mut body).await.expect("data");
            assert_eq!(data.as_deref(), Some(wanted.as_bytes()), "{texts:?}");
        }
        assert!(matches!(next_data(&mut body).await, Ok(None)), "{texts:?}");
    }
}

#[test]
fn an_upstreams_id_is_read_from_any_of_its_headers_and_cut_to_a_bounded_length() {
    for name in ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid"] {
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("abc"))]);
        assert_eq!(upstream_request_id(&headers).as_deref(), Some("abc"), "{name}");
    }
    let long = HeaderValue::try_from("x".repeat(1000)).expect("a header");
    let headers = HeaderMap::from_iter([(HeaderName::from_static("request-id"), long)]);
    assert_eq!(upstream_request_id(&headers).map(|id| id.len()), Some(256));
}
