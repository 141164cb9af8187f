//! The request and the answer in `/openapi.json`.

use http::StatusCode;
use intermediate::embeddings::{DIMENSIONS_MAX, INPUTS_MAX};
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::openai::WORDING;

const PURPOSES: &str =
    "`search_document`, `search_query`, `classification` or `clustering`, for models that must know. Not OpenAI's";

/// The largest body has no more.
const TEXT_CHARS_MAX: usize = 32 * 1024 * 1024;

pub fn describe(operation: Operation, answer: fn(Shape) -> Answer) -> Operation {
    operation
        .says(
            "`input` is a string, a list of at most 2,048 strings, a list of token ids, or a list of such lists. Fields \
             that are not listed here are passed on to providers that speak the same dialect.",
        )
        .worded(WORDING)
        .takes(schema::reference("EmbeddingRequest"), json!({ "model": "sim-small", "input": ["hello"] }))
        .answers(StatusCode::OK, answer(schema::reference("Embeddings")))
        .defines("EmbeddingRequest", request())
        .defines("Embeddings", embeddings())
}

fn request() -> Shape {
    object()
        .required_as("model", schema::string(), "Name of a model of the gateway")
        .required_as("input", inputs(), "What is embedded")
        .optional_as("encoding_format", maybe(schema::one_of(["float", "base64"])), "The form of the vectors")
        .optional_as("dimensions", maybe(schema::whole(1, DIMENSIONS_MAX)), "The length of the vectors")
        .optional_as("user", maybe(schema::string()), "Your name for your own user")
        .optional_as("input_type", schema::any(), PURPOSES)
        .open()
}

fn inputs() -> Shape {
    let text = || schema::sized(1, TEXT_CHARS_MAX);
    let texts = schema::filled_list(text(), Some(INPUTS_MAX));
    let tokens = || schema::filled_list(schema::count(), None);
    schema::either([text(), texts, tokens(), schema::filled_list(tokens(), Some(INPUTS_MAX))])
}

fn embeddings() -> Shape {
    let usage = object().required("prompt_tokens", schema::count()).required("total_tokens", schema::count()).open();
    object()
        .required("object", schema::one_of(["list"]))
        .required("data", schema::filled_list(object().open(), None))
        .required("model", schema::string())
        .optional("usage", usage)
        .open()
}
