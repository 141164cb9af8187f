//! Requests whose answer may be larger than the gateway takes because of what they ask for: many long vectors, many choices,
//! log probabilities of many tokens. Such an answer is the client's doing. Its upstream did the work, so that it is not
//! free, and another target would only do as much again.

use dialects::{AnswerReader, ClientRequest};
use events::refusal::Refusal;

use super::plan::Plan;

/// The largest whole answer that is accepted.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most bytes of one number of a vector: up to 24 characters, on a line of its own.
const NUMBER_BYTES_MAX: u64 = 40;
/// The length of the vectors of large models, if the client asks for none.
const DIMENSIONS_USUAL: u64 = 4_096;
/// The most bytes of one token, in escapes, and of one with 20 alternatives, their bytes and log probabilities, and each of
/// these on a line of its own.
const TOKEN_BYTES_MAX: u64 = 512;
const TOKEN_BYTES_MAX_WITH_LOGPROBS: u64 = 8 * 1024;

/// The kind of output that a client asks too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    Vectors,
    /// Tokens of output; `cap_field` is the client's name for their cap.
    Output {
        cap_field: &'static str,
    },
}

impl TooMuch {
    /// `None` if a good answer to this request is always small enough.
    pub fn of(request: &ClientRequest, plan: &Plan) -> Option<Self> {
        let (too_much, bytes) = match (request.answer_reader(), request.facts.output_cap) {
            (AnswerReader::Embeddings(_, expected), _) => {
                let vector = expected.dimensions.unwrap_or(DIMENSIONS_USUAL).saturating_mul(NUMBER_BYTES_MAX);
                (Self::Vectors, vector.saturating_mul(expected.count as u64))
            }
            (AnswerReader::Chat(..), cap) => {
                let tokens = plan.output_tokens_bound(request.facts.choices);
                let token = if request.facts.has_logprobs { TOKEN_BYTES_MAX_WITH_LOGPROBS } else { TOKEN_BYTES_MAX };
                (Self::Output { cap_field: cap?.field }, tokens.saturating_mul(token))
            }
        };
        (bytes > ANSWER_BYTES_MAX as u64).then_some(too_much)
    }

    /// A 400: sent again, the request would be charged again.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Vectors => Refusal::invalid(
                "input",
                "asks for more vectors than the gateway takes in one answer, 32 MiB: send fewer inputs, or ask for fewer \
                 dimensions. The upstream's work is charged",
            ),
            Self::Output { cap_field } => Refusal::invalid(
                cap_field,
                "the answer is larger than the gateway takes, 32 MiB: ask for fewer choices, fewer log probabilities or \
                 fewer tokens, or for a stream. The upstream's work may be charged",
            ),
        }
    }
}
