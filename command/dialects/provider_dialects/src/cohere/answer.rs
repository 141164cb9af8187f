//! Reads Cohere's responses: one object, or a stream of events that ends with `message-end`, which has the usage.

use std::borrow::Cow;
use std::collections::BTreeMap;

use intermediate::chat::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock, ToolCall};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::json::{self, Kind};
use intermediate::{FinishReason, Metered, UpstreamFault};

use crate::answer_text::{bytes, name_or_empty, text_or_empty};
use crate::block_numbers::{BlockNumbers, TextKind};
use crate::{ProviderKind, StreamReader, StreamState};

/// Reads one stream.
#[derive(Default)]
pub struct CohereReader {
    blocks: BlockNumbers,
    calls: Vec<CohereStartedCall>,
    /// The newest call at each of the upstream's indices, as an index of `calls`.
    newest: BTreeMap<u64, usize>,
}

struct CohereStartedCall {
    block: usize,
}

/// The only choice of a whole response. Errors: not JSON, an error in band, no message.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    json::check(body)?;
    let [error, id, finish, message, usage] = json::pick(body, ["error", "id", "finish_reason", "message", "usage"])?;
    end(metered, usage, finish);
    let message = message.filter(|message| json::kind(message) == Kind::Object);
    let Some(message) = message.filter(|_| error.is_none()) else {
        return Err(in_band(body));
    };
    metered.keep_id_and_model(id, None);
    let [content, plan, calls] = json::pick(message, ["content", "tool_plan", "tool_calls"])?;
    let mut output = Vec::new();
    let mut add = |kind, text: Cow<'_, str>| {
        measure(kind, &text, metered);
        let text = text.into_owned();
        match kind {
            _ if text.is_empty() => {}
            TextKind::Text => output.push(OutputBlock::Text { text }),
            TextKind::Reasoning => output.push(OutputBlock::Reasoning { text, signature: None, redacted: None }),
        }
        if output.len() > ANSWER_BLOCKS_MAX { Err(UpstreamFault::TooLarge) } else { Ok(()) }
    };
    add(TextKind::Reasoning, text_or_empty(plan)?)?;
    match content {
        Some(content) if json::kind(content) == Kind::Array => {
            for part in json::elements(content) {
                let [text, thinking] = json::pick(part?, ["text", "thinking"])?;
                add(TextKind::Reasoning, text_or_empty(thinking)?)?;
                add(TextKind::Text, text_or_empty(text)?)?;
            }
        }
        content => add(TextKind::Text, text_or_empty(content)?)?,
    }
    for (ordinal, call) in elements(calls).enumerate() {
        if output.len() == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        output.push(OutputBlock::ToolCall(call_of(call?, ordinal, metered)?));
    }
    conclude(metered)?;
    Ok(vec![AnswerChoice { output, finish_reason: metered.finish_reason, logprobs: None }])
}

impl StreamReader for CohereReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        if event.data.trim_ascii() == "[DONE]" {
            return self.end(metered, each);
        }
        json::check(event.data)?;
        let [error, kind, id, index, delta, message] =
            json::pick(event.data, ["error", "type", "id", "index", "delta", "message"])?;
        let kind = kind.and_then(json::string).unwrap_or(Cow::Borrowed(event.name));
        if event.name == "error" || kind == "error" || error.is_some() || message.is_some() && delta.is_none() {
            return Err(in_band(event.data));
        }
        let delta = delta.filter(|delta| json::kind(delta) == Kind::Object).unwrap_or("{}");
        match &*kind {
            "message-start" => metered.keep_id_and_model(id, None),
            "content-start" => {
                // A block of its own, even after another of its kind.
                self.blocks.end_text();
                self.text(json::field(delta, "message"), metered, each)?;
            }
            "content-delta" | "tool-plan-delta" => self.text(json::field(delta, "message"), metered, each)?,
            "tool-call-start" | "tool-call-delta" => {
                let calls = json::field(delta, "message").and_then(|message| json::field(message, "tool_calls"));
                let index = index.and_then(json::integer).unwrap_or(0);
                self.call(index, calls, &kind == "tool-call-start", metered, each)?;
            }
            "message-end" => {
                let [usage, finish] = json::pick(delta, ["usage", "finish_reason"])?;
                end(metered, usage, finish);
                return self.end(metered, each);
            }
            // Ends of blocks, citations, and what later versions add.
            _ => {}
        }
        Ok(StreamState::Open)
    }

    fn is_complete(&self, metered: &Metered) -> bool {
        metered.finish_reason.is_some()
    }

    fn held_bytes(&self) -> usize {
        self.calls.capacity() * size_of::<CohereStartedCall>() + self.newest.len() * size_of::<(u64, usize)>()
    }
}

impl CohereReader {
    /// Concludes the measurements. Errors: the response ended with an error.
    fn end(&self, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) -> Result<StreamState, UpstreamFault> {
        conclude(metered)?;
        let reason = metered.finish_reason.unwrap_or(FinishReason::Stop);
        each(Delta { choice: 0, block: self.blocks.count(), kind: DeltaKind::Finish(reason) });
        Ok(StreamState::Ended)
    }

    /// Reads a piece of the content or of the tool plan.
    fn text(
        &mut self,
        message: Option<&str>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let [content, plan] = json::pick(message.unwrap_or("{}"), ["content", "tool_plan"])?;
        let content = content.filter(|content| json::kind(content) == Kind::Object).unwrap_or("{}");
        let [text, thinking] = json::pick(content, ["text", "thinking"])?;
        for (kind, value) in [(TextKind::Reasoning, plan), (TextKind::Reasoning, thinking), (TextKind::Text, text)] {
            let text = text_or_empty(value)?;
            if text.is_empty() {
                continue;
            }
            measure(kind, &text, metered);
            if !self.blocks.continues(kind) {
                self.must_fit()?;
            }
            each(Delta { choice: 0, block: self.blocks.of_text(kind), kind: kind.delta(&text) });
        }
        Ok(())
    }

    /// Errors: there are too many blocks for another one.
    const fn must_fit(&self) -> Result<(), UpstreamFault> {
        if self.blocks.count() == ANSWER_BLOCKS_MAX { Err(UpstreamFault::TooLarge) } else { Ok(()) }
    }

    /// Reads the beginning of a call, or a piece of its arguments. Some servers send a list of one.
    fn call(
        &mut self,
        index: u64,
        calls: Option<&str>,
        begins: bool,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let call = match calls {
            Some(list) if json::kind(list) == Kind::Array => json::elements(list).next().transpose()?,
            call => call,
        };
        let call = call.unwrap_or("{}");
        if begins {
            let begun = call_of(call, self.calls.len(), metered)?;
            self.must_fit()?;
            let (block, ordinal) = (self.blocks.of_call(), self.calls.len());
            self.calls.push(CohereStartedCall { block });
            self.newest.insert(index, ordinal);
            let kind = DeltaKind::CallBegins { ordinal, id: &begun.id, name: &begun.name, signature: None };
            each(Delta { choice: 0, block, kind });
            if !begun.arguments.is_empty() {
                each(Delta { choice: 0, block, kind: DeltaKind::CallArguments { ordinal, piece: &begun.arguments } });
            }
            return Ok(());
        }
        let started = self.newest.get(&index).and_then(|ordinal| Some((*ordinal, self.calls.get(*ordinal)?)));
        let (ordinal, CohereStartedCall { block }) =
            started.ok_or(UpstreamFault::Malformed("arguments of a call that has not begun"))?;
        let piece =
            text_or_empty(json::field(call, "function").and_then(|function| json::field(function, "arguments")))?;
        metered.add_text(&piece);
        if !piece.is_empty() {
            each(Delta { choice: 0, block: *block, kind: DeltaKind::CallArguments { ordinal, piece: &piece } });
        }
        Ok(())
    }
}

/// Records the end of a response.
fn end(metered: &mut Metered, usage: Option<&str>, finish: Option<&str>) {
    if let Some(usage) = usage {
        metered.add_report(usage, true);
    }
    metered.finish_reason = finish.and_then(finish_reason).or(metered.finish_reason);
}

fn finish_reason(value: &str) -> Option<FinishReason> {
    let word = json::string(value)?;
    Some(match &*word {
        "" => return None,
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        "ERROR" | "TIMEOUT" => FinishReason::Error,
        _ => FinishReason::Stop, // `COMPLETE`, `STOP_SEQUENCE`, and what later versions add
    })
}

/// Concludes the measurements. Errors: the response ended with an error. It is not the request's fault: that has a status
/// of its own.
fn conclude(metered: &mut Metered) -> Result<(), UpstreamFault> {
    metered.conclude();
    match metered.finish_reason {
        Some(FinishReason::Error) => Err(UpstreamFault::UNEXPLAINED),
        Some(FinishReason::Stop) if metered.calls_tools => {
            metered.finish_reason = Some(FinishReason::ToolCalls);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The error in place of a response: `{"message"}`, as with other statuses.
pub fn in_band(text: &str) -> UpstreamFault {
    let [error, message] = json::find(text, ["error", "message"]);
    match error.or(message) {
        Some(_) => crate::in_band(ProviderKind::Cohere, text, true),
        None => UpstreamFault::Malformed("an object without a response"),
    }
}

/// Reads a call and measures it.
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
    let call = ToolCall { id, name, arguments: text_or_empty(arguments)?.into_owned(), signature: None };
    metered.calls_tools = true;
    metered.add_text(&call.name);
    metered.add_text(&call.arguments);
    Ok(call)
}

/// An id from the response's and the call's number, so that calls of a conversation differ.
fn made_id(response: Option<&str>, ordinal: usize) -> String {
    let letters: String = response.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    format!("call_{letters}_{ordinal}")
}

fn measure(kind: TextKind, text: &str, metered: &mut Metered) {
    match kind {
        TextKind::Text => metered.add_text(text),
        TextKind::Reasoning => metered.reasoning_bytes += bytes(text),
    }
}

fn elements(list: Option<&str>) -> impl Iterator<Item = Result<&str, json::JsonFault>> {
    list.filter(|list| json::kind(list) == Kind::Array).map(json::elements).into_iter().flatten()
}
