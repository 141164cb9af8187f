//! Embeddings by `/api/embed`. Their order is that of the inputs.
//!
//! A text that is longer than the model's context is refused: by default Ollama cuts it, and says nothing. Token ids are
//! refused, because Ollama takes texts alone; so is a purpose, which a model there learns from the text. The client's name
//! for its user is dropped on purpose.

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, INPUTS_MAX, Inputs};
use intermediate::fields::Path;
use intermediate::json::{self, Kind};
use intermediate::{Metered, UpstreamFault};
use serde::Serialize;

use super::answer::fault_of;
use super::usage::report_of;
use crate::EmbeddingsApi;

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
    let Inputs::Texts(input) = &request.inputs else {
        return Err(Path::Root.field("input").refuse("must be text: the model's provider, ollama, takes no token ids"));
    };
    if request.purpose.is_some() {
        return Err(Path::Root
            .field("input_type")
            .refuse("has no counterpart in the dialect of the model's provider, ollama"));
    }
    Ok(json::written(&OllamaEmbeddingsBody { model, input, truncate: false, dimensions: request.dimensions }).into())
}

fn read_vectors<'a>(object: &'a str, metered: &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    json::check(object)?;
    let [error, model, vectors] = json::pick(object, ["error", "model", "embeddings"])?;
    fault_of(error, object)?;
    metered.keep_id_and_model(None, model);
    if let Some(report) = report_of(object) {
        metered.add_report(&report, true);
    }
    let vectors = vectors.filter(|vectors| json::kind(vectors) == Kind::Array);
    let mut found = Vec::new();
    for (index, vector) in json::elements(vectors.ok_or(UpstreamFault::Malformed("no embeddings"))?).enumerate() {
        if index == INPUTS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        found.push(IndexedVector { index, json: vector? });
    }
    Ok(found)
}
