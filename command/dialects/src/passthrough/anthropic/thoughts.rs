//! Cuts thoughts that a server does not take out of a client's body: no server takes those of other dialects, and
//! Anthropic takes none without a signature. Everything else stays as it is.

use events::refusal::Refusal;
use intermediate::chat::is_marked_signature;
use intermediate::fields::Path;
use intermediate::json::{self, Edit, elements_if_array};

use crate::passthrough::rewrite::cuts;

/// The cuts of a body that has such thoughts. `cuts_unsigned`: also of thoughts without a signature. Errors:
/// `INVALID_REQUEST` if no message would be left.
pub fn refused_thoughts(text: &str, cuts_unsigned: bool) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let mut is_left = false;
    let messages = json::field(text, "messages").into_iter().flat_map(elements_if_array).map(|message| {
        let content = json::field(message, "content").unwrap_or_default();
        let is_cut = |block| is_refused(json::find(block, ["type", "signature"]), cuts_unsigned);
        let blocks: Vec<_> = elements_if_array(content).map(|block| (json::span(text, block), is_cut(block))).collect();
        // A message without content is refused too.
        let is_empty = !blocks.is_empty() && blocks.iter().all(|(_, is_cut)| *is_cut);
        if !is_empty && blocks.iter().any(|(_, is_cut)| *is_cut) {
            edits.extend(cuts(blocks.into_iter()));
        }
        is_left |= !is_empty;
        (json::span(text, message), is_empty)
    });
    let messages = cuts(messages);
    edits.extend(messages);
    match is_left {
        true => Ok(edits),
        false => {
            Err(Path::Root.field("messages").refuse("has nothing but thoughts that the model's provider does not take"))
        }
    }
}

/// True for a block that is to be cut, by its type and its signature.
fn is_refused([kind, signature]: [Option<&str>; 2], cuts_unsigned: bool) -> bool {
    if kind.and_then(json::string).as_deref() != Some("thinking") {
        return false;
    }
    let signature = signature.and_then(json::string).unwrap_or_default();
    is_marked_signature(&signature) || cuts_unsigned && signature.is_empty()
}
