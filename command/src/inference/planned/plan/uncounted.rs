//! The counts of a prompt that its plan lacks.

use bytes::Bytes;
use events::event::admin::Tokenizer;

use crate::tokens::PromptToCount;

/// The counts of a prompt that are missing to know whether it fits into the windows of all targets.
#[derive(Debug, Default)]
pub struct Uncounted {
    /// The tokenizers to count it by.
    pub tokenizers: Vec<Tokenizer>,
    /// The largest of these windows, in tokens.
    window_max: u64,
    /// The system message that the model puts before it.
    pub system_prefix: Option<String>,
}

impl Uncounted {
    /// Adds that the prompt has to be counted for a window.
    pub fn add(&mut self, tokenizer: Tokenizer, window: u64) {
        if !self.tokenizers.contains(&tokenizer) {
            self.tokenizers.push(tokenizer);
        }
        self.window_max = self.window_max.max(window);
    }

    /// Whether all that has to be known is known.
    pub const fn is_empty(&self) -> bool {
        self.tokenizers.is_empty()
    }

    /// The prompt as it is counted.
    pub fn of_body(self, body: Bytes) -> PromptToCount {
        let Self { tokenizers, window_max, system_prefix } = self;
        PromptToCount { body, system_prefix, tokenizers, enough: window_max }
    }
}
