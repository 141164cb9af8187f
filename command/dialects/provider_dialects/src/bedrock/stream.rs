//! Reads a stream of ConverseStream into deltas.

use intermediate::chat::ANSWER_BLOCKS_MAX;
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::{FinishReason, Metered, UpstreamFault, json};

use super::answer::{id_of, is_built_in, stop_reason};
use super::exception;
use crate::answer_text::{bytes, name_of, text_of};
use crate::openai::chunk::with_calls;
use crate::{StreamReader, StreamState};

const MALFORMED: UpstreamFault = UpstreamFault::Malformed("an event does not have the form of its type");

/// Reads one stream.
#[derive(Default)]
pub struct BedrockReader {
    /// Blocks with content so far.
    blocks: usize,
    calls: usize,
    open: Option<BedrockOpenBlock>,
    /// `messageStop` was seen. The usage follows it.
    stopped: bool,
}

/// The block that is being streamed.
struct BedrockOpenBlock {
    upstream_index: u64,
    content: BedrockContent,
    /// True if it has thoughts that can be read.
    shows_thoughts: bool,
}

#[derive(Clone, Copy)]
enum BedrockContent {
    /// Nothing yet.
    Empty,
    Text(usize),
    Reasoning(usize),
    Call {
        block: usize,
        ordinal: usize,
        has_pieces: bool,
    },
    /// A call of a built-in tool, which is not for the client.
    Ignored,
}

impl StreamReader for BedrockReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        if event.is_error {
            return Err(exception::fault(event.name, event.data));
        }
        let data = event.data;
        json::check(data)?;
        let mut reading = BedrockReading { reader: self, metered, each };
        match event.name {
            "contentBlockStart" => reading.start(data)?,
            "contentBlockDelta" => reading.piece(data)?,
            "contentBlockStop" => reading.close(),
            "messageStop" => reading.stop(data)?,
            "metadata" => {
                let [usage, tier] = json::pick(data, ["usage", "serviceTier"])?;
                reading.metered.keep_service_tier(tier.and_then(|tier| json::field(tier, "type")));
                if let Some(report) = usage {
                    reading.metered.add_report(report, true);
                }
                // It is the last event.
                return Ok(if self.stopped { StreamState::Ended } else { StreamState::Open });
            }
            _ => {} // `messageStart`, and unknown events
        }
        Ok(StreamState::Open)
    }

    fn is_complete(&self, metered: &Metered) -> bool {
        metered.finish_reason.is_some()
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

/// One event that is being read.
struct BedrockReading<'r, F> {
    reader: &'r mut BedrockReader,
    metered: &'r mut Metered,
    each: &'r mut F,
}

impl<F: FnMut(Delta<'_>)> BedrockReading<'_, F> {
    fn start(&mut self, data: &str) -> Result<(), UpstreamFault> {
        let [index, start] = json::pick(data, ["contentBlockIndex", "start"])?;
        let [call] = json::pick(start.unwrap_or("{}"), ["toolUse"])?;
        let Some(call) = call else {
            // Its pieces say what it is: text, an image, the result of a built-in tool.
            self.open(index_of(index), BedrockContent::Empty);
            return Ok(());
        };
        let [id, name, kind] = json::pick(call, ["toolUseId", "name", "type"])?;
        if is_built_in(kind) {
            self.open(index_of(index), BedrockContent::Ignored);
            return Ok(());
        }
        let (block, ordinal) = (self.next_block()?, self.reader.calls);
        let (id, name) = (id_of(id, block)?, name_of(name)?);
        self.reader.calls += 1;
        self.open(index_of(index), BedrockContent::Call { block, ordinal, has_pieces: false });
        self.metered.calls_tools = true;
        self.metered.add_text(&name);
        let kind = DeltaKind::CallBegins { ordinal, id: &id, name: &name, signature: None };
        (self.each)(Delta { choice: 0, block, kind });
        Ok(())
    }

    fn piece(&mut self, data: &str) -> Result<(), UpstreamFault> {
        let [index, delta] = json::pick(data, ["contentBlockIndex", "delta"])?;
        let index = index_of(index);
        // A block of text or reasoning may have no start.
        if self.reader.open.as_ref().is_none_or(|open| open.upstream_index != index) {
            self.open(index, BedrockContent::Empty);
        }
        let [text, call, reasoning] = json::pick(delta.unwrap_or("{}"), ["text", "toolUse", "reasoningContent"])?;
        if let Some(text) = text {
            self.add_text(&text_of(Some(text))?)?;
        }
        if let Some(reasoning) = reasoning {
            let [text, signature, redacted] = json::pick(reasoning, ["text", "signature", "redactedContent"])?;
            self.add_reasoning(&text_of(text)?, DeltaKind::Reasoning)?;
            self.add_reasoning(&text_of(signature)?, DeltaKind::Signature)?;
            self.add_reasoning(&text_of(redacted)?, DeltaKind::Redacted)?;
        }
        if let Some(call) = call {
            let [input] = json::pick(call, ["input"])?;
            self.add_arguments(&text_of(input)?)?;
        }
        Ok(())
    }

    /// Opens a block. The one before it ends, whether or not the upstream said so.
    fn open(&mut self, upstream_index: u64, content: BedrockContent) {
        self.close();
        self.reader.open = Some(BedrockOpenBlock { upstream_index, content, shows_thoughts: false });
    }

    /// Ends the open block. A call without pieces gets empty arguments, because clients expect JSON.
    fn close(&mut self) {
        let Some(BedrockOpenBlock { content: BedrockContent::Call { block, ordinal, has_pieces: false }, .. }) =
            self.reader.open.take()
        else {
            return;
        };
        self.send_arguments(block, ordinal, "{}");
    }

    fn add_text(&mut self, text: &str) -> Result<(), UpstreamFault> {
        let block = match self.content() {
            BedrockContent::Ignored => return Ok(()),
            _ if text.is_empty() => return Ok(()),
            BedrockContent::Text(block) => block,
            _ => self.begin(BedrockContent::Text)?,
        };
        self.metered.add_text(text);
        (self.each)(Delta { choice: 0, block, kind: DeltaKind::Text(text) });
        Ok(())
    }

    fn add_reasoning<'t>(
        &mut self,
        text: &'t str,
        kind: impl FnOnce(&'t str) -> DeltaKind<'t>,
    ) -> Result<(), UpstreamFault> {
        let block = match self.content() {
            BedrockContent::Ignored => return Ok(()),
            _ if text.is_empty() => return Ok(()),
            BedrockContent::Reasoning(block) => block,
            _ => self.begin(BedrockContent::Reasoning)?,
        };
        let kind = kind(text);
        match kind {
            DeltaKind::Reasoning(text) => {
                self.metered.reasoning_bytes += bytes(text);
                if let Some(open) = &mut self.reader.open {
                    open.shows_thoughts = true;
                }
            }
            // Thoughts that are not shown are in what encrypts them.
            DeltaKind::Signature(_) if self.reader.open.as_ref().is_some_and(|open| open.shows_thoughts) => {}
            _ => self.metered.add_hidden_thoughts(text),
        }
        (self.each)(Delta { choice: 0, block, kind });
        Ok(())
    }

    fn add_arguments(&mut self, piece: &str) -> Result<(), UpstreamFault> {
        match self.content() {
            BedrockContent::Ignored => Ok(()),
            BedrockContent::Call { .. } if piece.is_empty() => Ok(()),
            BedrockContent::Call { block, ordinal, .. } => {
                self.set_content(BedrockContent::Call { block, ordinal, has_pieces: true });
                self.send_arguments(block, ordinal, piece);
                Ok(())
            }
            BedrockContent::Empty | BedrockContent::Text(_) | BedrockContent::Reasoning(_) => {
                Err(UpstreamFault::Malformed("arguments of a call that has not begun"))
            }
        }
    }

    fn send_arguments(&mut self, block: usize, ordinal: usize, piece: &str) {
        self.metered.add_text(piece);
        (self.each)(Delta { choice: 0, block, kind: DeltaKind::CallArguments { ordinal, piece } });
    }

    fn content(&self) -> BedrockContent {
        self.reader.open.as_ref().map_or(BedrockContent::Empty, |open| open.content)
    }

    fn set_content(&mut self, content: BedrockContent) {
        if let Some(open) = &mut self.reader.open {
            open.content = content;
        }
    }

    /// Begins content of another kind in the open block.
    fn begin(&mut self, content: fn(usize) -> BedrockContent) -> Result<usize, UpstreamFault> {
        if matches!(self.content(), BedrockContent::Call { .. }) {
            return Err(MALFORMED);
        }
        let block = self.next_block()?;
        self.set_content(content(block));
        Ok(block)
    }

    fn next_block(&mut self) -> Result<usize, UpstreamFault> {
        let block = self.reader.blocks;
        if block == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        self.reader.blocks += 1;
        Ok(block)
    }

    fn stop(&mut self, data: &str) -> Result<(), UpstreamFault> {
        let [reason] = json::pick(data, ["stopReason"])?;
        self.close();
        self.reader.stopped = true;
        if self.metered.finish_reason.is_none() {
            let reason = reason.and_then(stop_reason).unwrap_or(FinishReason::Stop);
            let reason = with_calls(reason, self.reader.calls);
            self.metered.finish_reason = Some(reason);
            (self.each)(Delta { choice: 0, block: self.reader.blocks, kind: DeltaKind::Finish(reason) });
        }
        Ok(())
    }
}

fn index_of(value: Option<&str>) -> u64 {
    value.and_then(json::integer).unwrap_or(0)
}
