//! A model that a provider offers, with everything that its resources are made of.

use built_in_catalogue::Catalogue;
use events::event::admin::{Origin, StatedFacts, StatedWindow, Target, TargetFacts};
use events::ids::ProviderId;
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, TokenRate};

/// The output cap of a request that gives none, at most.
pub const OUTPUT_CAP: u64 = 4_096;
/// The same of a model that reasons: its thoughts count as output, and a short cap would leave no answer.
pub const OUTPUT_CAP_REASONING: u64 = 16_384;
/// The tag that Ollama adds to a name that has none.
const LATEST: &str = ":latest";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The provider's own name for it.
    pub backend: String,
    /// Its name after `provider/`.
    pub name: String,
    /// Its names for clients that name no provider.
    pub bare_names: Vec<String>,
    pub window: StatedWindow,
    pub max_output_tokens: Option<u64>,
    /// `None` if it has no output.
    pub default_max_output_tokens: Option<u64>,
    pub facts: StatedFacts,
    pub rates: GivenRates,
    pub origin: Origin,
}

impl Offer {
    /// The target that it is of a model.
    pub fn target(&self, provider: ProviderId, priority: u32) -> Target {
        Target {
            priority,
            window: self.window,
            facts: TargetFacts { stated: self.facts, ..TargetFacts::UNKNOWN },
            max_output_tokens: self.max_output_tokens,
            default_max_output_tokens: self.default_max_output_tokens,
            ..Target::new(provider, self.backend.as_str())
        }
    }
}

/// The cap of a request that gives none. It bounds the hold of such a request, so it is far below what models can do; and
/// it leaves room for the prompt where the context is small.
pub fn default_cap(context_window: Option<u64>, max_output_tokens: Option<u64>, reasons: bool) -> u64 {
    let cap = if reasons { OUTPUT_CAP_REASONING } else { OUTPUT_CAP };
    let in_context = context_window.map_or(cap, |window| (window / 4).max(1));
    cap.min(in_context).min(max_output_tokens.unwrap_or(cap))
}

/// A model of a local server, which costs nothing.
pub fn local_offer(backend: String, context_window: Option<u64>) -> Offer {
    let bare = Some(&backend).filter(|backend| backend.ends_with(LATEST)).and_then(|backend| other_spelling(backend));
    // `openai/gpt-oss-20b` would read as a model of OpenAI's.
    let is_like_a_vendors =
        backend.split_once('/').is_some_and(|(provider, _)| Catalogue::shipped().provider(provider).is_some());
    let bare_names = std::iter::once(backend.clone()).chain(bare);
    Offer {
        name: backend.clone(),
        bare_names: bare_names.filter(|_| !is_like_a_vendors).collect(),
        backend,
        window: StatedWindow { tokens: context_window, ..StatedWindow::default() },
        max_output_tokens: None,
        default_max_output_tokens: Some(default_cap(context_window, None, false)),
        facts: StatedFacts::UNKNOWN,
        rates: free(),
        origin: Origin::Discovered,
    }
}

/// The other name that Ollama takes for the same model: with the tag that every model has, or without it.
pub fn other_spelling(backend: &str) -> Option<String> {
    match backend.strip_suffix(LATEST) {
        Some(bare) => Some(bare.to_owned()).filter(|bare| !bare.is_empty()),
        None if backend.rsplit('/').next().is_some_and(|name| name.contains(':')) => None,
        None => Some([backend, LATEST].concat()),
    }
}

/// Every price is given, so that none of them follows another one.
fn free() -> GivenRates {
    let free = NanoUsdPerMtok::default();
    let every = TokenRate::ALL.iter().fold(GivenRates::new(free, free), |rates, rate| rates.with(*rate, free));
    GivenRates { request: Some(NanoUsd::ZERO), input_image: Some(NanoUsd::ZERO), search: Some(NanoUsd::ZERO), ..every }
}

#[cfg(test)]
mod tests {
    use built_in_catalogue::is_model_name;

    use super::*;

    #[test]
    fn the_default_cap_fits_the_model_and_leaves_room_for_the_prompt() {
        for (context_window, max_output_tokens, reasons, cap) in [
            (None, None, false, OUTPUT_CAP),
            (None, None, true, OUTPUT_CAP_REASONING),
            (Some(128_000), Some(16_384), false, OUTPUT_CAP),
            (Some(200_000), Some(100_000), true, OUTPUT_CAP_REASONING),
            (Some(128_000), Some(1_000), true, 1_000),
            (Some(4_096), Some(4_096), false, 1_024),
            (Some(3), None, false, 1),
        ] {
            assert_eq!(default_cap(context_window, max_output_tokens, reasons), cap);
        }
    }

    #[test]
    fn a_name_that_looks_like_another_one_is_no_name() {
        assert!(is_model_name("llama3:8b-instruct_q4") && is_model_name("模型/ü"));
        for hidden in ['\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{e0041}', '\u{7}', '\u{2028}', ' ']
        {
            assert!(!is_model_name(&format!("llama{hidden}3")), "{hidden:?}");
        }
    }

    #[test]
    fn a_local_model_is_also_found_without_the_tag_that_every_model_has() {
        assert_eq!(local_offer("llama3:latest".to_owned(), None).bare_names, ["llama3:latest", "llama3"]);
        assert_eq!(local_offer("qwen3:4b".to_owned(), None).bare_names, ["qwen3:4b"]);
        assert_eq!(local_offer(":latest".to_owned(), None).bare_names, [":latest"]);
        assert_eq!(local_offer("Qwen/Qwen3-4B".to_owned(), None).bare_names, ["Qwen/Qwen3-4B"]);
        for like_a_vendors in ["openai/gpt-oss-20b", "groq/x:latest"] {
            let offer = local_offer(like_a_vendors.to_owned(), None);
            assert!(offer.bare_names.is_empty() && offer.name == like_a_vendors);
        }
        assert_eq!(other_spelling("llama3:latest").as_deref(), Some("llama3"));
        assert_eq!(other_spelling("a:b/llama3").as_deref(), Some("a:b/llama3:latest"));
        assert_eq!((other_spelling("qwen3:4b"), other_spelling(":latest")), (None, None));
    }
}
