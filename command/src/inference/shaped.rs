//! The additions of a model to a prompt, which are priced and sent with it. The gateway itself changes a prompt in no other place.

use dialects::ClientRequest;
use events::event::admin::Model;

/// The additions of a model to the prompts of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptShape<'m> {
    /// The system message before the prompt.
    pub system_prefix: Option<&'m str>,
}

impl<'m> PromptShape<'m> {
    /// An embeddings request has no messages, so nothing is added to it.
    pub fn of(model: &'m Model, request: &ClientRequest) -> Self {
        if request.facts.output_cap.is_some() { Self::of_chat(model) } else { Self { system_prefix: None } }
    }

    pub fn of_chat(model: &'m Model) -> Self {
        Self { system_prefix: model.system_prefix.as_deref() }
    }

    pub fn added_bytes(self) -> u64 {
        self.system_prefix.map_or(0, str::len) as u64
    }
}
