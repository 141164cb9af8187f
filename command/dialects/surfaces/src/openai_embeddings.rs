//! OpenAI's embeddings, as a surface. It has no streams.

mod described;
mod read;
mod write;

use super::{SurfaceSpec, openai};

pub use read::OpenAiEmbeddingsRequest as Request;
pub use write::{answer, data};

/// The row of OpenAI, for another API. Its form of errors is the same, and bodies pass on to upstreams of its dialect.
pub const SURFACE: SurfaceSpec = SurfaceSpec {
    name: "openai-embeddings",
    paths: &[("/v1/embeddings", "create_embedding"), ("/oai/v1/embeddings", "create_embedding_oai")],
    roots: &["/v1/embeddings", "/oai/v1/embeddings"],
    summary: "Creates embeddings (OpenAI-compatible)",
    describe: described::describe,
    ..openai::SURFACE
};
