//! Reads an Anthropic stream into deltas.

use intermediate::chat::ANSWER_BLOCKS_MAX;
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::{FinishReason, Metered, UpstreamFault, json};

use super::answer::{in_band, stop_reason};
use crate::answer_text::{bytes, name_of, text_of};
use crate::openai::chunk::with_calls;
use crate::{StreamReader, StreamState};

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("an event does not have the form of its type");

/// Reads one stream.
#[derive(Default)]
pub struct AnthropicReader {
    /// Blocks with content so far.
    blocks: usize,
    calls: usize,
    open: Option<AnthropicOpenBlock>,
}

/// The block that is being streamed.
struct AnthropicOpenBlock {
    upstream_index: u64,
    /// Its number among the blocks with content; known once it has some.
    block: Option<usize>,
    call: Option<OpenCall>,
    /// True if it has thoughts that can be read.
    shows_thoughts: bool,
}

struct OpenCall {
    ordinal: usize,
    /// Arguments at the beginning of the block, used if no pieces follow.
    whole: String,
    has_pieces: bool,
}

impl StreamReader for AnthropicReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        let data = event.data;
        json::check(data)?;
        let [kind, message, index, block, delta, usage, error] =
            json::pick(data, ["type", "message", "index", "content_block", "delta", "usage", "error"])?;
        let index = index.and_then(json::integer).unwrap_or(0);
        let mut reading = AnthropicReading { reader: self, metered, each };
        match &*kind.and_then(json::string).unwrap_or_default() {
            "message_start" => begin(message, reading.metered)?,
            "content_block_start" => reading.open(index, block)?,
            "content_block_delta" => reading.piece(index, delta)?,
            "content_block_stop" if reading.is_open(index) => reading.close(),
            "message_delta" => reading.end(delta, usage)?,
            "message_stop" => {
                if reading.metered.finish_reason.is_none() {
                    reading.finish(FinishReason::Stop);
                }
                return Ok(StreamState::Ended);
            }
            "error" if error.is_some() => return Err(in_band(data)),
            "error" => return Err(MALFORMED),
            _ => {} // `ping`, and unknown types
        }
        Ok(StreamState::Open)
    }

    fn is_complete(&self, metered: &Metered) -> bool {
        metered.finish_reason.is_some()
    }

    fn held_bytes(&self) -> usize {
        let call = self.open.as_ref().and_then(|open| open.call.as_ref());
        call.map_or(0, |call| call.whole.capacity())
    }
}

/// One event that is being read.
struct AnthropicReading<'r, F> {
    reader: &'r mut AnthropicReader,
    metered: &'r mut Metered,
    each: &'r mut F,
}

impl<F: FnMut(Delta<'_>)> AnthropicReading<'_, F> {
    fn open(&mut self, upstream_index: u64, block: Option<&str>) -> Result<(), UpstreamFault> {
        self.close();
        if self.reader.blocks == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        let [kind, text, thinking, signature, data, id, name, input] = json::pick(
            block.ok_or(MALFORMED)?,
            ["type", "text", "thinking", "signature", "data", "id", "name", "input"],
        )?;
        self.reader.open = Some(AnthropicOpenBlock { upstream_index, block: None, call: None, shows_thoughts: false });
        match &*text_of(kind)? {
            "text" => self.add_text(&text_of(text)?, DeltaKind::Text),
            "thinking" => {
                self.add_text(&text_of(thinking)?, DeltaKind::Reasoning);
                self.add_text(&text_of(signature)?, DeltaKind::Signature);
            }
            "redacted_thinking" => self.add_text(&text_of(data)?, DeltaKind::Redacted),
            "tool_use" => self.begin_call(&name_of(id)?, &name_of(name)?, input.unwrap_or("{}")),
            _ => {}
        }
        Ok(())
    }

    fn is_open(&self, upstream_index: u64) -> bool {
        self.reader.open.as_ref().is_some_and(|open| open.upstream_index == upstream_index)
    }

    fn begin_call(&mut self, id: &str, name: &str, input: &str) {
        let ordinal = self.reader.calls;
        self.reader.calls += 1;
        let block = self.block_number();
        if let Some(open) = &mut self.reader.open {
            open.call = Some(OpenCall { ordinal, whole: input.to_owned(), has_pieces: false });
        }
        self.metered.add_text(name);
        (self.each)(Delta { choice: 0, block, kind: DeltaKind::CallBegins { ordinal, id, name, signature: None } });
    }

    fn piece(&mut self, upstream_index: u64, delta: Option<&str>) -> Result<(), UpstreamFault> {
        if !self.is_open(upstream_index) {
            return Err(UpstreamFault::Malformed("a piece of a block that is not open"));
        }
        let [kind, text, thinking, signature, partial] =
            json::pick(delta.ok_or(MALFORMED)?, ["type", "text", "thinking", "signature", "partial_json"])?;
        match &*text_of(kind)? {
            "text_delta" => self.add_text(&text_of(text)?, DeltaKind::Text),
            "thinking_delta" => self.add_text(&text_of(thinking)?, DeltaKind::Reasoning),
            "signature_delta" => self.add_text(&text_of(signature)?, DeltaKind::Signature),
            "input_json_delta" => self.arguments(&text_of(partial)?),
            _ => {} // `citations_delta`
        }
        Ok(())
    }

    fn arguments(&mut self, piece: &str) {
        // Arguments of the provider's built-in tools are output, too, but only a client of this dialect gets them.
        if piece.is_empty() || self.reader.open.as_ref().is_none_or(|open| open.call.is_none()) {
            self.metered.add_text(piece);
            return;
        }
        let block = self.block_number();
        if let Some(call) = self.reader.open.as_mut().and_then(|open| open.call.as_mut()) {
            call.has_pieces = true;
            self.metered.add_text(piece);
            (self.each)(Delta { choice: 0, block, kind: DeltaKind::CallArguments { ordinal: call.ordinal, piece } });
        }
    }

    /// Ends the open block. A call without pieces gets the arguments of its beginning, because clients expect JSON.
    fn close(&mut self) {
        let Some(AnthropicOpenBlock { block: Some(block), call: Some(call), .. }) = self.reader.open.take() else {
            return;
        };
        if !call.has_pieces {
            self.metered.add_text(&call.whole);
            (self.each)(Delta {
                choice: 0,
                block,
                kind: DeltaKind::CallArguments { ordinal: call.ordinal, piece: &call.whole },
            });
        }
    }

    fn add_text<'t>(&mut self, text: &'t str, kind: impl FnOnce(&'t str) -> DeltaKind<'t>) {
        if text.is_empty() {
            return;
        }
        let delta = Delta { choice: 0, block: self.block_number(), kind: kind(text) };
        match delta.kind {
            DeltaKind::Text(text) => self.metered.add_text(text),
            DeltaKind::Reasoning(text) => {
                self.metered.reasoning_bytes += bytes(text);
                if let Some(open) = &mut self.reader.open {
                    open.shows_thoughts = true;
                }
            }
            // Thoughts that are not shown are in what encrypts them.
            DeltaKind::Signature(_) if self.reader.open.as_ref().is_some_and(|open| open.shows_thoughts) => {}
            DeltaKind::Signature(data) | DeltaKind::Redacted(data) => {
                self.metered.add_hidden_thoughts(data);
            }
            _ => {}
        }
        (self.each)(delta);
    }

    /// The number of the open block.
    fn block_number(&mut self) -> usize {
        let next = self.reader.blocks;
        let Some(open) = &mut self.reader.open else { return next };
        *open.block.get_or_insert_with(|| {
            self.reader.blocks += 1;
            next
        })
    }

    /// Reads `message_delta`: the stop reason, and the usage so far.
    fn end(&mut self, delta: Option<&str>, usage: Option<&str>) -> Result<(), UpstreamFault> {
        if let Some(report) = usage {
            self.metered.add_report(report, true);
        }
        let [reason] = json::pick(delta.unwrap_or_default(), ["stop_reason"])?;
        if let Some(reason) = reason.and_then(stop_reason)
            && self.metered.finish_reason.is_none()
        {
            self.finish(reason);
        }
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason) {
        self.close();
        let reason = with_calls(reason, self.reader.calls);
        self.metered.finish_reason = Some(reason);
        (self.each)(Delta { choice: 0, block: self.reader.blocks, kind: DeltaKind::Finish(reason) });
    }
}

fn begin(message: Option<&str>, metered: &mut Metered) -> Result<(), UpstreamFault> {
    let [id, model, usage] = json::pick(message.unwrap_or_default(), ["id", "model", "usage"])?;
    metered.keep_id_and_model(id, model);
    if let Some(report) = usage {
        metered.add_report(report, false);
    }
    Ok(())
}
