//! Responses and chunks of the legacy Completions API.

use bytes::BytesMut;
use intermediate::chat::{AnswerChoice, OutputBlock};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{FinishReason, Receipt, json};
use serde::Serialize;

use crate::ids::{created_unix_s, digits};
use crate::openai::{END, OpenAiUsage};
use crate::sse::put_data;
use crate::{StreamHead, StreamWriter};

/// `cmpl-` and the digits of the gateway's request id.
fn answer_id(request_id: &str) -> String {
    format!("cmpl-{}", digits(request_id))
}

const fn finish_word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Cancelled | FinishReason::Error => "stop",
    }
}

/// A whole response, or a chunk of one.
#[derive(Serialize)]
struct TextCompletion<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    /// The usage in a chunk is null on every one but the last if the client asked for usage, otherwise absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<OpenAiUsage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    text: &'a str,
    index: u32,
    /// Requests for them are refused: legacy completions have a form of their own.
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

/// Writes a whole response.
pub fn completion(choices: &[AnswerChoice], receipt: &Receipt<'_>) -> Vec<u8> {
    let texts: Vec<String> = choices.iter().map(|choice| choice.output.iter().filter_map(text).collect()).collect();
    let choices: Vec<_> = (0..)
        .zip(choices.iter().zip(&texts))
        .map(|(index, (choice, text))| {
            // The receipt's is that of the first choice, also if the upstream gave none.
            let reason = if index == 0 { None } else { choice.finish_reason }.unwrap_or(receipt.finish_reason);
            Choice { text, index, logprobs: None, finish_reason: Some(finish_word(reason)) }
        })
        .collect();
    json::written(&TextCompletion {
        id: &answer_id(receipt.request_id),
        object: "text_completion",
        created: created_unix_s(receipt.request_id),
        model: receipt.frontend_model,
        choices: &choices,
        usage: Some(Some((&receipt.usage.tokens).into())),
    })
}

fn text(block: &OutputBlock) -> Option<&str> {
    match block {
        OutputBlock::Text { text } => Some(text),
        OutputBlock::Reasoning { .. } | OutputBlock::ToolCall(_) => None,
    }
}

/// Writes a streamed response as chunks.
pub struct CompletionChunkWriter {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
}

impl StreamWriter for CompletionChunkWriter {
    fn new(head: &StreamHead<'_>) -> Self {
        Self {
            id: answer_id(head.request_id),
            model: head.frontend_model.to_owned(),
            created: head.created_unix_s,
            include_usage: head.include_usage,
        }
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        let (text, finish_reason) = match delta.kind {
            DeltaKind::Text(text) => (text, None),
            DeltaKind::Finish(reason) => ("", Some(finish_word(reason))),
            DeltaKind::Reasoning(_)
            | DeltaKind::Signature(_)
            | DeltaKind::Redacted(_)
            | DeltaKind::CallBegins { .. }
            | DeltaKind::CallArguments { .. }
            | DeltaKind::Logprobs(_) => return,
        };
        let choice = Choice { text, index: delta.choice, logprobs: None, finish_reason };
        self.put(&[choice], self.include_usage.then_some(None), out);
    }

    /// Writes the usage chunk, if the client asked for it, and the terminal marker.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        if self.include_usage {
            self.put(&[], Some(Some((&receipt.usage.tokens).into())), out);
        }
        put_data(out, END);
    }

    fn held_bytes(&self) -> usize {
        self.id.capacity() + self.model.capacity()
    }
}

impl CompletionChunkWriter {
    fn put(&self, choices: &[Choice<'_>], usage: Option<Option<OpenAiUsage>>, out: &mut BytesMut) {
        let Self { id, model, created, .. } = self;
        let chunk = TextCompletion { id, object: "text_completion", created: *created, model, choices, usage };
        put_data(out, &json::written(&chunk));
    }
}
