//! An Anthropic stream as deltas.

use std::borrow::Cow;

use super::answer::{bytes, in_band, stop_reason};
use super::usage;
use crate::dialect::json;
use crate::dialect::native::{Delta, Said};
use crate::dialect::{FinishReason, Metered, UpstreamFault};

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("an event is not JSON");

/// Blocks of one answer.
const BLOCKS_MAX: usize = 1024;

/// Follows one stream.
#[derive(Default)]
pub struct Reader {
    blocks: usize,
    calls: usize,
    open: Option<Open>,
    ended: bool,
}

/// The block that is being said.
struct Open {
    upstream_index: u64,
    /// Its place among the blocks that are handed out; known once it says something.
    block: Option<usize>,
    call: Option<Call>,
}

struct Call {
    ordinal: usize,
    /// Arguments that came with the block's beginning, instead of in pieces after it.
    whole: String,
    has_pieces: bool,
}

impl Reader {
    /// `message_stop` was seen.
    pub const fn ended(&self) -> bool {
        self.ended
    }

    /// Takes one event's data and gives what it says.
    pub fn event(
        &mut self,
        data: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        json::check(data).map_err(|_| MALFORMED)?;
        let kind = json::field(data, "type").and_then(json::string).unwrap_or_default();
        match &*kind {
            "message_start" => begin(data, metered),
            "content_block_start" => self.open(data, metered, each)?,
            "content_block_delta" => self.piece(data, metered, each)?,
            "content_block_stop" => self.close(metered, each),
            "message_delta" => self.end(data, metered, each),
            "message_stop" => {
                self.ended = true;
                if metered.finish_reason.is_none() {
                    self.finish(FinishReason::Stop, metered, each);
                }
            }
            "error" => return Err(json::field(data, "error").map_or(MALFORMED, in_band)),
            _ => {} // `ping`, and what may come later
        }
        Ok(())
    }

    fn open(
        &mut self,
        data: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        self.close(metered, each);
        if self.blocks == BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        let block = json::field(data, "content_block").ok_or(MALFORMED)?;
        let upstream_index = json::field(data, "index").and_then(json::integer).unwrap_or(0);
        self.open = Some(Open { upstream_index, block: None, call: None });
        match &*text_of(block, "type")? {
            "text" => self.say(&text_of(block, "text")?, Said::Text, metered, each),
            "thinking" => {
                self.say(&text_of(block, "thinking")?, Said::Reasoning, metered, each);
                self.say(&text_of(block, "signature")?, Said::Signature, metered, each);
            }
            "redacted_thinking" => self.say(&text_of(block, "data")?, Said::Redacted, metered, each),
            "tool_use" => self.begin_call(block, metered, each)?,
            _ => {}
        }
        Ok(())
    }

    fn begin_call(
        &mut self,
        block: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let (id, name) = (text_of(block, "id")?, text_of(block, "name")?);
        let whole = json::field(block, "input").unwrap_or("{}").to_owned();
        let ordinal = self.calls;
        self.calls += 1;
        let place = self.place();
        if let Some(open) = &mut self.open {
            open.call = Some(Call { ordinal, whole, has_pieces: false });
        }
        metered.text_bytes += bytes(&name);
        each(Delta { block: place, said: Said::CallBegins { ordinal, id: &id, name: &name } });
        Ok(())
    }

    fn piece(
        &mut self,
        data: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let delta = json::field(data, "delta").ok_or(MALFORMED)?;
        let index = json::field(data, "index").and_then(json::integer).unwrap_or(0);
        if self.open.as_ref().is_none_or(|open| open.upstream_index != index) {
            return Err(UpstreamFault::Malformed("a piece of a block that is not open"));
        }
        match &*text_of(delta, "type")? {
            "text_delta" => self.say(&text_of(delta, "text")?, Said::Text, metered, each),
            "thinking_delta" => self.say(&text_of(delta, "thinking")?, Said::Reasoning, metered, each),
            "signature_delta" => self.say(&text_of(delta, "signature")?, Said::Signature, metered, each),
            "input_json_delta" => self.arguments(&text_of(delta, "partial_json")?, metered, each),
            _ => {} // `citations_delta`
        }
        Ok(())
    }

    fn arguments(&mut self, piece: &str, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        // What the provider's own tools are called with is not for the client.
        if piece.is_empty() || self.open.as_ref().is_none_or(|open| open.call.is_none()) {
            return;
        }
        let block = self.place();
        if let Some(call) = self.open.as_mut().and_then(|open| open.call.as_mut()) {
            call.has_pieces = true;
            metered.text_bytes += bytes(piece);
            each(Delta { block, said: Said::CallArguments { ordinal: call.ordinal, piece } });
        }
    }

    /// A call whose arguments did not come in pieces has them from its beginning: clients expect JSON, not nothing.
    fn close(&mut self, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        let Some(Open { block: Some(block), call: Some(call), .. }) = self.open.take() else { return };
        if !call.has_pieces {
            metered.text_bytes += bytes(&call.whole);
            each(Delta { block, said: Said::CallArguments { ordinal: call.ordinal, piece: &call.whole } });
        }
    }

    fn say<'t>(
        &mut self,
        text: &'t str,
        said: impl FnOnce(&'t str) -> Said<'t>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) {
        if text.is_empty() {
            return;
        }
        let delta = Delta { block: self.place(), said: said(text) };
        match delta.said {
            Said::Text(text) => metered.text_bytes += bytes(text),
            Said::Reasoning(text) => metered.reasoning_bytes += bytes(text),
            _ => {}
        }
        each(delta);
    }

    /// The place of the open block.
    fn place(&mut self) -> usize {
        let next = self.blocks;
        let Some(open) = &mut self.open else { return next };
        *open.block.get_or_insert_with(|| {
            self.blocks += 1;
            next
        })
    }

    /// `message_delta`: the stop reason, and the running total of the usage.
    fn end(&mut self, data: &str, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        if let Some(report) = json::field(data, "usage") {
            usage::keep(report, true, metered);
        }
        let reason = json::field(data, "delta").and_then(|delta| json::field(delta, "stop_reason"));
        if let Some(reason) = reason.and_then(stop_reason)
            && metered.finish_reason.is_none()
        {
            self.finish(reason, metered, each);
        }
    }

    fn finish(&mut self, reason: FinishReason, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        self.close(metered, each);
        metered.finish_reason = Some(reason);
        each(Delta { block: self.blocks, said: Said::Finish(reason) });
    }
}

fn begin(data: &str, metered: &mut Metered) {
    let Some(message) = json::field(data, "message") else { return };
    metered.keep_names(json::field(message, "id"), json::field(message, "model"));
    if let Some(report) = json::field(message, "usage") {
        usage::keep(report, false, metered);
    }
}

/// A string member; empty where it is absent.
fn text_of<'a>(object: &'a str, name: &str) -> Result<Cow<'a, str>, UpstreamFault> {
    match json::field(object, name) {
        Some(value) => json::string(value).ok_or(MALFORMED),
        None => Ok(Cow::Borrowed("")),
    }
}
