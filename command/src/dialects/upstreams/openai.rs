//! OpenAI Chat Completions, as an upstream. The followers' departures (DeepSeek, Groq, Mistral, OpenRouter, Perplexity,
//! Together, xAI …) are read here as well; what is written is plain OpenAI.

mod outbound;
mod reader;
pub mod reading;
mod usage;

pub use outbound::request_body;
pub use reader::{Reader, read_blocks};
pub use usage::reported;
