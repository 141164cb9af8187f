//! Responses and chunks of the OpenAI surface, translated from another dialect.

use bytes::BytesMut;
use intermediate::chat::{AnswerChoice, OutputBlock, ToolCall};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{FinishReason, Receipt, json};
use serde::Serialize;
use serde_json::value::RawValue;

use super::usage::OpenAiUsage;
use crate::ids::{created_unix_s, digits};
use crate::sse::put_data;
use crate::{StreamHead, StreamWriter};

/// The data of the event that ends a stream.
pub const END: &[u8] = b"[DONE]";

/// `chatcmpl-` and the digits of the gateway's request id.
fn answer_id(request_id: &str) -> String {
    format!("chatcmpl-{}", digits(request_id))
}

/// OpenAI's word for a finish reason.
const fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Cancelled | FinishReason::Error => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// The usage of a chunk. If the client asked for usage, it is null on every chunk but the last; otherwise it is absent.
type ChunkUsage = Option<Option<OpenAiUsage>>;

/// A whole response, or a chunk of one.
#[derive(Serialize)]
struct ChatCompletion<'a, C> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [C],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: ChunkUsage,
}

#[derive(Serialize)]
struct ChunkChoice<'a> {
    index: u32,
    delta: ChunkDelta<'a>,
    logprobs: Option<&'a RawValue>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct ChunkDelta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[Call<'a>; 1]>,
}

/// A tool call, or a piece of one.
#[derive(Serialize)]
struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<ExtraContent<'a>>,
}

/// The signature of a call, as Google's own OpenAI endpoint gives and takes it.
#[derive(Serialize)]
struct ExtraContent<'a> {
    google: GoogleContent<'a>,
}

#[derive(Serialize)]
struct GoogleContent<'a> {
    thought_signature: &'a str,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

/// The members that a call has and its later pieces lack.
struct CallBegins<'a> {
    id: &'a str,
    name: &'a str,
}

/// A call with its id and name, or a piece of one without them.
fn call<'a>(index: Option<usize>, begins: Option<CallBegins<'a>>, arguments: &'a str) -> Call<'a> {
    let (id, name) = begins.map(|CallBegins { id, name }| (id, name)).unzip();
    Call {
        index,
        id,
        r#type: id.map(|_| "function"),
        function: CalledFunction { name, arguments },
        extra_content: None,
    }
}

impl<'a> Call<'a> {
    fn signed(self, signature: Option<&'a str>) -> Self {
        let extra_content =
            signature.map(|thought_signature| ExtraContent { google: GoogleContent { thought_signature } });
        Self { extra_content, ..self }
    }
}

/// Writes a streamed response as chunks. Signatures of reasoning are left out, because chunks have no field for them.
pub struct ChatChunkWriter {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    /// The choices that have begun, a bit each.
    begun: u128,
}

impl StreamWriter for ChatChunkWriter {
    fn new(head: &StreamHead<'_>) -> Self {
        Self {
            id: answer_id(head.request_id),
            model: head.frontend_model.to_owned(),
            created: head.created_unix_s,
            include_usage: head.include_usage,
            begun: 0,
        }
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        let (mut chunk, mut logprobs, mut finish) = (ChunkDelta::default(), None, None);
        match delta.kind {
            DeltaKind::Text(text) => chunk.content = Some(text),
            DeltaKind::Reasoning(text) => chunk.reasoning_content = Some(text),
            DeltaKind::Signature(_) | DeltaKind::Redacted(_) => return,
            DeltaKind::CallBegins { ordinal, id, name, signature } => {
                chunk.tool_calls = Some([call(Some(ordinal), Some(CallBegins { id, name }), "").signed(signature)]);
            }
            DeltaKind::CallArguments { ordinal, piece } => {
                chunk.tool_calls = Some([call(Some(ordinal), None, piece)]);
            }
            DeltaKind::Logprobs(given) => logprobs = serde_json::from_str(given).ok(),
            DeltaKind::Finish(reason) => finish = Some(finish_word(reason)),
        }
        let index = delta.choice;
        let bit = 1_u128.checked_shl(index).unwrap_or(0);
        if self.begun & bit == 0 {
            self.begun |= bit;
            let delta = ChunkDelta { role: Some("assistant"), content: Some(""), ..ChunkDelta::default() };
            self.put(ChunkChoice { index, delta, logprobs: None, finish_reason: None }, out);
        }
        self.put(ChunkChoice { index, delta: chunk, logprobs, finish_reason: finish }, out);
    }

    /// Writes the usage chunk, if the client asked for it, and the terminal marker.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        if self.include_usage {
            let usage = Some(Some((&receipt.usage.tokens).into()));
            put_chunk(&self.id, &self.model, self.created, &[], usage, out);
        }
        put_data(out, END);
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

impl ChatChunkWriter {
    fn put(&self, choice: ChunkChoice<'_>, out: &mut BytesMut) {
        let usage = self.include_usage.then_some(None);
        put_chunk(&self.id, &self.model, self.created, &[choice], usage, out);
    }
}

fn put_chunk(id: &str, model: &str, created: i64, choices: &[ChunkChoice<'_>], usage: ChunkUsage, out: &mut BytesMut) {
    let chunk = ChatCompletion { id, object: "chat.completion.chunk", created, model, choices, usage };
    put_data(out, &json::written(&chunk));
}

/// Writes a usage chunk for an upstream that sent none, with the id of the chunks before it.
pub fn put_usage_chunk(receipt: &Receipt<'_>, upstream_id: Option<&str>, out: &mut BytesMut) {
    let id = upstream_id.map_or_else(|| answer_id(receipt.request_id), str::to_owned);
    let created = created_unix_s(receipt.request_id);
    put_chunk(&id, receipt.frontend_model, created, &[], Some(Some((&receipt.usage.tokens).into())), out);
}

#[derive(Serialize)]
struct CompletionChoice<'a> {
    index: u32,
    message: AnswerMessage<'a>,
    logprobs: Option<&'a RawValue>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct AnswerMessage<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

/// Writes the response of another dialect as a `chat.completion`.
pub fn completion(choices: &[AnswerChoice], receipt: &Receipt<'_>) -> Vec<u8> {
    let choices: Vec<_> = (0..).zip(choices).map(|(index, choice)| completion_choice(index, choice, receipt)).collect();
    json::written(&ChatCompletion {
        id: &answer_id(receipt.request_id),
        object: "chat.completion",
        created: created_unix_s(receipt.request_id),
        model: receipt.frontend_model,
        choices: &choices,
        usage: Some(Some((&receipt.usage.tokens).into())),
    })
}

fn completion_choice<'a>(index: u32, choice: &'a AnswerChoice, receipt: &Receipt<'_>) -> CompletionChoice<'a> {
    let (mut content, mut reasoning, mut tool_calls) = (None::<String>, None::<String>, Vec::new());
    for block in &choice.output {
        match block {
            OutputBlock::Text { text } => content.get_or_insert_default().push_str(text),
            OutputBlock::Reasoning { text, .. } => reasoning.get_or_insert_default().push_str(text),
            OutputBlock::ToolCall(ToolCall { id, name, arguments, signature }) => {
                tool_calls.push(call(None, Some(CallBegins { id, name }), arguments).signed(signature.as_deref()));
            }
        }
    }
    let message = AnswerMessage {
        role: "assistant",
        content,
        refusal: None,
        reasoning_content: reasoning.filter(|text| !text.is_empty()),
        tool_calls,
    };
    // The receipt's is that of the first choice, also if the upstream gave none.
    let finish_reason = if index == 0 { None } else { choice.finish_reason }.unwrap_or(receipt.finish_reason);
    let logprobs = choice.logprobs.as_deref();
    CompletionChoice { index, message, logprobs, finish_reason: finish_word(finish_reason) }
}
