//! The shape that a model gives to a prompt before it is priced and sent: the one place where a prompt may be changed. It costs nothing
//! where a model changes nothing.

use events::event::admin::Model;

/// The additions of a model to the prompts of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptShape<'m> {
    /// The system message before the prompt.
    pub system_prefix: Option<&'m str>,
}

impl<'m> PromptShape<'m> {
    /// The shape for a request with an output. One of vectors has no messages that could be changed.
    pub fn of(model: &'m Model) -> Self {
        Self { system_prefix: model.system_prefix.as_deref() }
    }

    pub const NONE: Self = Self { system_prefix: None };

    pub fn added_bytes(self) -> u64 {
        self.system_prefix.map_or(0, str::len) as u64
    }
}
