//! What of a target the body for it depends on.

use std::collections::BTreeSet;

/// What one target needs to be asked.
#[derive(Clone, Copy, Debug)]
pub struct OutboundTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    /// The cap that bounds the hold, at least 1. It always goes upstream.
    pub max_output_tokens: u64,
    /// The one name of the cap that the upstream takes. `None`: the client's own, else `max_tokens`. OpenAI dialect only.
    pub cap_field: Option<CapField>,
    /// Put before everything that the client says. Its bytes are not in [`ClientRequest::input_tokens_bound`].
    pub system_prefix: Option<&'a str>,
    /// Fields that its provider may be sent although they change the cost.
    pub allowed_fields: &'a BTreeSet<String>,
}

/// For targets that allow none.
#[cfg(test)]
pub static NO_FIELDS: BTreeSet<String> = BTreeSet::new();

/// What an OpenAI-compatible provider calls the output cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapField {
    #[default]
    MaxTokens,
    MaxCompletionTokens,
}

impl CapField {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}
