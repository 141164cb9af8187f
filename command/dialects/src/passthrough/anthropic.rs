//! Anthropic Messages on both sides.

mod answer;
mod call_ids;
mod edit;
mod stream;
mod thoughts;

pub use answer::AnthropicAnswer;
pub use edit::{edited_body, edited_count};
pub use stream::AnthropicStream;
