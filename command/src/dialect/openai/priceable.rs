//! Fields that change what a request costs, or what is to be counted. None of them is sent to a provider whose row does not
//! allow it: whoever allows one vouches for its price.

use events::wire::{ErrorCode, Refusal};

use super::known;
use crate::chat::read::TOOLS_MAX;
use crate::dialect::fields::{self, Fields, Path};
use crate::dialect::json::{self, Kind};

/// What a field may do to the cost.
#[derive(Clone, Copy)]
enum Effect {
    /// Another model answers, or another price holds.
    Price,
    /// The provider runs tools of its own, and bills them.
    Tools,
    /// The model is given more than stands in the request.
    Input,
    /// Another cap may hold than the one that bounds the request.
    Cap,
    /// There is more output than the cap allows, or more than is returned.
    Output,
    /// The answer is not in the answer.
    Later,
}

impl Effect {
    const fn reason(self) -> &'static str {
        match self {
            Self::Price => "may choose another model or another price",
            Self::Tools => "may run tools that the provider bills",
            Self::Input => "may add input that does not stand in the request",
            Self::Cap => "may take the place of the output cap, which is max_tokens or max_completion_tokens",
            Self::Output => "may bring more output than the output cap allows",
            Self::Later => "asks for an answer that comes later and is not measured",
        }
    }
}

/// What says nothing, besides null and false.
const EMPTY: &[&str] = &["[]", "{}", r#""""#];
const NOTHING: &[&str] = &[];
const ONE: &[&str] = &["1"];
const STANDARD_TIER: &[&str] = &[r#""auto""#, r#""default""#, r#""on_demand""#, r#""standard_only""#];
const STANDARD_SPEED: &[&str] = &[r#""standard""#, r#""normal""#];

struct PricedField {
    name: &'static str,
    effect: Effect,
    /// Values that cost nothing more.
    harmless: &'static [&'static str],
}

const fn field(name: &'static str, effect: Effect, harmless: &'static [&'static str]) -> PricedField {
    PricedField { name, effect, harmless }
}

/// By the provider that takes them; several take more than one's.
#[rustfmt::skip]
const FIELDS: &[PricedField] = &[
    // OpenAI, and whoever does as it does
    field("audio", Effect::Output, NOTHING),
    field("background", Effect::Later, NOTHING),
    field("best_of", Effect::Output, ONE),
    field("conversation", Effect::Input, EMPTY),
    field("max_output_tokens", Effect::Cap, NOTHING),
    // Rejected tokens are billed as output, above the cap.
    field("prediction", Effect::Output, NOTHING),
    field("previous_response_id", Effect::Input, EMPTY),
    field("service_tier", Effect::Price, STANDARD_TIER),
    field("web_search_options", Effect::Tools, NOTHING),
    // Anthropic, in OpenAI's form
    field("container", Effect::Tools, EMPTY),
    field("context_management", Effect::Input, EMPTY),
    field("inference_geo", Effect::Price, NOTHING),
    field("mcp_servers", Effect::Tools, EMPTY),
    field("speed", Effect::Price, STANDARD_SPEED),
    // OpenRouter
    field("models", Effect::Price, EMPTY),
    field("plugins", Effect::Tools, EMPTY),
    field("preset", Effect::Price, NOTHING),
    field("provider", Effect::Price, EMPTY),
    field("route", Effect::Price, EMPTY),
    field("transforms", Effect::Input, EMPTY),
    // Azure
    field("data_sources", Effect::Input, EMPTY),
    field("enhancements", Effect::Tools, EMPTY),
    // Google
    field("cached_content", Effect::Input, EMPTY),
    field("extra_body", Effect::Input, EMPTY),
    field("generation_config", Effect::Cap, EMPTY),
    field("google", Effect::Input, EMPTY),
    // Amazon
    field("additionalModelRequestFields", Effect::Cap, EMPTY),
    field("performanceConfig", Effect::Price, EMPTY),
    // xAI
    field("deferred", Effect::Later, NOTHING),
    field("search_parameters", Effect::Tools, NOTHING),
    // Groq
    field("compound_custom", Effect::Tools, EMPTY),
    // Together
    field("safety_model", Effect::Tools, EMPTY),
    // Fireworks
    field("speculation", Effect::Output, NOTHING),
    // Alibaba: thoughts have a price of their own, and no cap.
    field("enable_code_interpreter", Effect::Tools, NOTHING),
    field("enable_search", Effect::Tools, NOTHING),
    field("enable_thinking", Effect::Price, NOTHING),
    field("search_options", Effect::Tools, NOTHING),
    // Baidu, Tencent, MiniMax
    field("enable_enhancement", Effect::Tools, NOTHING),
    field("force_search_enhancement", Effect::Tools, NOTHING),
    field("tokens_to_generate", Effect::Cap, NOTHING),
    field("web_search", Effect::Tools, EMPTY),
    // Vercel
    field("providerOptions", Effect::Price, EMPTY),
    // LiteLLM
    field("api_base", Effect::Price, NOTHING),
    field("base_url", Effect::Price, NOTHING),
    field("content_policy_fallbacks", Effect::Price, EMPTY),
    field("context_window_fallback_dict", Effect::Price, EMPTY),
    field("context_window_fallbacks", Effect::Price, EMPTY),
    field("custom_llm_provider", Effect::Price, NOTHING),
    field("extra_headers", Effect::Price, EMPTY),
    field("fallbacks", Effect::Price, EMPTY),
    field("knowledge_bases", Effect::Input, EMPTY),
    field("model_list", Effect::Price, EMPTY),
    field("prompt_id", Effect::Input, EMPTY),
    field("provider_specific_header", Effect::Price, EMPTY),
    field("user_config", Effect::Price, EMPTY),
    field("vector_store_ids", Effect::Input, EMPTY),
    // vLLM: a template says what it was given as often as it likes; the others say how large images and videos are.
    field("chat_template", Effect::Input, NOTHING),
    field("media_io_kwargs", Effect::Input, EMPTY),
    field("mm_processor_kwargs", Effect::Input, EMPTY),
    field("use_beam_search", Effect::Output, NOTHING),
    // SGLang, llama.cpp, Ollama, Hugging Face's servers: caps and counts that take the place of ours
    field("lora", Effect::Price, EMPTY),
    field("lora_path", Effect::Price, EMPTY),
    field("max_new_tokens", Effect::Cap, NOTHING),
    field("n_cmpl", Effect::Output, ONE),
    field("n_predict", Effect::Cap, NOTHING),
    field("num_predict", Effect::Cap, NOTHING),
    field("session_params", Effect::Input, EMPTY),
];

const MODALITIES: &str = "modalities";
const TOOLS: &str = "tools";

/// A field that only a provider whose row allows it may be sent.
#[derive(Debug)]
pub struct Unpriced {
    pub name: &'static str,
    pub refusal: Refusal,
}

/// Every field that can be allowed, in no order.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    FIELDS.iter().map(|field| field.name).chain([MODALITIES, TOOLS])
}

/// What one top-level member may do to the cost. Errors: `INVALID_REQUEST` where that cannot be read.
pub fn unpriced_field(name: &str, value: &str) -> Result<Option<Unpriced>, Refusal> {
    let path = Path::Root.field(name);
    if json::kind(value) == Kind::Null || value == "false" {
        return Ok(None);
    }
    let read = match name {
        MODALITIES => modalities(value, &path),
        TOOLS => tools(value, &path),
        _ => match FIELDS.iter().find(|field| field.name == name) {
            Some(field) if !field.harmless.contains(&value) => Err(unpriced(&path, field.effect.reason())),
            _ => Ok(()),
        },
    };
    match read {
        Err(mut refusal) if refusal.code == ErrorCode::ModelUnpriced => {
            refusal.message.push_str("; the allowed_fields of a provider can let it through");
            Ok(names().find(|known| *known == name).map(|name| Unpriced { name, refusal }))
        }
        other => other.map(|()| None),
    }
}

/// 422 that names the place.
pub fn unpriced(path: &Path<'_>, what: &str) -> Refusal {
    let (field, reason) = (path.to_string(), format!("{what}, so that its cost cannot be bounded"));
    Refusal::new(ErrorCode::ModelUnpriced, format!("{field}: {reason}")).with("field", field).with("reason", reason)
}

fn is_one_of(value: &str, allowed: &[&str]) -> bool {
    json::string(value).is_some_and(|text| allowed.contains(&&*text))
}

fn modalities(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    fields::elements(value, path, |index, element| match is_one_of(element, &["text"]) {
        true => Ok(()),
        false => Err(unpriced(&path.element(index), "a modality other than text has no price")),
    })
}

/// Functions and custom tools run at the client; every other kind runs at the provider, and is billed by it.
fn tools(value: &str, path: &Path<'_>) -> Result<(), Refusal> {
    let mut providers = None;
    fields::bounded_elements(value, path, TOOLS_MAX, |index, element| {
        let path = path.element(index);
        let mut tool = Fields::read(element, &path)?;
        known::check_tool(&tool)?;
        let is_clients = match tool.raw("type") {
            Some(kind) => is_one_of(kind, &["function", "custom"]),
            None => tool.raw("function").is_some(),
        };
        if !is_clients {
            providers.get_or_insert_with(|| unpriced(&path, "a tool that the provider runs has no price"));
        }
        Ok(())
    })?;
    providers.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_also_to_readers_who_do_not_mind_spelling() {
        let folded = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
        let all: BTreeSet<String> = names().map(folded).collect();
        assert_eq!(all.len(), names().count());
    }

    /// Holds: admin.allowed-fields
    #[test]
    fn the_page_names_every_field_that_can_be_allowed() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/provider.md");
        let page = std::fs::read_to_string(page).expect("the page of providers");
        let list = page.split_once("These can be allowed:").and_then(|(_, rest)| rest.split_once(". "));
        let found: BTreeSet<&str> = list.expect("the list").0.split('`').skip(1).step_by(2).collect();
        assert_eq!(found, names().collect());
    }

    #[test]
    fn what_says_nothing_costs_nothing() {
        let refused = |name: &str, value: &str| unpriced_field(name, value).expect("it can be read").is_some();
        for name in names() {
            assert!(!refused(name, "null") && !refused(name, "false"), "{name}");
        }
        for (name, value, is_refused) in [
            ("transforms", "[]", false),
            ("provider", "{}", false),
            ("web_search_options", "{}", true),
            ("search_parameters", "{}", true),
            ("best_of", "1", false),
            ("best_of", "2", true),
            ("n_cmpl", "1", false),
            ("n_cmpl", "128", true),
            ("service_tier", r#""auto""#, false),
            ("service_tier", r#""priority""#, true),
            ("enable_thinking", "true", true),
            ("anything_else", "7", false),
        ] {
            assert_eq!(refused(name, value), is_refused, "{name}: {value}");
        }
    }
}
