//! Reads a stream of Gemini into deltas. It has no terminal marker: each candidate ends with its finish reason, and usage
//! may follow.

use intermediate::chat::ANSWER_BLOCKS_MAX;
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::{FinishReason, Metered, UpstreamFault};

use super::SIGNED_BY_GEMINI;
use super::candidate::{Candidate, CandidatePart, Response};
use crate::block_numbers::{BlockNumbers, TextKind};
use crate::openai::chunk::{Choices, note_finish, with_calls};
use crate::{StreamReader, StreamState};

/// Reads one stream.
#[derive(Default)]
pub struct GeminiReader {
    choices: Choices,
    /// Indexed by choice.
    blocks: Vec<GeminiBlocks>,
    /// Calls of all choices.
    calls: usize,
    is_blocked: bool,
}

/// The blocks of a choice so far.
#[derive(Default)]
struct GeminiBlocks {
    numbers: BlockNumbers,
    calls: usize,
    is_finished: bool,
}

impl StreamReader for GeminiReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        let Response { candidates, is_blocked } = Response::read(event.data, metered)?;
        for candidate in candidates {
            self.candidate(candidate, metered, each)?;
        }
        if is_blocked && !self.is_blocked && self.blocks.is_empty() {
            self.is_blocked = true;
            metered.finish_reason = Some(FinishReason::ContentFilter);
            each(Delta { choice: 0, block: 0, kind: DeltaKind::Finish(FinishReason::ContentFilter) });
        }
        Ok(StreamState::Open)
    }

    fn is_complete(&self, _: &Metered) -> bool {
        self.is_blocked || self.choices.all_finished()
    }

    fn held_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<GeminiBlocks>()
    }
}

impl GeminiReader {
    fn candidate(
        &mut self,
        candidate: Candidate<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let Candidate { index: choice, parts, logprobs, finish } = candidate;
        for part in parts {
            self.part(choice, part, metered, each)?;
        }
        let Some(blocks) = blocks_of(&mut self.blocks, choice) else { return Ok(()) };
        if let Some(logprobs) = &logprobs {
            each(Delta { choice, block: blocks.numbers.last(), kind: DeltaKind::Logprobs(logprobs) });
        }
        self.choices.note(choice.into(), finish.is_some());
        if let Some(reason) = finish.map(|finish| with_calls(finish, blocks.calls))
            && !blocks.is_finished
        {
            blocks.is_finished = true;
            note_finish(metered, choice.into(), Some(reason));
            each(Delta { choice, block: blocks.numbers.count(), kind: DeltaKind::Finish(reason) });
        }
        Ok(())
    }

    fn part(
        &mut self,
        choice: u32,
        part: CandidatePart<'_>,
        metered: &Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let Some(blocks) = blocks_of(&mut self.blocks, choice) else { return Ok(()) };
        let CandidatePart { text, is_thought, signature, call } = part;
        if let Some(call) = call {
            if self.calls == ANSWER_BLOCKS_MAX {
                return Err(UpstreamFault::TooLarge);
            }
            self.calls += 1;
            let (block, ordinal) = (blocks.numbers.of_call(), blocks.calls);
            blocks.calls += 1;
            let call = call.with_id(signature, choice, ordinal, metered.upstream_id.as_deref());
            let (id, name, signature) = (&call.id, &call.name, call.signature.as_deref());
            each(Delta { choice, block, kind: DeltaKind::CallBegins { ordinal, id, name, signature } });
            each(Delta { choice, block, kind: DeltaKind::CallArguments { ordinal, piece: &call.arguments } });
            return Ok(());
        }
        if !text.is_empty() {
            let kind = if is_thought { TextKind::Reasoning } else { TextKind::Text };
            each(Delta { choice, block: blocks.numbers.of_text(kind), kind: kind.delta(&text) });
        }
        if let Some(signature) = signature {
            // That of a text is in a block of its own. It ends a block in either case.
            let block = blocks.numbers.of_text(TextKind::Reasoning);
            blocks.numbers.end_text();
            let signature = [SIGNED_BY_GEMINI, &signature].concat();
            each(Delta { choice, block, kind: DeltaKind::Signature(&signature) });
        }
        Ok(())
    }
}

/// The blocks of a choice, of which there are at most 128.
fn blocks_of(blocks: &mut Vec<GeminiBlocks>, choice: u32) -> Option<&mut GeminiBlocks> {
    let at = choice as usize;
    if blocks.len() <= at {
        blocks.resize_with(at + 1, GeminiBlocks::default);
    }
    blocks.get_mut(at)
}
