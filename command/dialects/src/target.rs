//! What of a target the body for it depends on.

use std::collections::BTreeSet;

use events::event::admin::OutputCapField;

/// What one target needs to be asked.
#[derive(Clone, Copy, Debug)]
pub struct OutboundTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    pub output_cap: UpstreamCap,
    /// Put before everything that the client says. Its bytes are not in [`ClientRequest::input_tokens_bound`].
    pub system_prefix: Option<&'a str>,
    /// Fields that its provider may be sent although they change the cost.
    pub allowed_fields: &'a BTreeSet<String>,
}

/// The output cap as it goes upstream, which it always does: it bounds the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamCap {
    /// At least 1.
    pub tokens: u64,
    /// The one name that the upstream takes. `None`: the client's own, else `max_tokens`. OpenAI dialect only.
    pub field: Option<OutputCapField>,
}

/// For targets that allow none.
#[cfg(test)]
pub static NO_FIELDS: BTreeSet<String> = BTreeSet::new();
