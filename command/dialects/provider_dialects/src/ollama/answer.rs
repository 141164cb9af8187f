//! Reads Ollama's responses: one object, or a stream of such objects, the last of which is `done` and has the counts.

use intermediate::chat::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock, ToolCall};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::json::{self, Kind};
use intermediate::{FinishReason, Metered, UpstreamFault};

use super::usage::report_of;
use crate::answer_text::{bytes, name_or_empty, text_or_empty};
use crate::block_numbers::{BlockNumbers, TextKind};
use crate::{ProviderKind, StreamReader, StreamState};

/// The error in an object, if it has one.
pub fn fault_of(error: Option<&str>, object: &str) -> Result<(), UpstreamFault> {
    error.map_or(Ok(()), |_| Err(crate::in_band(ProviderKind::Ollama, object, true)))
}

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("an object without a message");

/// Reads one stream.
#[derive(Default)]
pub struct OllamaReader {
    blocks: BlockNumbers,
    calls: usize,
}

/// One object of a response.
struct OllamaPart<'a> {
    message: Option<&'a str>,
    is_done: bool,
}

impl<'a> OllamaPart<'a> {
    /// Reads an object, and measures all of it but its message. Errors: not JSON, an error in band.
    fn read(object: &'a str, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        json::check(object)?;
        let [error, model, created, message, done, reason] =
            json::pick(object, ["error", "model", "created_at", "message", "done", "done_reason"])?;
        fault_of(error, object)?;
        metered.keep_id_and_model(created, model);
        let is_done = done.and_then(json::boolean).unwrap_or(false);
        if is_done {
            if let Some(report) = report_of(object) {
                metered.add_report(&report, true);
            }
            metered.finish_reason = reason.and_then(done_reason);
        }
        Ok(Self { message: message.filter(|message| json::kind(message) == Kind::Object), is_done })
    }
}

/// The finish reason; `None` if there is none, or if it says nothing about the answer (`load`, `unload`).
fn done_reason(value: &str) -> Option<FinishReason> {
    match &*json::string(value)? {
        "length" => Some(FinishReason::Length),
        "load" | "unload" | "" => None,
        _ => Some(FinishReason::Stop),
    }
}

/// A message, or a piece of one.
struct Message<'a> {
    text: String,
    thinking: String,
    calls: Vec<&'a str>,
}

impl<'a> Message<'a> {
    fn read(message: &'a str) -> Result<Self, UpstreamFault> {
        let [content, thinking, calls] = json::pick(message, ["content", "thinking", "tool_calls"])?;
        let mut read =
            Self { text: text_or_empty(content)?.into(), thinking: text_or_empty(thinking)?.into(), calls: Vec::new() };
        let list = calls.filter(|calls| json::kind(calls) == Kind::Array);
        for call in list.map(json::elements).into_iter().flatten() {
            if read.calls.len() == ANSWER_BLOCKS_MAX {
                return Err(UpstreamFault::TooLarge);
            }
            read.calls.push(call?);
        }
        Ok(read)
    }
}

/// Reads a call and measures it. Most versions give calls no ids; clients need one for each.
fn call_of(call: &str, ordinal: usize, metered: &mut Metered) -> Result<ToolCall, UpstreamFault> {
    let [id, function] = json::pick(call, ["id", "function"])?;
    let [name, arguments] = json::pick(function.unwrap_or("{}"), ["name", "arguments"])?;
    let name = name_or_empty(name)?.into_owned();
    if name.is_empty() {
        return Err(UpstreamFault::Malformed("a call without a name"));
    }
    let id = match name_or_empty(id)? {
        id if id.is_empty() => made_id(metered.upstream_id.as_deref(), ordinal),
        id => id.into_owned(),
    };
    let arguments = match arguments {
        Some(arguments) if json::kind(arguments) == Kind::Object => arguments.to_owned(),
        Some(arguments) => json::string(arguments).map_or_else(|| arguments.to_owned(), Into::into),
        None => "{}".to_owned(),
    };
    let call = ToolCall { id, name, arguments, signature: None };
    metered.calls_tools = true;
    metered.add_text(&call.name);
    metered.add_text(&call.arguments);
    Ok(call)
}

/// An id from the response's time and the call's number, so that calls of a conversation differ.
fn made_id(created: Option<&str>, ordinal: usize) -> String {
    let digits: String = created.unwrap_or_default().chars().filter(char::is_ascii_digit).take(32).collect();
    format!("call_{digits}_{ordinal}")
}

/// The only choice of a whole response. Errors: not JSON, an error in band, no message, not done.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    let part = OllamaPart::read(body, metered)?;
    let message = Message::read(part.message.ok_or(MALFORMED)?)?;
    if !part.is_done {
        return Err(UpstreamFault::Truncated);
    }
    let mut output = Vec::new();
    metered.reasoning_bytes += bytes(&message.thinking);
    metered.add_text(&message.text);
    if !message.thinking.is_empty() {
        output.push(OutputBlock::Reasoning { text: message.thinking, signature: None, redacted: None });
    }
    if !message.text.is_empty() {
        output.push(OutputBlock::Text { text: message.text });
    }
    for (ordinal, call) in message.calls.into_iter().enumerate() {
        output.push(OutputBlock::ToolCall(call_of(call, ordinal, metered)?));
    }
    note_calls(metered);
    Ok(vec![AnswerChoice { output, finish_reason: metered.finish_reason, logprobs: None }])
}

/// Ollama says `stop` even if the model calls tools.
fn note_calls(metered: &mut Metered) {
    if metered.calls_tools && metered.finish_reason == Some(FinishReason::Stop) {
        metered.finish_reason = Some(FinishReason::ToolCalls);
    }
}

impl StreamReader for OllamaReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        let part = OllamaPart::read(event.data, metered)?;
        if let Some(message) = part.message {
            let message = Message::read(message)?;
            metered.reasoning_bytes += bytes(&message.thinking);
            metered.add_text(&message.text);
            for (kind, text) in [(TextKind::Reasoning, &message.thinking), (TextKind::Text, &message.text)] {
                if !text.is_empty() {
                    each(Delta { choice: 0, block: self.blocks.of_text(kind), kind: kind.delta(text) });
                }
            }
            for call in message.calls {
                self.call(&call_of(call, self.calls, metered)?, each)?;
            }
        }
        if !part.is_done {
            return Ok(StreamState::Open);
        }
        metered.conclude();
        note_calls(metered);
        let reason = metered.finish_reason.unwrap_or(FinishReason::Stop);
        each(Delta { choice: 0, block: self.blocks.count(), kind: DeltaKind::Finish(reason) });
        Ok(StreamState::Ended)
    }

    fn is_complete(&self, metered: &Metered) -> bool {
        metered.finish_reason.is_some()
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

impl OllamaReader {
    /// A call, which arrives whole.
    fn call(&mut self, call: &ToolCall, each: &mut impl FnMut(Delta<'_>)) -> Result<(), UpstreamFault> {
        if self.calls == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        let (block, ordinal) = (self.blocks.of_call(), self.calls);
        self.calls += 1;
        each(Delta {
            choice: 0,
            block,
            kind: DeltaKind::CallBegins { ordinal, id: &call.id, name: &call.name, signature: None },
        });
        each(Delta { choice: 0, block, kind: DeltaKind::CallArguments { ordinal, piece: &call.arguments } });
        Ok(())
    }
}
