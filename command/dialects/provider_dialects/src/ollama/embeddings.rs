//! Embeddings by `/api/embed`. Their order is that of the inputs.
//!
//! A text that is longer than the model's context is refused: by default Ollama cuts it, and says nothing. Token ids are
//! refused, because Ollama takes texts alone; so is a purpose, which a model there learns from the text. The client's name
//! for its user is dropped on purpose.

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, INPUTS_MAX};
use intermediate::fields::Path;
use intermediate::{Metered, UpstreamFault, json};
use serde::Serialize;

use super::answer::fault_of;
use super::usage::report_of;
use crate::EmbeddingsApi;
use crate::embedded_texts::{texts_of, vectors};

pub const API: EmbeddingsApi = EmbeddingsApi { path: |_| "/api/embed".into(), request_body, read_vectors };

#[derive(Serialize)]
struct OllamaEmbeddingsBody<'a> {
    model: &'a str,
    input: &'a [String],
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
}

fn request_body(request: &EmbeddingsRequest, model: &str) -> Result<Bytes, Refusal> {
    let input = texts_of(request, "ollama", INPUTS_MAX)?;
    if request.purpose.is_some() {
        return Err(Path::Root
            .field("input_type")
            .refuse("has no counterpart in the dialect of the model's provider, ollama"));
    }
    Ok(json::written(&OllamaEmbeddingsBody { model, input, truncate: false, dimensions: request.dimensions }).into())
}

fn read_vectors<'a>(object: &'a str, metered: &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    json::check(object)?;
    let [error, model, embeddings] = json::pick(object, ["error", "model", "embeddings"])?;
    fault_of(error, object)?;
    metered.keep_id_and_model(None, model);
    if let Some(report) = report_of(object) {
        metered.add_report(&report, true);
    }
    vectors(embeddings, |index, json| Ok(IndexedVector { index, json }))
}
