//! A stream of text of each family.

use dialects::ProviderKind;
use dialects::provider_dialects::{self, Framing};
use testing::event_stream::frame;

pub struct Family {
    pub begin: Vec<u8>,
    /// The chunk of this number, in its frame.
    pub chunk: Box<dyn Fn(usize) -> Vec<u8>>,
    /// Its JSON alone.
    pub json: fn(usize) -> String,
}

pub fn family(kind: ProviderKind) -> Family {
    let framing = provider_dialects::of(kind).framing;
    let (begin, json): (&str, fn(usize) -> String) = match kind {
        ProviderKind::Anthropic => (ANTHROPIC_BEGIN, anthropic),
        ProviderKind::Bedrock => ("", bedrock),
        ProviderKind::Cohere => (COHERE_BEGIN, cohere),
        ProviderKind::Gemini | ProviderKind::Vertex => ("", gemini),
        ProviderKind::Ollama => ("", ollama),
        ProviderKind::Openai | ProviderKind::AzureOpenai | ProviderKind::Simulator => ("", openai),
    };
    let framed = move |json: &str| match framing {
        Framing::Sse => format!("data: {json}\n\n").into_bytes(),
        Framing::Lines => format!("{json}\n").into_bytes(),
        Framing::EventStream => frame(b"contentBlockDelta", json.as_bytes()),
    };
    let begin = begin.lines().flat_map(framed).collect();
    Family { begin, chunk: Box::new(move |number| framed(&json(number))), json }
}

const COHERE_BEGIN: &str = concat!(
    r#"{"type":"message-start","id":"c1","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#,
    "\n",
    r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#
);

const ANTHROPIC_BEGIN: &str = concat!(
    r#"{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":9,"output_tokens":1}}}"#,
    "\n",
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#
);

fn openai(number: usize) -> String {
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1790000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{{"content":" word{number}"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
    )
}

fn anthropic(number: usize) -> String {
    format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":" word{number}"}}}}"#)
}

fn ollama(number: usize) -> String {
    format!(
        r#"{{"model":"llama3.2","created_at":"2026-11-22T08:00:00.123456789Z","message":{{"role":"assistant","content":" word{number}"}},"done":false}}"#
    )
}

fn bedrock(number: usize) -> String {
    format!(r#"{{"contentBlockIndex":0,"delta":{{"text":" word{number}"}},"p":"abcdefghijklmnopqrstu"}}"#)
}

fn cohere(number: usize) -> String {
    format!(r#"{{"type":"content-delta","index":0,"delta":{{"message":{{"content":{{"text":" word{number}"}}}}}}}}"#)
}

fn gemini(number: usize) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":" word{number}"}}]}},"index":0}}],"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":{number},"totalTokenCount":{}}},"modelVersion":"gemini-2.5-flash","responseId":"r1"}}"#,
        number + 9
    )
}
