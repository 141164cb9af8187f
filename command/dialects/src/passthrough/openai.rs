//! OpenAI Chat Completions on both sides.

mod answer;
mod deviations;
mod edit;
mod stream;
mod template;

pub use answer::OpenAiAnswer;
pub use edit::{edited_body, renamed_body};
pub use stream::OpenAiStream;
