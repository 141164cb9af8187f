//! What changes the price of a request and has no price here is refused before anything is held.

use events::wire::{ErrorCode, Refusal};

use crate::chat::read::TOOLS_MAX;
use crate::dialect::fields::{self, Fields, Path};
use crate::dialect::json::{self, Kind};

/// Refused unless they are absent, null or false.
const NEVER: [&str; 16] = [
    "audio",              // spoken output
    "web_search_options", // searches, by call
    "search_parameters",  // the same at xAI
    "enable_search",      // the same at DashScope
    "search_options",     // the same at DashScope
    "plugins",            // OpenRouter: searches, parsing of files
    "models",             // OpenRouter: other models, with other prices
    "preset",             // OpenRouter: a model chosen elsewhere
    "prediction",         // rejected tokens are billed as output, above the cap
    "mcp_servers",        // turns that the provider takes by itself
    "inference_geo",      // dearer by region
    "use_beam_search",    // several answers for one
    "chat_template",      // vLLM: says what it was given as often as it likes
    "n_predict",          // llama.cpp: takes the place of the cap that bounds the hold
    "num_predict",        // the same at Ollama
    "max_new_tokens",     // the same at servers of Hugging Face's kind
];

/// Refuses one top-level member that cannot be priced.
pub fn check(key: &str, value: &str) -> Result<(), Refusal> {
    let path = Path::Root.field(key);
    let harmless = matches!(json::kind(value), Kind::Null) || value == "false";
    match key {
        _ if harmless => Ok(()),
        "service_tier" if !is_one_of(value, &["auto", "default"]) => Err(unpriced(&path, "a service tier")),
        "speed" if !is_one_of(value, &["standard", "normal"]) => Err(unpriced(&path, "a speed")),
        "best_of" if json::integer(value) != Some(1) => Err(unpriced(&path, "more answers than are returned")),
        "modalities" => modalities(value, &path),
        "tools" => tools(value, &path),
        _ if NEVER.contains(&key) => Err(unpriced(&path, "what it asks for")),
        _ => Ok(()),
    }
}

/// 422 that names the place.
pub fn unpriced(path: &Path<'_>, what: &str) -> Refusal {
    let (field, reason) = (path.to_string(), format!("{what} has no price, so that its cost cannot be bounded"));
    Refusal::new(ErrorCode::ModelUnpriced, format!("{field}: {reason}")).with("field", field).with("reason", reason)
}

fn is_one_of(value: &str, allowed: &[&str]) -> bool {
    json::string(value).is_some_and(|text| allowed.contains(&&*text))
}

fn modalities(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    fields::elements(value, path, |index, element| match is_one_of(element, &["text"]) {
        true => Ok(()),
        false => Err(unpriced(&path.element(index), "a modality other than text")),
    })
}

/// Functions and custom tools run at the client; every other kind runs at the provider, and is billed by it.
fn tools(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    fields::bounded_elements(value, path, TOOLS_MAX, |index, element| {
        let path = path.element(index);
        let mut tool = Fields::read(element, &path)?;
        let is_clients = match tool.raw("type") {
            Some(kind) => is_one_of(kind, &["function", "custom"]),
            None => tool.raw("function").is_some(),
        };
        if is_clients { Ok(()) } else { Err(unpriced(&path, "a tool that the provider runs")) }
    })
}
