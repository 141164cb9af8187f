//! The dialect-independent embeddings: the request, what it expects as its answer, and the vectors of an answer.

pub mod vectors;

use serde::Serialize;
use serde_json::value::RawValue;

/// Inputs per request: as many as OpenAI takes.
pub const INPUTS_MAX: usize = 2_048;
/// Largest length of a vector that a client may ask for. It is far above what any model can produce.
pub const DIMENSIONS_MAX: u64 = 1_000_000;
/// Upper bound of what a model adds to each input: special tokens, and the instruction that some put before it.
pub const INPUT_TEMPLATE_TOKENS_MAX: u64 = 16;

/// A request for embeddings, independent of any dialect.
#[derive(Clone, Debug)]
pub struct EmbeddingsRequest {
    pub inputs: Inputs,
    /// The requested length of the vectors.
    pub dimensions: Option<u64>,
    /// The client's name for its own user.
    pub user: Option<String>,
    /// The purpose of the vectors, which some models must know.
    pub purpose: Option<Purpose>,
}

/// The use of embedding vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A text that is searched for.
    SearchDocument,
    /// A text that others are searched by.
    SearchQuery,
    Classification,
    Clustering,
}

/// The inputs to embed: one vector for each, at least one and at most [`INPUTS_MAX`], none of them empty.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Inputs {
    Texts(Vec<String>),
    /// Token ids, each input a JSON list of them.
    Tokens(Vec<Box<RawValue>>),
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// A list of decimal numbers.
    Float,
    /// The base64 of 32-bit floats, little-endian.
    Base64,
}

/// The form that the answer to a request must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedVectors {
    pub count: usize,
    /// Their length, if the client asked for one.
    pub dimensions: Option<u64>,
    pub encoding: Encoding,
}
