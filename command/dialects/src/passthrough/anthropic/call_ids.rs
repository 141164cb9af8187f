//! Fits the ids of tool calls in a client's body: a history may have calls of another provider, whose ids Claude refuses.

use intermediate::json::{self, Edit, elements_if_array};
use provider_dialects::CallIdRule;

/// The edits of a body that has ids of other providers.
pub fn fitted_call_ids(text: &str) -> Vec<Edit> {
    let messages = json::field(text, "messages").into_iter().flat_map(elements_if_array);
    let contents = messages.map(|message| json::field(message, "content").unwrap_or_default());
    contents.flat_map(elements_if_array).filter_map(|block| fitted(text, block)).collect()
}

/// The edit of a block that is a call or a result, if its id has to be another one. `block` is a slice of the text.
fn fitted(text: &str, block: &str) -> Option<Edit> {
    let [kind, call, result] = json::find(block, ["type", "id", "tool_use_id"]);
    let id = match kind.and_then(json::string).as_deref()? {
        "tool_use" => call?,
        "tool_result" => result?,
        _ => return None,
    };
    let given = json::string(id)?;
    let fitted = CallIdRule::CLAUDE.fitted(&given);
    (fitted != given).then(|| Edit { range: json::span(text, id), replacement: json::written(&*fitted) })
}
