//! Whole answers that are a list of blocks, as Anthropic and Bedrock write them.

use intermediate::chat::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock};
use intermediate::{Metered, UpstreamFault, json};

use crate::openai::chunk::with_calls;

/// The blocks of a list as the only choice, without empty texts. `read` reads one, and gets the number of blocks before it.
/// Errors: too many blocks.
pub fn only_choice<'a>(
    content: &'a str,
    metered: &mut Metered,
    read: impl Fn(&'a str, usize) -> Result<Option<OutputBlock>, UpstreamFault>,
) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    let (mut output, mut calls) = (Vec::new(), 0);
    for element in json::elements(content) {
        let block = read(element?, output.len())?;
        match &block {
            Some(OutputBlock::Text { text }) => metered.add_text(text),
            Some(OutputBlock::Reasoning { text, signature, redacted }) => {
                metered.add_reasoning(text, signature.as_deref(), redacted.as_deref());
            }
            Some(OutputBlock::ToolCall(call)) => {
                calls += 1;
                metered.add_text(&call.name);
                metered.add_text(&call.arguments);
            }
            None => {}
        }
        output.extend(block.filter(|block| !matches!(block, OutputBlock::Text { text } if text.is_empty())));
        if output.len() > ANSWER_BLOCKS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
    }
    metered.finish_reason = metered.finish_reason.map(|reason| with_calls(reason, calls));
    Ok(vec![AnswerChoice { output, finish_reason: metered.finish_reason, logprobs: None }])
}
