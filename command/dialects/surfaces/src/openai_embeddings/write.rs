//! Writes the answer to a client.

use intermediate::embeddings::Encoding;
use intermediate::embeddings::vectors::Vectors;
use intermediate::{Receipt, UpstreamFault, json};
use serde::Serialize;

#[derive(Serialize)]
struct EmbeddingUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// `data`: a list with an object for each vector. Errors: it is too long in this encoding.
pub fn data(vectors: &Vectors<'_>, encoding: Encoding) -> Result<Vec<u8>, UpstreamFault> {
    let (mut out, mut index) = (b"[".to_vec(), 0_usize);
    vectors.write(encoding, |vector| {
        out.extend_from_slice(if index == 0 { b"" } else { b"," });
        out.extend_from_slice(br#"{"object":"embedding","index":"#);
        json::push(&mut out, &index);
        out.extend_from_slice(br#","embedding":"#);
        out.extend_from_slice(vector.as_bytes());
        out.push(b'}');
        index += 1;
    })?;
    out.push(b']');
    Ok(out)
}

/// The answer with its `data`.
pub fn answer(data: &[u8], receipt: &Receipt<'_>) -> Vec<u8> {
    let tokens = receipt.usage.tokens.input();
    let mut out = Vec::with_capacity(data.len() + 512);
    out.extend_from_slice(br#"{"object":"list","data":"#);
    out.extend_from_slice(data);
    out.extend_from_slice(br#","model":"#);
    json::push(&mut out, receipt.frontend_model);
    out.extend_from_slice(br#","usage":"#);
    json::push(&mut out, &EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens });
    out.push(b'}');
    out
}
