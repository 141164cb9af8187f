//! Reads a whole response of Gemini.

use intermediate::chat::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock};
use intermediate::{FinishReason, Metered, UpstreamFault};

use super::SIGNED_BY_GEMINI;
use super::candidate::{Candidate, CandidatePart, Response};
use crate::openai::chunk::{note_finish, with_calls};

/// The candidates as choices. A prompt that was blocked is a choice without output. Errors: not JSON, an error in band, no
/// candidates, too many blocks.
pub fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    let Response { mut candidates, is_blocked } = Response::read(body, metered)?;
    if is_blocked {
        metered.finish_reason = Some(FinishReason::ContentFilter);
        return Ok(vec![AnswerChoice { finish_reason: metered.finish_reason, ..AnswerChoice::default() }]);
    }
    if candidates.is_empty() {
        return Err(UpstreamFault::Malformed("no candidates"));
    }
    candidates.sort_by_key(|candidate| candidate.index);
    let (mut choices, mut blocks) = (Vec::with_capacity(candidates.len()), 0);
    for candidate in candidates {
        let choice = choice(candidate, metered);
        blocks += choice.output.len();
        if blocks > ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        choices.push(choice);
    }
    Ok(choices)
}

fn choice(candidate: Candidate<'_>, metered: &mut Metered) -> AnswerChoice {
    let (mut output, mut calls) = (Vec::new(), 0);
    for part in candidate.parts {
        let CandidatePart { text, is_thought, signature, call } = part;
        let Some(call) = call else {
            push_text(&text, is_thought, signature.as_deref(), &mut output);
            continue;
        };
        let call = call.with_id(signature, candidate.index, calls, metered.upstream_id.as_deref());
        output.push(OutputBlock::ToolCall(call));
        calls += 1;
    }
    let finish_reason = candidate.finish.map(|finish| with_calls(finish, calls));
    note_finish(metered, candidate.index.into(), finish_reason);
    AnswerChoice {
        output,
        finish_reason,
        logprobs: candidate.logprobs.and_then(|text| serde_json::from_str(&text).ok()),
    }
}

/// Adds a text or a thought, to the block before it if that is of its kind. A signature ends a block; that of a text is in
/// a block of its own.
fn push_text(text: &str, is_thought: bool, signature: Option<&str>, output: &mut Vec<OutputBlock>) {
    match (output.last_mut(), is_thought) {
        _ if text.is_empty() => {}
        (Some(OutputBlock::Text { text: before }), false) => before.push_str(text),
        (Some(OutputBlock::Reasoning { text: before, signature: None, .. }), true) => before.push_str(text),
        (_, false) => output.push(OutputBlock::Text { text: text.to_owned() }),
        (_, true) => output.push(OutputBlock::Reasoning { text: text.to_owned(), signature: None, redacted: None }),
    }
    let Some(signature) = signature.map(|signature| [SIGNED_BY_GEMINI, signature].concat()) else { return };
    match output.last_mut() {
        Some(OutputBlock::Reasoning { signature: place @ None, .. }) if is_thought => *place = Some(signature),
        _ => {
            output.push(OutputBlock::Reasoning { text: String::new(), signature: Some(signature), redacted: None });
        }
    }
}
