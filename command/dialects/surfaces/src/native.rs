//! The native surface: its whole response, and its stream of `output.delta`, `output.tool_call` and `completed`.

mod described;
mod read;

use bytes::BytesMut;
use events::money::NanoUsd;
use events::refusal::Refusal;
use events::usage::Usage;
use intermediate::chat::{AnswerChoice, Feature, OutputBlock};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::{FinishReason, Receipt, json};
use openapi::refusals;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::sse::put_event;
use crate::{BrokenStream, ErrorForm, StreamHead, StreamWriter, SurfaceSpec, no_headers};

pub use self::NativeWriter as Writer;
pub use read::NativeRequest as Request;

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "native",
    paths: &[("/v1/inference/chat", "chat")],
    roots: &["/v1/inference/"],
    summary: "Creates a chat completion in the gateway's own dialect",
    describe: described::describe,
    unpriced_fields: Vec::new,
    read_headers: no_headers,
    shared_dialect: None,
    error_form: ErrorForm::Native,
    keeps_body: false,
    has_error_reason: true,
    answer,
    field_of,
    put_error,
    keep_alive: crate::KEEP_ALIVE_COMMENT,
};

const fn field_of(feature: Feature) -> Option<&'static str> {
    Some(match feature {
        Feature::TopK => "top_k",
        Feature::Seed => "seed",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::LogitBias => "logit_bias",
        Feature::Logprobs => "logprobs",
        Feature::Choices => "n",
        Feature::ToolRequired | Feature::ToolNamed => "tool_choice",
        Feature::OneToolCall => "parallel_tool_calls",
        Feature::StrictTools => "tools[].strict",
        Feature::JsonObject | Feature::JsonSchema => "response_format.type",
        Feature::ReasoningEffort => "reasoning.effort",
        Feature::ReasoningBudget => "reasoning.budget_tokens",
        Feature::EarlierReasoning => "messages[].content[].text",
        Feature::SignedReasoning => "messages[].content[].signature",
        Feature::ImageUrl => "messages[].content[].url",
        Feature::InlineImage => "messages[].content[].data",
        Feature::ImageDetail => "messages[].content[].detail",
        Feature::ToolImage => "messages[].content[].content",
        Feature::ToolError => "messages[].content[].is_error",
        Feature::SignedCall => "messages[].content[].signature",
        Feature::ServiceTier => "service_tier",
        Feature::User => "user",
        Feature::ReasoningAdaptive | Feature::ReasoningOff | Feature::ReasoningDisplay | Feature::ToolHints => {
            return None;
        }
        Feature::Document | Feature::CachePoint => return None,
    })
}

/// Writes a streamed response as native events.
#[derive(Default)]
pub struct NativeWriter {
    /// One for each choice.
    choices: Vec<WrittenChoice>,
}

/// A choice so far.
#[derive(Default)]
struct WrittenChoice {
    /// Id and name of each tool call, which every piece of it repeats.
    calls: Vec<(String, String)>,
    finish_reason: Option<FinishReason>,
}

#[derive(Serialize)]
struct OutputDelta<'a> {
    /// Only if it is not the first.
    #[serde(skip_serializing_if = "is_first")]
    choice: u32,
    index: usize,
    r#type: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct OutputToolCall<'a> {
    #[serde(skip_serializing_if = "is_first")]
    choice: u32,
    index: usize,
    id: &'a str,
    name: &'a str,
    arguments_delta: &'a str,
    /// In the first piece of a signed call.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

impl StreamWriter for NativeWriter {
    fn new(_: &StreamHead<'_>) -> Self {
        Self::default()
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        let (choice, index) = (delta.choice, delta.block);
        let written = self.choice(choice);
        let mut piece = OutputDelta {
            choice,
            index,
            r#type: "reasoning",
            text: "",
            signature: None,
            redacted: None,
            logprobs: None,
        };
        match delta.kind {
            DeltaKind::Text(text) => (piece.r#type, piece.text) = ("text", text),
            DeltaKind::Reasoning(text) => piece.text = text,
            DeltaKind::Signature(signature) => piece.signature = Some(signature),
            DeltaKind::Redacted(data) => piece.redacted = Some(data),
            DeltaKind::CallBegins { id, name, signature, .. } => {
                written.calls.push((id.to_owned(), name.to_owned()));
                return put_call(out, &OutputToolCall { choice, index, id, name, arguments_delta: "", signature });
            }
            DeltaKind::CallArguments { ordinal, piece } => {
                let (id, name) = written.calls.get(ordinal).map_or(("", ""), |(id, name)| (id, name));
                return put_call(
                    out,
                    &OutputToolCall { choice, index, id, name, arguments_delta: piece, signature: None },
                );
            }
            DeltaKind::Logprobs(logprobs) => {
                (piece.r#type, piece.logprobs) = ("text", serde_json::from_str(logprobs).ok());
            }
            DeltaKind::Finish(reason) => {
                written.finish_reason = Some(reason);
                return;
            }
        }
        put_event(out, "output.delta", &json::written(&piece));
    }

    /// Writes `completed`: the whole response without its output.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        let ended = |choice: &WrittenChoice| StreamedChoice { finish_reason: choice.finish_reason };
        let choices: Vec<_> = self.choices.iter().map(ended).collect();
        put_event(out, "completed", &json::written(&NativeAnswer::of(receipt, &choices)));
    }

    fn held_bytes(&self) -> usize {
        let call = |(id, name): &(String, String)| size_of::<(String, String)>() + id.capacity() + name.capacity();
        let calls = self.choices.iter().flat_map(|choice| &choice.calls).map(call).sum::<usize>();
        calls + self.choices.capacity() * size_of::<WrittenChoice>()
    }
}

impl NativeWriter {
    /// Returns the state of a choice. Readers bound their number.
    fn choice(&mut self, choice: u32) -> &mut WrittenChoice {
        let at = choice as usize;
        if self.choices.len() <= at {
            self.choices.resize_with(at + 1, WrittenChoice::default);
        }
        &mut self.choices[at]
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_first(choice: &u32) -> bool {
    *choice == 0
}

fn put_call(out: &mut BytesMut, call: &OutputToolCall<'_>) {
    put_event(out, "output.tool_call", &json::written(call));
}

#[derive(Serialize)]
struct NativeAnswer<'a, C> {
    request_id: &'a str,
    model: &'a str,
    backend: Backend<'a>,
    /// The output of the first choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a [OutputBlock]>,
    finish_reason: FinishReason,
    /// The log probabilities of the first choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a RawValue>,
    /// All of them, if there are several.
    #[serde(skip_serializing_if = "is_single")]
    choices: &'a [C],
    usage: &'a Usage,
    cost_usd: NanoUsd,
    price_version: u64,
    ledger: Ledger,
}

fn is_single<C>(choices: &[C]) -> bool {
    choices.len() < 2
}

/// A streamed choice at its end.
#[derive(Serialize)]
struct StreamedChoice {
    finish_reason: Option<FinishReason>,
}

#[derive(Serialize)]
struct Backend<'a> {
    provider: &'a str,
    model: &'a str,
}

#[derive(Serialize)]
struct Ledger {
    admitted_position: u64,
    settled_position: u64,
    held_usd: NanoUsd,
}

impl<'a, C> NativeAnswer<'a, C> {
    const fn of(receipt: &Receipt<'a>, choices: &'a [C]) -> Self {
        Self {
            request_id: receipt.request_id,
            model: receipt.frontend_model,
            backend: Backend { provider: receipt.provider, model: receipt.backend_model },
            output: None,
            finish_reason: receipt.finish_reason,
            logprobs: None,
            choices,
            usage: receipt.usage,
            cost_usd: receipt.cost_usd,
            price_version: receipt.price_version,
            ledger: Ledger {
                admitted_position: receipt.admitted_position,
                settled_position: receipt.settled_position,
                held_usd: receipt.held_usd,
            },
        }
    }
}

/// The body of a whole native response.
fn answer(choices: &[AnswerChoice], receipt: &Receipt<'_>) -> Vec<u8> {
    let first = choices.first();
    json::written(&NativeAnswer {
        output: Some(first.map_or(&[], |choice| &choice.output)),
        logprobs: first.and_then(|choice| choice.logprobs.as_deref()),
        ..NativeAnswer::of(receipt, choices)
    })
}

fn put_error(refusal: &Refusal, stream: &BrokenStream<'_>, out: &mut BytesMut) {
    put_event(out, "error", &json::written(&refusals::native_body(refusal, stream.request_id)));
}
