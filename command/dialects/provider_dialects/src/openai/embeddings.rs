//! Embeddings in OpenAI's form.

use std::borrow::Borrow;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, Inputs};
use intermediate::fields::Path;
use intermediate::json::{self, JsonFault, Member};
use intermediate::{Metered, UpstreamFault};
use serde::Serialize;

use super::chunk::top_level;
use crate::EmbeddingsApi;
use crate::embedded_texts::vectors;

pub const API: EmbeddingsApi = EmbeddingsApi { path: |_| "/embeddings".into(), request_body, read_vectors };

#[derive(Serialize)]
struct EmbeddingsBody<'a> {
    model: &'a str,
    input: &'a Inputs,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

fn request_body(request: &EmbeddingsRequest, model: &str) -> Result<Bytes, Refusal> {
    let EmbeddingsRequest { inputs, dimensions, user, purpose } = request;
    if purpose.is_some() {
        return Err(Path::Root.field("input_type").refuse("has no counterpart in OpenAI's dialect"));
    }
    let body = EmbeddingsBody { model, input: inputs, dimensions: *dimensions, user: user.as_deref() };
    Ok(json::written(&body).into())
}

fn read_vectors<'a>(text: &'a str, metered: &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    let top = top_level(text, metered)?;
    let [data] = once(top.members.iter().map(Ok), ["data"])?;
    vectors(data, |_, element| {
        let [index, vector] = once(json::known_members(element), ["index", "embedding"])?;
        let index = index.and_then(json::integer).and_then(|index| usize::try_from(index).ok());
        let index = index.ok_or(UpstreamFault::Malformed("a vector without an index"))?;
        Ok(IndexedVector { index, json: vector.unwrap_or_default() })
    })
}

/// The values under these names. Errors: a name twice. The bytes may go to the client, who would take the other one than
/// was checked.
fn once<'a, const N: usize>(
    members: impl Iterator<Item = Result<impl Borrow<Member<'a>>, JsonFault>>,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], UpstreamFault> {
    let mut found = [None; N];
    for member in members {
        let member = member?;
        let member = member.borrow();
        let name = member.name();
        let Some(slot) = names.iter().position(|wanted| *wanted == name).and_then(|at| found.get_mut(at)) else {
            continue;
        };
        if slot.replace(member.value).is_some() {
            return Err(UpstreamFault::Malformed("a member twice"));
        }
    }
    Ok(found)
}
