//! Reads responses of an OpenAI-compatible upstream for other surfaces, as deltas or as choices.

use std::borrow::Cow;
use std::collections::BTreeMap;

use intermediate::chat::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock, ToolCall};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::json::{self, Kind};
use intermediate::{Metered, UpstreamFault};

use super::call_numbers::{CallMark, StartedCall};
use super::chunk::{
    CHOICES_MAX, CallPiece, ChoiceEnd, Choices, Piece, choices_of, chunk_of, measure, read_choice, top_level,
};
use crate::answer_text::{name_or_empty, text_or_empty};
use crate::block_numbers::{BlockNumbers, TextKind};
use crate::{StreamReader, StreamState};

/// Reads one stream into deltas.
#[derive(Default)]
pub struct OpenAiReader {
    choices: Choices,
    /// Indexed by choice.
    blocks: Vec<OpenAiBlocks>,
    /// Calls of all choices.
    calls: usize,
}

/// The blocks of a choice so far.
#[derive(Default)]
pub(super) struct OpenAiBlocks {
    numbers: BlockNumbers,
    calls: Vec<OpenAiStartedCall>,
    /// The newest call at each of the upstream's indices, as an index of `calls`.
    newest: BTreeMap<u64, usize>,
    /// The index of the piece before. A piece without one is read as if it had this.
    last: u64,
}

struct OpenAiStartedCall {
    started: StartedCall,
    block: usize,
}

impl OpenAiBlocks {
    /// The call that a piece belongs to, its block, and true if the call begins here. It begins if its index is new, or the
    /// piece is not of the newest call at that index.
    fn call(&mut self, index: Option<u64>, mark: CallMark) -> (usize, usize, bool) {
        let index = index.unwrap_or(self.last);
        self.last = index;
        let newest = self.newest.get(&index).copied();
        if let Some(ordinal) = newest
            && let Some(call) = self.calls.get_mut(ordinal)
            && call.started.is_continued_by(mark)
        {
            call.started.note(mark);
            return (ordinal, call.block, false);
        }
        let ordinal = self.calls.len();
        let block = self.numbers.of_call();
        self.calls.push(OpenAiStartedCall { started: StartedCall::of(mark), block });
        self.newest.insert(index, ordinal);
        (ordinal, block, true)
    }
}

impl StreamReader for OpenAiReader {
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

    fn held_bytes(&self) -> usize {
        let calls = self.blocks.iter().map(|blocks| blocks.calls.capacity()).sum::<usize>();
        calls * (size_of::<OpenAiStartedCall>() + size_of::<(u64, usize)>())
            + self.blocks.capacity() * size_of::<OpenAiBlocks>()
    }
}

impl OpenAiReader {
    /// Reads one chunk, and calls `each` for the content of its choices.
    fn chunk(
        &mut self,
        text: &str,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let top = top_level(text, metered)?;
        self.choices.note_report(&top);
        let mut pieces = 0;
        for choice in choices_of(top.choices) {
            read_choice(choice?, &mut |index, piece| {
                pieces += usize::from(!matches!(piece, Piece::End(_)));
                if pieces > ANSWER_BLOCKS_MAX {
                    return Err(UpstreamFault::TooLarge);
                }
                measure(&piece, metered);
                match piece {
                    Piece::End(end) => self.end(index, &end, metered, each),
                    piece => self.piece(index, &piece, each)?,
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Ends a choice, once: servers repeat the finish reason in the chunk of the usage.
    fn end(&mut self, index: u64, end: &ChoiceEnd<'_>, metered: &mut Metered, each: &mut impl FnMut(Delta<'_>)) {
        let had_ended = self.choices.has_ended(index);
        let finish = self.choices.end(index, end, metered).filter(|_| !had_ended);
        if let (Some((choice, blocks)), Some(finish)) = (self.blocks_of(index), finish) {
            each(Delta { choice, block: blocks.numbers.count(), kind: DeltaKind::Finish(finish) });
        }
    }

    /// The number of a choice and its blocks. `None` for a number that no client can have asked for.
    fn blocks_of(&mut self, index: u64) -> Option<(u32, &mut OpenAiBlocks)> {
        let at = usize::try_from(index).ok().filter(|at| *at < CHOICES_MAX)?;
        if self.blocks.len() <= at {
            self.blocks.resize_with(at + 1, OpenAiBlocks::default);
        }
        Some((u32::try_from(index).ok()?, self.blocks.get_mut(at)?))
    }

    fn piece(&mut self, index: u64, piece: &Piece<'_>, each: &mut impl FnMut(Delta<'_>)) -> Result<(), UpstreamFault> {
        let Some((choice, blocks)) = self.blocks_of(index) else { return Ok(()) };
        let (kind, value) = match piece {
            Piece::Text(value) => (TextKind::Text, *value),
            Piece::Reasoning(value) => (TextKind::Reasoning, *value),
            Piece::Call(call) if call.is_empty() => return Ok(()),
            Piece::Call(call) => {
                self.choices.note_call(index, call);
                return self.call(index, call, each);
            }
            Piece::Logprobs(logprobs) => {
                each(Delta { choice, block: blocks.numbers.last(), kind: DeltaKind::Logprobs(logprobs) });
                return Ok(());
            }
            Piece::End(_) => return Ok(()),
        };
        let text = text_or_empty(Some(value))?;
        if !text.is_empty() {
            each(Delta { choice, block: blocks.numbers.of_text(kind), kind: kind.delta(&text) });
        }
        Ok(())
    }

    fn call(
        &mut self,
        index: u64,
        call: &CallPiece<'_>,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<(), UpstreamFault> {
        let (id, name, arguments) = (name_or_empty(call.id)?, name_or_empty(call.name)?, arguments_of(call)?);
        let may_begin = self.calls < ANSWER_BLOCKS_MAX;
        let Some((choice, blocks)) = self.blocks_of(index) else { return Ok(()) };
        let (ordinal, block, begins) = blocks.call(call.index, CallMark::of(&id, &name, &arguments));
        if begins {
            if !may_begin {
                return Err(UpstreamFault::TooLarge);
            }
            let signature = text_or_empty(call.signature)?;
            let signature = Some(&*signature).filter(|signature| !signature.is_empty());
            each(Delta { choice, block, kind: DeltaKind::CallBegins { ordinal, id: &id, name: &name, signature } });
        }
        if !arguments.is_empty() {
            each(Delta { choice, block, kind: DeltaKind::CallArguments { ordinal, piece: &arguments } });
        }
        self.calls += usize::from(begins);
        Ok(())
    }
}

/// The arguments of a call: the decoded string, or an object as it was written.
fn arguments_of<'a>(call: &CallPiece<'a>) -> Result<Cow<'a, str>, UpstreamFault> {
    match call.arguments {
        Some(object) if json::kind(object) == Kind::Object => Ok(Cow::Borrowed(object)),
        arguments => text_or_empty(arguments),
    }
}

/// The choices of a whole response, each with its reasoning, text and calls. Errors: an error in band, no choice, too
/// many blocks.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    let top = top_level(body, metered)?;
    let (mut choices, mut blocks) = (Vec::<(u64, AnswerChoice)>::new(), 0);
    let mut calling = Choices::default();
    calling.note_report(&top);
    for text in choices_of(top.choices) {
        let (mut number, mut choice) = (0, AnswerChoice::default());
        read_choice(text?, &mut |index, piece| {
            number = index;
            measure(&piece, metered);
            match piece {
                Piece::End(end) => choice.finish_reason = calling.end(index, &end, metered),
                Piece::Logprobs(logprobs) => choice.logprobs = serde_json::from_str(logprobs).ok(),
                piece => {
                    if let Piece::Call(call) = &piece {
                        calling.note_call(index, call);
                    }
                    choice.output.extend(block(&piece)?);
                    blocks += 1;
                }
            }
            if blocks > ANSWER_BLOCKS_MAX { Err(UpstreamFault::TooLarge) } else { Ok(()) }
        })?;
        choices.push((number, choice));
    }
    choices.sort_by_key(|(number, _)| *number);
    match choices.is_empty() {
        true => Err(UpstreamFault::Malformed("no choices")),
        false => Ok(choices.into_iter().map(|(_, choice)| choice).collect()),
    }
}

fn block(piece: &Piece<'_>) -> Result<Option<OutputBlock>, UpstreamFault> {
    let text = |value| text_or_empty(Some(value)).map(|text| (!text.is_empty()).then(|| text.into_owned()));
    Ok(match piece {
        Piece::Text(value) => text(value)?.map(|text| OutputBlock::Text { text }),
        Piece::Reasoning(value) => {
            text(value)?.map(|text| OutputBlock::Reasoning { text, signature: None, redacted: None })
        }
        Piece::Call(call) if call.is_empty() => None,
        Piece::Call(call) => {
            let read = [name_or_empty(call.id)?, name_or_empty(call.name)?, arguments_of(call)?];
            let [id, name, arguments] = read.map(Cow::into_owned);
            let signature = text(call.signature.unwrap_or_default())?;
            Some(OutputBlock::ToolCall(ToolCall { id, name, arguments, signature }))
        }
        Piece::Logprobs(_) | Piece::End(_) => None,
    })
}
