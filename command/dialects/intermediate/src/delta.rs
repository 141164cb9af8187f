//! A streamed response between two dialects.

use events::event::inference::FinishReason;

/// One step of a streamed response, independent of any dialect.
pub struct Delta<'a> {
    /// The choice that it belongs to; 0 for all but requests for several.
    pub choice: u32,
    /// The block of the choice that it belongs to: 0, 1, 2 … in the order in which blocks begin.
    pub block: usize,
    pub kind: DeltaKind<'a>,
}

#[derive(Clone)]
pub enum DeltaKind<'a> {
    Text(&'a str),
    Reasoning(&'a str),
    /// The provider's proof of the reasoning before it.
    Signature(&'a str),
    /// Reasoning that the provider encrypted.
    Redacted(&'a str),
    /// `ordinal`: 0, 1, 2 … among the tool calls of the choice.
    CallBegins {
        ordinal: usize,
        id: &'a str,
        name: &'a str,
        /// See [`ToolCall::signature`](crate::chat::ToolCall::signature).
        signature: Option<&'a str>,
    },
    CallArguments {
        ordinal: usize,
        piece: &'a str,
    },
    /// Probabilities of the tokens before it, as OpenAI writes them: a JSON object with `content`.
    Logprobs(&'a str),
    Finish(FinishReason),
}

impl DeltaKind<'_> {
    /// True if a client has something of the response once this was written.
    pub const fn is_content(&self) -> bool {
        !matches!(self, Self::Finish(_) | Self::Logprobs(_))
    }
}
