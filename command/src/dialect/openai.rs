//! OpenAI Chat Completions, as a surface and as an upstream. The followers' departures (DeepSeek, Groq, Mistral,
//! OpenRouter, Perplexity, Together, xAI …) are read here as well; what is written is plain OpenAI.

mod answer;
mod canonical;
mod client;
mod edit;
mod known;
mod outbound;
mod passthrough;
mod priceable;
mod reader;
mod reading;
mod renaming;
mod usage;
mod write;

pub(super) use answer::OpenAiAnswer;
pub(super) use canonical::canonical;
pub(super) use client::{ClientBody, read_client_body};
pub(super) use edit::edited_body;
pub(super) use outbound::request_body;
pub(super) use passthrough::{Passthrough, put_data};
pub(super) use priceable::{Unpriced, names as unpriced_fields};
pub(super) use reader::{Reader, read_blocks};
pub(super) use reading::is_out_of_money;
pub(super) use usage::{count, reported};
pub(super) use write::{ChunkWriter, completion, put_usage_chunk};
