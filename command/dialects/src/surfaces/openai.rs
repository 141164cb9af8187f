//! OpenAI Chat Completions, as a surface. Responses have OpenAI's fields only.

mod canonical;
mod client;
mod described;
mod errors;
mod known;
mod priceable;
mod unsupported;
mod usage;
mod write;

use bytes::BytesMut;
use events::refusal::Refusal;

use super::{ErrorForm, SurfaceSpec};
use crate::json;
use crate::shared_dialect::SharedDialect;

pub use client::{BodyPositions as Request, CapPosition};
pub use errors::{WORDING, error};
pub use unsupported::VENDOR;
pub use write::{ChunkWriter as Writer, END, put_data, put_data_parts, put_usage_chunk};

pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "openai",
    paths: &[
        ("/v1/chat/completions", "create_chat_completion"),
        ("/oai/v1/chat/completions", "create_chat_completion_oai"),
    ],
    roots: &["/oai/", "/v1/chat/", "/v1/models"],
    summary: "Creates a chat completion (OpenAI-compatible)",
    describe: described::describe,
    unpriced_fields: || priceable::names().collect(),
    shared_dialect: Some(SharedDialect::OpenAi),
    error_form: ErrorForm::OpenAi,
    // It is edited, or translated for the targets that need it.
    keeps_body: true,
    answer: write::completion,
    put_error,
};

fn put_error(refusal: &Refusal, _: &str, out: &mut BytesMut) {
    put_data(out, &json::written(&error(refusal)));
}
