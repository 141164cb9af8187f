//! Reads responses of an OpenAI-compatible upstream for other surfaces: the first choice, as deltas or blocks.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::chunk::{CallPiece, Choices, Piece, choices_of, chunk_of, measure, note_finish, read_choice, top_level};
use crate::chat::{ANSWER_BLOCKS_MAX, OutputBlock, ToolCall};
use crate::delta::{Delta, DeltaKind};
use crate::framing::Event;
use crate::json::{self, Kind};
use crate::metered::bounded_name;
use crate::upstreams::{StreamReader, StreamState};
use crate::{Metered, UpstreamFault};

/// Reads the first choice of one stream into deltas.
#[derive(Default)]
pub struct Reader {
    choices: Choices,
    blocks: Blocks,
}

/// The blocks of the response so far, and the open one.
#[derive(Default)]
pub(super) struct Blocks {
    count: usize,
    open: Option<BlockKind>,
    calls: Vec<StartedCall>,
    /// The newest call at each of the upstream's indices, as an index of `calls`.
    newest: BTreeMap<u64, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Reasoning,
    Call,
}

struct StartedCall {
    id: String,
    block: usize,
}

impl Blocks {
    fn of(&mut self, kind: BlockKind) -> usize {
        if self.open != Some(kind) {
            self.open = Some(kind);
            self.count += 1;
        }
        self.count - 1
    }

    /// The call that a piece belongs to, its block, and true if the call begins here. It begins if its index is new or
    /// its id differs, because some servers put every call at index 0.
    fn call(&mut self, index: u64, id: &str) -> Result<(usize, usize, bool), UpstreamFault> {
        let known = self.newest.get(&index).and_then(|ordinal| Some((*ordinal, self.calls.get(*ordinal)?)));
        if let Some((ordinal, call)) = known
            && (id.is_empty() || call.id == id || call.id.is_empty())
        {
            return Ok((ordinal, call.block, false));
        }
        let ordinal = self.calls.len();
        if ordinal == ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        // Each call is a block of its own.
        self.open = None;
        let block = self.of(BlockKind::Call);
        self.calls.push(StartedCall { id: id.to_owned(), block });
        self.newest.insert(index, ordinal);
        Ok((ordinal, block, true))
    }
}

impl StreamReader for Reader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        match chunk_of(event, metered)? {
            Some(chunk) => self.chunk(chunk, metered, each).map(|()| StreamState::Open),
            None => Ok(StreamState::Ended),
        }
    }

    fn is_complete(&self, _: &Metered) -> bool {
        self.choices.all_finished()
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        let call = |call: &StartedCall| size_of::<StartedCall>() + size_of::<(u64, usize)>() + call.id.capacity();
        self.blocks.calls.iter().map(call).sum()
    }
}

impl Reader {
    /// Reads one chunk, and calls `each` for the content of its first choice.
    fn chunk(
        &mut self,
        text: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let top = top_level(text, metered)?;
        let mut pieces = 0;
        for choice in choices_of(top.choices) {
            read_choice(choice?, &mut |index, piece| {
                pieces += usize::from(!matches!(piece, Piece::End(_)));
                if pieces > ANSWER_BLOCKS_MAX {
                    return Err(UpstreamFault::TooLarge);
                }
                measure(&piece, metered);
                match piece {
                    Piece::End(finish) => {
                        self.choices.note(index, finish.is_some());
                        note_finish(metered, index, finish);
                        if let (0, Some(finish)) = (index, finish) {
                            each(Delta { block: self.blocks.count, kind: DeltaKind::Finish(finish) });
                        }
                    }
                    piece if index == 0 => self.piece(&piece, each)?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn piece(&mut self, piece: &Piece<'_>, each: &mut impl FnMut(Delta<'_>)) -> Result<(), UpstreamFault> {
        let (kind, value) = match piece {
            Piece::Text(value) => (BlockKind::Text, *value),
            Piece::Reasoning(value) => (BlockKind::Reasoning, *value),
            Piece::Call(call) => return self.call(call, each),
            Piece::End(_) => return Ok(()),
        };
        let text = decoded(Some(value))?;
        if !text.is_empty() {
            let block = self.blocks.of(kind);
            let kind = if kind == BlockKind::Text { DeltaKind::Text(&text) } else { DeltaKind::Reasoning(&text) };
            each(Delta { block, kind });
        }
        Ok(())
    }

    fn call(&mut self, call: &CallPiece<'_>, each: &mut impl FnMut(Delta<'_>)) -> Result<(), UpstreamFault> {
        let (id, name, arguments) = (decoded_name(call.id)?, decoded_name(call.name)?, decoded(call.arguments)?);
        let (ordinal, block, begins) = self.blocks.call(call.index, &id)?;
        if begins {
            each(Delta { block, kind: DeltaKind::CallBegins { ordinal, id: &id, name: &name } });
        }
        if !arguments.is_empty() {
            each(Delta { block, kind: DeltaKind::CallArguments { ordinal, piece: &arguments } });
        }
        Ok(())
    }
}

/// The decoded string; empty for any other kind. An unpaired surrogate cannot be translated.
fn decoded(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    match value.filter(|value| json::kind(value) == Kind::String) {
        Some(value) => json::string(value).ok_or(UpstreamFault::Malformed("an unpaired surrogate")),
        None => Ok(Cow::Borrowed("")),
    }
}

/// An id or a name, which is bounded.
fn decoded_name(value: Option<&str>) -> Result<Cow<'_, str>, UpstreamFault> {
    decoded(value).and_then(bounded_name)
}

/// The first choice of a whole response as blocks: reasoning, text, calls. Errors: an error in band, no choice, too
/// many blocks.
pub fn read_blocks(body: &str, metered: &mut Metered) -> Result<Vec<OutputBlock>, UpstreamFault> {
    let top = top_level(body, metered)?;
    let (mut blocks, mut any) = (Vec::new(), false);
    for choice in choices_of(top.choices) {
        any = true;
        read_choice(choice?, &mut |index, piece| {
            measure(&piece, metered);
            if let Piece::End(finish) = piece {
                note_finish(metered, index, finish);
            } else if index == 0 {
                blocks.extend(block(&piece)?);
            }
            if blocks.len() > ANSWER_BLOCKS_MAX { Err(UpstreamFault::TooLarge) } else { Ok(()) }
        })?;
    }
    if any { Ok(blocks) } else { Err(UpstreamFault::Malformed("no choices")) }
}

fn block(piece: &Piece<'_>) -> Result<Option<OutputBlock>, UpstreamFault> {
    let text = |value| decoded(Some(value)).map(|text| (!text.is_empty()).then(|| text.into_owned()));
    Ok(match piece {
        Piece::Text(value) => text(value)?.map(|text| OutputBlock::Text { text }),
        Piece::Reasoning(value) => {
            text(value)?.map(|text| OutputBlock::Reasoning { text, signature: None, redacted: None })
        }
        Piece::Call(call) => {
            let read = [decoded_name(call.id)?, decoded_name(call.name)?, decoded(call.arguments)?];
            let [id, name, arguments] = read.map(Cow::into_owned);
            Some(OutputBlock::ToolCall(ToolCall { id, name, arguments }))
        }
        Piece::End(_) => None,
    })
}
