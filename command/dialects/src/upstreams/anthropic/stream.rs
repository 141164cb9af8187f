//! Reads an Anthropic stream into deltas.

use super::answer::{bytes, in_band, name_of, stop_reason, text_of};
use crate::chat::ANSWER_BLOCKS_MAX;
use crate::delta::{Delta, DeltaKind};
use crate::framing::Event;
use crate::json;
use crate::upstreams::{StreamReader, StreamState};
use crate::{FinishReason, Metered, UpstreamFault};

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("an event does not have the form of its type");

/// Reads one stream.
#[derive(Default)]
pub struct Reader {
    blocks: usize,
    calls: usize,
    open: Option<OpenBlock>,
}

/// The block that is being streamed.
struct OpenBlock {
    upstream_index: u64,
    /// Its number among the blocks with content; known once it has some.
    block: Option<usize>,
    call: Option<OpenCall>,
}

/// The members of an event, as raw values.
struct EventMembers<'a> {
    index: u64,
    block: Option<&'a str>,
    delta: Option<&'a str>,
    usage: Option<&'a str>,
}

struct OpenCall {
    ordinal: usize,
    /// Arguments at the beginning of the block, used if no pieces follow.
    whole: String,
    has_pieces: bool,
}

impl StreamReader for Reader {
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
        let members = EventMembers { index: index.and_then(json::integer).unwrap_or(0), block, delta, usage };
        match &*kind.and_then(json::string).unwrap_or_default() {
            "message_start" => begin(message, metered)?,
            "content_block_start" => self.open(&members, metered, each)?,
            "content_block_delta" => self.piece(&members, metered, each)?,
            "content_block_stop" => self.close(metered, each),
            "message_delta" => self.end(&members, metered, each)?,
            "message_stop" => {
                if metered.finish_reason.is_none() {
                    self.finish(FinishReason::Stop, metered, each);
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

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let call = self.open.as_ref().and_then(|open| open.call.as_ref());
        call.map_or(0, |call| call.whole.capacity())
    }
}

impl Reader {
    fn open(
        &mut self,
        event: &EventMembers<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        self.close(metered, each);
        if self.blocks == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        let [kind, text, thinking, signature, data, id, name, input] = json::pick(
            event.block.ok_or(MALFORMED)?,
            ["type", "text", "thinking", "signature", "data", "id", "name", "input"],
        )?;
        self.open = Some(OpenBlock { upstream_index: event.index, block: None, call: None });
        match &*text_of(kind)? {
            "text" => self.add_text(&text_of(text)?, DeltaKind::Text, metered, each),
            "thinking" => {
                self.add_text(&text_of(thinking)?, DeltaKind::Reasoning, metered, each);
                self.add_text(&text_of(signature)?, DeltaKind::Signature, metered, each);
            }
            "redacted_thinking" => self.add_text(&text_of(data)?, DeltaKind::Redacted, metered, each),
            "tool_use" => self.begin_call([id, name, input], metered, each)?,
            _ => {}
        }
        Ok(())
    }

    fn begin_call(
        &mut self,
        [id, name, input]: [Option<&str>; 3],
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let (id, name) = (name_of(id)?, name_of(name)?);
        let whole = input.unwrap_or("{}").to_owned();
        let ordinal = self.calls;
        self.calls += 1;
        let block = self.block_number();
        if let Some(open) = &mut self.open {
            open.call = Some(OpenCall { ordinal, whole, has_pieces: false });
        }
        metered.text_bytes += bytes(&name);
        each(Delta { block, kind: DeltaKind::CallBegins { ordinal, id: &id, name: &name } });
        Ok(())
    }

    fn piece(
        &mut self,
        event: &EventMembers<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        if self.open.as_ref().is_none_or(|open| open.upstream_index != event.index) {
            return Err(UpstreamFault::Malformed("a piece of a block that is not open"));
        }
        let [kind, text, thinking, signature, partial] =
            json::pick(event.delta.ok_or(MALFORMED)?, ["type", "text", "thinking", "signature", "partial_json"])?;
        match &*text_of(kind)? {
            "text_delta" => self.add_text(&text_of(text)?, DeltaKind::Text, metered, each),
            "thinking_delta" => self.add_text(&text_of(thinking)?, DeltaKind::Reasoning, metered, each),
            "signature_delta" => self.add_text(&text_of(signature)?, DeltaKind::Signature, metered, each),
            "input_json_delta" => self.arguments(&text_of(partial)?, metered, each),
            _ => {} // `citations_delta`
        }
        Ok(())
    }

    fn arguments(&mut self, piece: &str, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        // Arguments of the provider's built-in tools are not for the client.
        if piece.is_empty() || self.open.as_ref().is_none_or(|open| open.call.is_none()) {
            return;
        }
        let block = self.block_number();
        if let Some(call) = self.open.as_mut().and_then(|open| open.call.as_mut()) {
            call.has_pieces = true;
            metered.text_bytes += bytes(piece);
            each(Delta { block, kind: DeltaKind::CallArguments { ordinal: call.ordinal, piece } });
        }
    }

    /// Ends the open block. A call without pieces gets the arguments of its beginning, because clients expect JSON.
    fn close(&mut self, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        let Some(OpenBlock { block: Some(block), call: Some(call), .. }) = self.open.take() else { return };
        if !call.has_pieces {
            metered.text_bytes += bytes(&call.whole);
            each(Delta { block, kind: DeltaKind::CallArguments { ordinal: call.ordinal, piece: &call.whole } });
        }
    }

    fn add_text<'t>(
        &mut self,
        text: &'t str,
        kind: impl FnOnce(&'t str) -> DeltaKind<'t>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) {
        if text.is_empty() {
            return;
        }
        let delta = Delta { block: self.block_number(), kind: kind(text) };
        match delta.kind {
            DeltaKind::Text(text) => metered.text_bytes += bytes(text),
            DeltaKind::Reasoning(text) => metered.reasoning_bytes += bytes(text),
            _ => {}
        }
        each(delta);
    }

    /// The number of the open block.
    fn block_number(&mut self) -> usize {
        let next = self.blocks;
        let Some(open) = &mut self.open else { return next };
        *open.block.get_or_insert_with(|| {
            self.blocks += 1;
            next
        })
    }

    /// Reads `message_delta`: the stop reason, and the usage so far.
    fn end(
        &mut self,
        event: &EventMembers<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        if let Some(report) = event.usage {
            metered.add_report(report, true);
        }
        let [reason] = json::pick(event.delta.unwrap_or_default(), ["stop_reason"])?;
        if let Some(reason) = reason.and_then(stop_reason)
            && metered.finish_reason.is_none()
        {
            self.finish(reason, metered, each);
        }
        Ok(())
    }

    fn finish(&mut self, reason: FinishReason, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        self.close(metered, each);
        metered.finish_reason = Some(reason);
        each(Delta { block: self.blocks, kind: DeltaKind::Finish(reason) });
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
