//! The route of a request that its admission recorded, as far as the caller may see it.

use serde_json::{Map, Value};

use crate::request_rights::Rights;

/// What everybody sees of it who sees the request, as in its explanation. The rest tells what each target was expected to cost, and
/// why it was left out.
const FOR_EVERYBODY: [&str; 5] = ["features", "stands_for", "session", "decided_at", "terms"];

/// Removes what the caller may not see of the recorded route, and says whether it sees all of it.
pub fn hide(fields: &mut Map<String, Value>, rights: Rights) {
    let Some(route) = fields.get_mut("route").and_then(Value::as_object_mut) else { return };
    if !rights.includes_models() {
        route.retain(|name, _| FOR_EVERYBODY.contains(&name.as_str()));
    }
    route.insert("is_visible".to_owned(), rights.includes_models().into());
}
