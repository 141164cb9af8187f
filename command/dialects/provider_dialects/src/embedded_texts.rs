//! Code that the APIs for embeddings share: most take texts alone, and give vectors in the order of the inputs.

use events::refusal::Refusal;
use intermediate::UpstreamFault;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, INPUTS_MAX, Inputs};
use intermediate::fields::Path;
use intermediate::json::{self, Kind};

/// The texts to embed, `most` of them at most. Errors: token ids, or more texts.
pub fn texts_of<'r>(request: &'r EmbeddingsRequest, provider: &str, most: usize) -> Result<&'r [String], Refusal> {
    let path = Path::Root.field("input");
    let Inputs::Texts(texts) = &request.inputs else {
        return Err(path.refuse(format!("must be text: the model's provider, {provider}, takes no token ids")));
    };
    if texts.len() > most {
        let reason = format!("has more than {most} inputs, the most that the model's provider, {provider}, takes");
        return Err(path.refuse(reason));
    }
    Ok(texts)
}

/// The vectors of a list. `each` reads one from its place in the list and its JSON. Errors: no list, or too long a one.
pub fn vectors<'a>(
    list: Option<&'a str>,
    each: impl Fn(usize, &'a str) -> Result<IndexedVector<'a>, UpstreamFault>,
) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    let list = list.filter(|list| json::kind(list) == Kind::Array).ok_or(UpstreamFault::Malformed("no embeddings"))?;
    let mut found = Vec::new();
    for (at, element) in json::elements(list).enumerate() {
        if at == INPUTS_MAX {
            return Err(UpstreamFault::TooLarge);
        }
        found.push(each(at, element?)?);
    }
    Ok(found)
}
