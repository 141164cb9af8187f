//! Ids of tool calls.

use std::borrow::Cow;

use super::{AnswerChoice, OutputBlock};

/// Longest id that every provider takes that has no form of its own for ids.
const PLAIN_CHARS_MAX: usize = 40;

/// True for an id that every provider takes, apart from those with a form of their own: up to 40 letters, digits, `_` and
/// `-`. Nearly all ids are plain, so that bodies with others are few.
pub fn is_plain_call_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=PLAIN_CHARS_MAX).contains(&id.len()) && id.bytes().all(is_plain)
}

/// Makes ids for the calls of a response that the upstream gave none: a client needs them to tell its results apart.
#[derive(Clone, Copy, Debug)]
pub struct CallIds {
    /// The random digits of the request's id.
    request: u64,
}

impl CallIds {
    pub fn of(request_id: &str) -> Self {
        let last = request_id.len().saturating_sub(16);
        let digits = request_id.get(last..).unwrap_or_default();
        Self { request: u64::from_str_radix(digits, 16).unwrap_or_default() }
    }

    /// An id for a call, which is the `ordinal`th of its choice. It is shorter than the 40 characters that OpenAI takes.
    pub fn id(self, choice: u32, ordinal: usize) -> String {
        format!("call_{:016x}_{choice}_{ordinal}", self.request)
    }

    /// The choices with an id for each call.
    pub fn completed(self, choices: &[AnswerChoice]) -> Cow<'_, [AnswerChoice]> {
        let has_none = |block: &OutputBlock| matches!(block, OutputBlock::ToolCall(call) if call.id.is_empty());
        if !choices.iter().flat_map(|choice| &choice.output).any(has_none) {
            return Cow::Borrowed(choices);
        }
        let mut choices = choices.to_vec();
        for (number, choice) in (0..).zip(&mut choices) {
            let calls = choice.output.iter_mut().filter_map(|block| match block {
                OutputBlock::ToolCall(call) => Some(call),
                OutputBlock::Text { .. } | OutputBlock::Reasoning { .. } => None,
            });
            for (ordinal, call) in calls.enumerate().filter(|(_, call)| call.id.is_empty()) {
                call.id = self.id(number, ordinal);
            }
        }
        Cow::Owned(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_made_is_of_its_request_and_short() {
        let ids = CallIds::of("req_019a0b1c2d3e7f00a1b2c3d4e5f60718");
        assert_eq!(ids.id(0, 1), "call_a1b2c3d4e5f60718_0_1");
        assert!(is_plain_call_id(&ids.id(127, 1023)));
        assert_eq!(CallIds::of("é").id(0, 0), "call_0000000000000000_0_0");
    }
}
