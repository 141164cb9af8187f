//! Simulated embeddings: the words of a text, counted by their hashes.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use intermediate::embeddings::INPUTS_MAX;
use intermediate::json::{self, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use super::behaviour::Behaviour;

const DIMENSIONS_DEFAULT: u64 = 64;
const DIMENSIONS_MAX: u64 = 4_096;
/// Numbers in one answer, which is made whole in memory.
const NUMBERS_MAX: usize = 1024 * 1024;

#[derive(Serialize)]
struct SimulatedEmbeddings<'a> {
    object: &'static str,
    data: Vec<SimulatedEmbedding>,
    model: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Serialize)]
struct SimulatedEmbedding {
    object: &'static str,
    index: usize,
    embedding: SimulatedVector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SimulatedVector {
    Floats(Vec<f32>),
    Base64(String),
}

/// The answer to a request for embeddings; `None` if the body is something else. Errors: a bad one.
pub fn answer(behaviour: &Behaviour, body: &Bytes) -> Option<Result<Vec<u8>, &'static str>> {
    let text = std::str::from_utf8(body).ok()?;
    let [model, input, messages, dimensions, encoding] =
        json::pick(text, ["model", "input", "messages", "dimensions", "encoding_format"]).ok()?;
    let input = input.filter(|_| messages.is_none())?;
    let dimensions = dimensions.map_or(Some(DIMENSIONS_DEFAULT), json::integer);
    let in_base64 = encoding == Some(r#""base64""#);
    Some(inputs(input).and_then(|inputs| {
        let dimensions = dimensions.filter(|count| (1..=DIMENSIONS_MAX).contains(count));
        let dimensions = dimensions.ok_or("dimensions must be from 1 to 4096")?;
        if usize::try_from(dimensions).is_ok_and(|numbers| numbers * inputs.len() > NUMBERS_MAX) {
            return Err("more than 1048576 numbers are too many");
        }
        let vectors = inputs.iter().map(|words| vector(words, dimensions));
        let data = vectors.enumerate().map(|(index, vector)| SimulatedEmbedding {
            object: "embedding",
            index,
            embedding: if in_base64 {
                SimulatedVector::Base64(base64(&vector))
            } else {
                SimulatedVector::Floats(vector)
            },
        });
        // A quarter of the bytes, rounded up: far below the bound that is held.
        let quarter = || u64::try_from(input.len().div_ceil(4)).unwrap_or(u64::MAX);
        let tokens = behaviour.input_tokens.unwrap_or_else(quarter);
        Ok(json::written(&SimulatedEmbeddings {
            object: "list",
            data: data.collect(),
            model: model.and_then(json::string).unwrap_or_default(),
            usage: (!behaviour.no_usage).then(|| json!({ "prompt_tokens": tokens, "total_tokens": tokens })),
        }))
    }))
}

/// The words of every input; of token ids, the digits.
fn inputs(input: &str) -> Result<Vec<Vec<String>>, &'static str> {
    const BAD: &str = "input must be a string, or a list of strings or of token ids";
    let of_one = |value: &str| -> Result<Vec<String>, &'static str> {
        match json::kind(value) {
            Kind::String => {
                let text = json::string(value).ok_or(BAD)?.to_lowercase();
                let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
                Ok(words.map(str::to_owned).collect())
            }
            Kind::Array => json::elements(value).map(|id| id.map(str::to_owned).map_err(|_| BAD)).collect(),
            _ => Err(BAD),
        }
    };
    let is_one = match json::kind(input) {
        Kind::Array => json::elements(input).next().and_then(Result::ok).map(json::kind) == Some(Kind::Number),
        _ => true,
    };
    if is_one {
        return Ok(vec![of_one(input)?]);
    }
    let inputs: Vec<_> = json::elements(input)
        .take(INPUTS_MAX + 1)
        .map(|one| of_one(one.map_err(|_| BAD)?))
        .collect::<Result<_, _>>()?;
    if inputs.len() > INPUTS_MAX { Err("input has more than 2048 elements") } else { Ok(inputs) }
}

fn vector(words: &[String], dimensions: u64) -> Vec<f32> {
    let mut counts = vec![0_i16; usize::try_from(dimensions).unwrap_or(1)];
    for word in words {
        let hash = super::script::digest(word.as_bytes());
        let place = usize::try_from(hash % dimensions).unwrap_or(0);
        if let Some(count) = counts.get_mut(place) {
            *count = count.saturating_add(if hash >> 63 == 0 { 1 } else { -1 });
        }
    }
    let length = counts.iter().map(|count| f64::from(*count).powi(2)).sum::<f64>().sqrt();
    // A text without words points along the first axis.
    if let (0.0, Some(first)) = (length, counts.first_mut()) {
        *first = 1;
    }
    let length = length.max(1.0);
    #[expect(clippy::float_arithmetic, reason = "a vector is not money")]
    #[expect(clippy::cast_possible_truncation, reason = "a number from -1 to 1")]
    counts.iter().map(|count| (f64::from(*count) / length) as f32).collect()
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
