//! The simulator.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;
use intermediate::{FinishReason, UpstreamFault};
use provider_dialects::ProviderKind;
use provider_dialects::simulator::{SimulatedAnswer, respond};
use serde_json::Value;
use surfaces::Surface;
use tokio::time::Instant;

use crate::{ClientRequest, Relay, read_whole};

async fn collected(answer: SimulatedAnswer) -> (u16, Vec<Bytes>, bool) {
    let (status, mut frames) = (answer.status.as_u16(), Vec::new());
    let mut body = pin!(answer.body);
    loop {
        match std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            Some(Ok(frame)) => frames.push(frame.into_data().unwrap()),
            Some(Err(_)) => return (status, frames, true),
            None => return (status, frames, false),
        }
    }
}

fn ask(more: &str) -> Bytes {
    format!(r#"{{"model":"echo","messages":[{{"role":"system","content":"s"}},{{"role":"user","content":"The  quick\nfox"}}]{more}}}"#).into()
}

async fn whole(model: &str, more: &str) -> Value {
    let (status, frames, cut) = collected(respond(model, &ask(more))).await;
    assert_eq!((status, frames.len(), cut), (200, 1, false));
    serde_json::from_slice(&frames[0]).unwrap()
}

#[tokio::test]
async fn echo_says_the_last_user_message() {
    let answer = whole("echo", "").await;
    assert_eq!(answer["choices"][0]["message"]["content"], "The  quick\nfox");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer, whole("echo", "").await, "the same question, the same answer");
}

#[tokio::test]
async fn the_cap_and_the_options_hold() {
    let answer = whole("echo?output_tokens=7&input_tokens=100&cached_tokens=40", r#","max_tokens":5,"n":2"#).await;
    assert_eq!(answer["choices"][1]["message"]["content"], "The  quick\nfox The  quick");
    assert_eq!(answer["choices"][1]["finish_reason"], "length");
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["completion_tokens"]), (&100.into(), &10.into()));
    assert_eq!(answer["usage"]["prompt_tokens_details"]["cached_tokens"], 40);
    let thinking = whole("lorem?reasoning_tokens=4", r#","max_completion_tokens":3"#).await;
    assert_eq!(thinking["choices"][0]["message"]["reasoning_content"], "Lorem ipsum dolor");
    assert_eq!(thinking["choices"][0]["message"]["content"], "");
    assert_eq!(thinking["usage"]["completion_tokens_details"]["reasoning_tokens"], 3);
    assert!(whole("echo?no_usage=1", "").await.get("usage").is_none());
}

const TOOLS: &str = r#","tools":[{"type":"function","function":{"name":"fox","parameters":{"type":"object","properties":
    {"city":{"type":"string"},"unit":{"enum":["C","F"]},"days":{"type":"array","items":{"type":"integer","minimum":2}}}}}}]"#;

#[tokio::test]
async fn tools_are_called_where_they_are_asked_for() {
    let arguments = r#"{"city":"text","days":[2],"unit":"C"}"#;
    for choice in [
        "",
        r#","tool_choice":"auto""#,
        r#","tool_choice":"required""#,
        r#","tool_choice":{"type":"function","function":{"name":"fox"}}"#,
    ] {
        let answer = whole("echo", &format!("{TOOLS}{choice}")).await;
        let call = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!((&call["name"], &call["arguments"]), (&"fox".into(), &arguments.into()), "{choice}");
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }
    let none = whole("echo", &format!(r#"{TOOLS},"tool_choice":"none""#)).await;
    assert!(none["choices"][0]["message"].get("tool_calls").is_none());
}

/// The text and the outcome of a relayed stream.
async fn relayed(model: &str, more: &str) -> (String, Result<Relay, UpstreamFault>) {
    let body = ask(&format!(r#","stream":true{more}"#));
    let request = ClientRequest::parse(Surface::OpenAi, body.clone()).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let upstream = ask(&format!(r#","stream":true,"stream_options":{{"include_usage":true}}{more}"#));
    let mut relay = Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0);
    let (mut out, mut result) = (BytesMut::new(), Ok(()));
    let (_, frames, cut) = collected(respond(model, &upstream)).await;
    for frame in frames {
        result = result.and_then(|()| relay.feed(&frame, &mut out));
    }
    let result = result.and_then(|()| relay.finish(&mut out));
    assert!(!cut || result == Err(UpstreamFault::Truncated));
    let chunks = out[..].split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
    let text = chunks.map(|chunk| serde_json::from_slice::<Value>(chunk).unwrap());
    let text = text.map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned());
    (text.collect(), result.map(|()| relay))
}

#[tokio::test]
async fn a_stream_says_what_the_whole_answer_says() {
    for (model, more) in
        [("echo", ""), ("lorem?output_tokens=9", ""), ("echo?reasoning_tokens=2", r#","max_tokens":4"#)]
    {
        let whole = whole(model, more).await;
        let (text, relay) = relayed(model, more).await;
        let relay = relay.ok().unwrap();
        assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
        let answer = read_whole(ProviderKind::Openai, Surface::OpenAi, whole.to_string().into()).ok().unwrap();
        assert_eq!(relay.metered().reported(), answer.metered.reported());
        assert_eq!(relay.metered().finish_reason, answer.metered.finish_reason);
        assert!(relay.ended());
    }
    let (_, relay) = relayed("echo", TOOLS).await;
    assert_eq!(relay.ok().unwrap().metered().finish_reason, Some(FinishReason::ToolCalls));
}

#[tokio::test]
async fn it_fails_in_every_way_that_it_is_told_to() {
    let answer = respond("echo?fail=503&retry_after=2", &ask(""));
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (503, &"2".parse().unwrap()));
    for (model, status) in [("robot", 404), ("echo?colour=red", 404), ("echo?fail=200", 404), ("echo?pace_ms=x", 404)] {
        assert_eq!(respond(model, &ask("")).status.as_u16(), status, "{model}");
    }
    assert_eq!(respond("echo", &Bytes::from_static(b"{")).status.as_u16(), 400);
    assert_eq!(relayed("echo?fail_after=2", "").await.1.err(), Some(UpstreamFault::InBandError { retryable: true }));
    assert_eq!(relayed("echo?cut_after=3", "").await.1.err(), Some(UpstreamFault::Truncated));
    let (_, frames, cut) = collected(respond("echo?cut_after=1", &ask(""))).await;
    assert!(cut && serde_json::from_slice::<Value>(&frames[0]).is_err());
    let silence = tokio::time::timeout(Duration::from_millis(1), collected(respond("echo?silent=1", &ask(""))));
    assert!(silence.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn it_waits_before_the_first_byte_and_between_chunks() {
    let started = Instant::now();
    let (_, frames, _) = collected(respond("echo?ttft_ms=20&pace_ms=5", &ask(r#","stream":true"#))).await;
    assert_eq!(frames.len(), 6, "a role, three words, an end, [DONE]");
    assert_eq!(started.elapsed(), Duration::from_millis(20 + 6 * 5));
}

/// The answer to a request for embeddings.
async fn embedded(model: &str, input: &str, more: &str) -> Value {
    let body = Bytes::from(format!(r#"{{"model":"x","input":{input}{more}}}"#));
    let (_, frames, _) = collected(respond(model, &body)).await;
    serde_json::from_slice(&frames.concat()).expect("an answer")
}

fn vector(answer: &Value, index: usize) -> Vec<f64> {
    let numbers = answer["data"][index]["embedding"].as_array().expect("a vector");
    numbers.iter().map(|number| number.as_f64().expect("a number")).collect()
}

#[tokio::test]
async fn texts_that_share_words_have_vectors_that_are_near_each_other() {
    let input = r#"["the quick brown fox","The quick, brown fox!","a quick brown dog","stocks fell on Tuesday"]"#;
    let answer = embedded("echo", input, "").await;
    let near = |one, other| -> f64 {
        vector(&answer, one).iter().zip(vector(&answer, other)).map(|(one, other)| one * other).sum()
    };
    assert!((near(0, 1) - 1.0).abs() < 1e-6, "{}", near(0, 1));
    assert!(near(0, 2) > 0.4 && near(0, 2) < 0.9 && near(0, 3) < 0.3, "{} {}", near(0, 2), near(0, 3));
    assert_eq!(vector(&answer, 3).len(), 64);
    let tokens = input.len().div_ceil(4);
    assert_eq!((&answer["usage"]["prompt_tokens"], &answer["usage"]["total_tokens"]), (&tokens.into(), &tokens.into()));
    assert_eq!(answer, embedded("echo", input, "").await);
    assert_eq!(vector(&embedded("echo", r#""?!""#, "").await, 0)[0], 1.0, "without a word");
}

#[tokio::test]
async fn embeddings_are_as_many_and_as_long_as_asked_for() {
    for (input, count) in [(r#""x""#, 1), ("[1,2]", 1), ("[[1],[2,3]]", 2), (r#"["a","b","c"]"#, 3)] {
        let answer = embedded("lorem?input_tokens=7", input, r#","dimensions":8"#).await;
        assert_eq!(answer["data"].as_array().expect("a list").len(), count, "{input}");
        assert_eq!((vector(&answer, 0).len(), &answer["usage"]["total_tokens"]), (8, &7.into()));
    }
    let answer = embedded("echo?no_usage=1", r#""x""#, r#","encoding_format":"base64","dimensions":3"#).await;
    assert_eq!(answer["data"][0]["embedding"].as_str().expect("base64").len(), 16);
    assert!(answer.get("usage").is_none());
    for bad in [r#"{"input":7}"#, r#"{"input":["x"],"dimensions":0}"#, r#"{"input":[{}]}"#, r#"{"input":["x",1]}"#] {
        assert_eq!(respond("echo", &Bytes::from(bad)).status.as_u16(), 400, "{bad}");
    }
    assert_eq!(respond("echo?fail=429", &Bytes::from_static(br#"{"input":"x"}"#)).status.as_u16(), 429);
    let in_band = embedded("echo?fail_after=0", r#""x""#, "").await;
    assert!(in_band.get("error").is_some());
}
