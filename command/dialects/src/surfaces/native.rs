//! The native surface: its whole response, and its stream of `output.delta`, `output.tool_call` and `completed`.

mod described;
mod read;

use bytes::{BufMut, BytesMut};
use events::money::NanoUsd;
use events::refusal::Refusal;
use events::usage::Usage;
use openapi::refusals;
use serde::Serialize;

use crate::chat::OutputBlock;
use crate::delta::{Delta, DeltaKind};
use crate::surfaces::{ErrorForm, StreamHead, StreamWriter, SurfaceSpec};
use crate::{FinishReason, Receipt, json, work};

pub use read::Request;

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "native",
    paths: &[("/v1/inference/chat", "chat")],
    roots: &["/v1/inference/"],
    summary: "Creates a chat completion in the gateway's own dialect",
    describe: described::describe,
    unpriced_fields: Vec::new,
    shared_dialect: None,
    error_form: ErrorForm::Native,
    keeps_body: false,
    answer,
    put_error,
};

/// Writes a streamed response as native events.
#[derive(Default)]
pub struct Writer {
    /// Id and name of each tool call, which every piece of it repeats.
    calls: Vec<(String, String)>,
}

#[derive(Serialize)]
struct OutputDelta<'a> {
    index: usize,
    r#type: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted: Option<&'a str>,
}

#[derive(Serialize)]
struct OutputToolCall<'a> {
    index: usize,
    id: &'a str,
    name: &'a str,
    arguments_delta: &'a str,
}

impl StreamWriter for Writer {
    fn new(_: &StreamHead<'_>) -> Self {
        Self::default()
    }

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        let index = delta.block;
        let mut piece = OutputDelta { index, r#type: "reasoning", text: "", signature: None, redacted: None };
        match delta.kind {
            DeltaKind::Text(text) => (piece.r#type, piece.text) = ("text", text),
            DeltaKind::Reasoning(text) => piece.text = text,
            DeltaKind::Signature(signature) => piece.signature = Some(signature),
            DeltaKind::Redacted(data) => piece.redacted = Some(data),
            DeltaKind::CallBegins { id, name, .. } => {
                self.calls.push((id.to_owned(), name.to_owned()));
                return put_event(out, "output.tool_call", &OutputToolCall { index, id, name, arguments_delta: "" });
            }
            DeltaKind::CallArguments { ordinal, piece } => {
                let (id, name) = self.calls.get(ordinal).map_or(("", ""), |(id, name)| (id, name));
                return put_event(out, "output.tool_call", &OutputToolCall { index, id, name, arguments_delta: piece });
            }
            DeltaKind::Finish(_) => return,
        }
        put_event(out, "output.delta", &piece);
    }

    /// Writes `completed`: the whole response without its output.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        put_event(out, "completed", &NativeAnswer::of(receipt, None));
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let call = |(id, name): &(String, String)| size_of::<(String, String)>() + id.capacity() + name.capacity();
        self.calls.iter().map(call).sum()
    }
}

/// Writes one event: its name, and its data on one line.
fn put_event(out: &mut BytesMut, name: &str, data: &(impl Serialize + ?Sized)) {
    let text = json::written(data);
    work::steps(text.len());
    out.reserve(text.len() + name.len() + 16);
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(&text);
    out.put_slice(b"\n\n");
}

#[derive(Serialize)]
struct NativeAnswer<'a> {
    request_id: &'a str,
    model: &'a str,
    backend: Backend<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a [OutputBlock]>,
    finish_reason: FinishReason,
    usage: &'a Usage,
    cost_usd: NanoUsd,
    price_version: u64,
    ledger: Ledger,
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

impl<'a> NativeAnswer<'a> {
    const fn of(receipt: &Receipt<'a>, output: Option<&'a [OutputBlock]>) -> Self {
        Self {
            request_id: receipt.request_id,
            model: receipt.frontend_model,
            backend: Backend { provider: receipt.provider, model: receipt.backend_model },
            output,
            finish_reason: receipt.finish_reason,
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
fn answer(output: &[OutputBlock], receipt: &Receipt<'_>) -> Vec<u8> {
    json::written(&NativeAnswer::of(receipt, Some(output)))
}

fn put_error(refusal: &Refusal, request_id: &str, out: &mut BytesMut) {
    put_event(out, "error", &refusals::native_body(refusal, request_id));
}
