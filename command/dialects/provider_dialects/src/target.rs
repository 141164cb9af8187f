//! The properties of a target that its request body depends on.

use std::collections::BTreeSet;

use events::event::admin::OutputCapField;
use events::refused_parameters::RefusedParameters;

use super::server::Server;

/// One target of a request, as far as its body depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    pub output_cap: UpstreamCap,
    /// The tokens that prompt and answer may have together; `None` if unknown.
    pub context_window: Option<u64>,
    /// A system message put before the client's messages. Its bytes are not in the request's `input_tokens_bound`.
    pub system_prefix: Option<&'a str>,
    /// Fields that the provider may be sent although they change the cost.
    pub allowed_fields: &'a BTreeSet<String>,
    /// The server whose deviations from OpenAI are known. Of other dialects, OpenRouter alone has one.
    pub server: Option<Server>,
    /// The parameters that its model refuses.
    pub refused: RefusedParameters,
    /// True if the target takes no thought without a signature; see [`crate::takes_signed_thoughts_alone`].
    pub takes_signed_thoughts_alone: bool,
}

impl OutboundTarget<'_> {
    /// True for Anthropic's own host: the only one that takes signed thoughts alone, and that takes what Claude Code says for
    /// billing out of the prompt.
    pub const fn is_anthropics_own(&self) -> bool {
        self.takes_signed_thoughts_alone
    }
}

/// One target of a request to count tokens, as far as its body depends on it.
#[derive(Clone, Copy, Debug)]
pub struct CountTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    /// The same as in [`OutboundTarget`].
    pub system_prefix: Option<&'a str>,
    pub takes_signed_thoughts_alone: bool,
}

impl CountTarget<'_> {
    /// The same as of an [`OutboundTarget`].
    pub const fn is_anthropics_own(&self) -> bool {
        self.takes_signed_thoughts_alone
    }
}

/// One target of a request for embeddings, as far as its body depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddingsTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    /// Fields that the provider may be sent although they change the cost.
    pub allowed_fields: &'a BTreeSet<String>,
}

/// The output cap as it is sent upstream. It is always sent, because it bounds the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamCap {
    /// At least 1.
    pub tokens: u64,
    /// The field that the upstream takes; `None` for the client's, or else `max_tokens`. OpenAI dialect only.
    pub field: Option<OutputCapField>,
}

/// The allowed fields of a target that allows none.
pub static NO_FIELDS: BTreeSet<String> = BTreeSet::new();
