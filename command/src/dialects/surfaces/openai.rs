//! OpenAI Chat Completions, as a surface. What is written is plain OpenAI.

mod canonical;
mod client;
mod known;
mod priceable;
mod usage;
mod write;

pub use canonical::canonical;
pub use client::{Cap, ClientBody, read_client_body};
pub use priceable::{Unpriced, names as unpriced_fields};
pub use write::{ChunkWriter, END, completion, put_data, put_usage_chunk};
