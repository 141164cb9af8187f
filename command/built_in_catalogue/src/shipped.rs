//! Tests of the shipped document: that it is one, that its prices are those of its source, and that names mean what they
//! should.

use std::collections::{BTreeMap, BTreeSet};

use events::money::{NanoUsd, NanoUsdPerMtok};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Catalogue, Mode, Model, Price, PriceTier};

/// Rows of the source as they are there, with the model that each became.
const SAMPLE: &str = include_str!("../data/sample.json");
/// The source's names of classes, with ours and with the class whose price an absent one follows.
const CLASSES: [(&str, &str, Option<&str>); 14] = [
    ("input", "input_usd_per_mtok", None),
    ("output", "output_usd_per_mtok", None),
    ("cache_read", "cache_read_usd_per_mtok", Some("input")),
    ("cache_write", "cache_write_usd_per_mtok", Some("input")),
    ("cache_write_1h", "cache_write_1h_usd_per_mtok", Some("cache_write")),
    ("cache_write_12h", "cache_write_12h_usd_per_mtok", Some("cache_write")),
    ("reasoning", "reasoning_usd_per_mtok", Some("output")),
    ("input_audio", "input_audio_usd_per_mtok", Some("input")),
    ("cache_read_audio", "cache_read_audio_usd_per_mtok", Some("cache_read")),
    ("output_audio", "output_audio_usd_per_mtok", Some("output")),
    ("input_image_token", "input_image_usd_per_mtok", Some("input")),
    ("cache_read_image_token", "cache_read_image_usd_per_mtok", Some("cache_read")),
    ("output_image_token", "output_image_usd_per_mtok", Some("output")),
    ("citation", "citation_usd_per_mtok", None),
];

type Classes = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Sampled {
    key: String,
    provider: String,
    model: String,
    region: Option<String>,
    row: Row,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    price: Classes,
    #[serde(default)]
    tiers: BTreeMap<String, Classes>,
    #[serde(default)]
    bands: Vec<Classes>,
}

fn shipped() -> &'static Catalogue {
    Catalogue::shipped()
}

/// Nano-dollars per million tokens of a decimal in dollars per token, digit by digit.
fn nanos_per_mtok(dollars: &str) -> i64 {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    let (exact, rest) = fraction.split_at(fraction.len().min(15));
    assert!(rest.bytes().all(|digit| digit == b'0'), "{dollars} is finer than a nano-dollar per million tokens");
    format!("{whole}{exact:0<15}").parse().expect("a decimal")
}

type Given = BTreeMap<&'static str, NanoUsd>;

fn nanos(price: impl Iterator<Item = (&'static str, NanoUsdPerMtok)>) -> Given {
    price.map(|(name, rate)| (name, rate.of_a_million())).collect()
}

/// Returns the cost of a class: its own price, or else that of the class that it follows.
fn effective(given: &Given, class: &str) -> Option<i64> {
    let (_, name, follows) = CLASSES.iter().find(|(known, ..)| *known == class).expect("a class");
    given.get(name).map(|price| price.nanos()).or_else(|| effective(given, (*follows)?))
}

fn assert_same(source: &Classes, given: &Given, place: &str) {
    for (class, dollars) in source.iter().filter(|(class, _)| CLASSES.iter().any(|(known, ..)| known == class)) {
        let wanted = nanos_per_mtok(dollars.get());
        // Providers without a class of cache writes have a zero there, which is no price.
        if wanted == 0 && class == "cache_write" {
            continue;
        }
        assert_eq!(effective(given, class), Some(wanted), "{place}: {class}");
    }
}

fn tier_named<'a>(price: &'a Price, name: &str) -> &'a PriceTier {
    let is_named = |tier: &&PriceTier| {
        let above = tier.above_input_tokens.map(|above| format!("above_{}k", above / 1_000));
        let words: Vec<String> = above.into_iter().chain(tier.service_tier.map(|tier| tier.to_string())).collect();
        words.join("_") == name
    };
    price.tiers.iter().find(is_named).unwrap_or_else(|| panic!("no tier {name}"))
}

#[test]
fn prices_are_those_of_the_source_to_the_last_digit() {
    let sample: Vec<Sampled> = serde_json::from_str(SAMPLE).expect("the sample");
    assert!(sample.len() > 40);
    for Sampled { key, provider, model, region, row } in sample {
        let found = shipped().model(&provider, &model).unwrap_or_else(|| panic!("{key}"));
        if provider == "ollama" {
            assert_eq!(found.price, None, "{key}: what a server of one's own costs is not known");
            continue;
        }
        let price = match &region {
            Some(region) => found.regional_prices.get(region),
            None => found.price.as_ref(),
        };
        let price = price.unwrap_or_else(|| panic!("{key} has no price"));
        let base = nanos(price.per_mtok());
        assert_same(&row.price, &base, &key);
        for (name, classes) in &row.tiers {
            // What a tier does not list is checked at its base.
            let mut given = base.clone();
            given.extend(nanos(tier_named(price, name).per_mtok()));
            assert_same(classes, &given, &format!("{key} {name}"));
        }
        for (index, band) in row.bands.iter().enumerate() {
            let from: u64 =
                band["range"].get().trim_matches(['[', ']']).split(',').next().expect("two").parse().expect("tokens");
            let mut given = base.clone();
            if index > 0 {
                let tier = price.tiers.iter().find(|tier| tier.above_input_tokens == Some(from - 1)).expect("a tier");
                given.extend(nanos(tier.per_mtok()));
            }
            assert_same(band, &given, &format!("{key} from {from}"));
        }
        assert_eq!(price.tiers.len(), row.tiers.len() + row.bands.len().saturating_sub(1), "{key}");
    }
}

#[test]
fn there_are_the_sixteen_providers_and_vertex_ai_with_their_variables() {
    let ids: Vec<&str> = shipped().providers().iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "openai", "anthropic", "gemini", "groq", "together", "mistral", "perplexity", "openrouter", "xai",
            "cohere", "azure_openai", "bedrock", "huggingface", "dashscope", "deepseek", "ollama", "vertex_ai"
        ]
    );
    let mut seen = BTreeSet::new();
    for provider in shipped().providers() {
        for variable in provider.variables() {
            assert!(seen.insert(variable), "{variable} is of two providers");
        }
        let has_address = provider.base_url.is_some() || provider.base_url_template.is_some();
        assert!(has_address || ["azure_openai", "vertex_ai"].contains(&provider.id.as_str()), "{}", provider.id);
    }
}

fn names_of<'a>(wanted: &[(&'a str, &'a str)]) -> Vec<Option<&'static str>> {
    wanted
        .iter()
        .map(|(provider, model)| {
            let found = shipped().model(provider, model).unwrap_or_else(|| panic!("{provider} {model}"));
            found.name.as_deref()
        })
        .collect()
}

#[test]
fn the_same_model_of_several_providers_has_one_name() {
    let groups: [(&str, &[(&str, &str)]); 8] = [
        ("gpt-4o", &[("openai", "gpt-4o"), ("azure_openai", "gpt-4o"), ("openrouter", "openai/gpt-4o")]),
        ("gpt-3.5-turbo-16k", &[("openai", "gpt-3.5-turbo-16k"), ("azure_openai", "gpt-35-turbo-16k")]),
        (
            "claude-haiku-4-5",
            &[
                ("anthropic", "claude-haiku-4-5"),
                ("bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0"),
                ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
                ("openrouter", "anthropic/claude-haiku-4.5"),
                ("vertex_ai", "claude-haiku-4-5"),
            ],
        ),
        (
            "claude-haiku-4-5-20251001",
            &[("anthropic", "claude-haiku-4-5-20251001"), ("vertex_ai", "claude-haiku-4-5@20251001")],
        ),
        (
            "claude-3-5-sonnet-20240620",
            &[("bedrock", "anthropic.claude-3-5-sonnet-20240620-v1:0"), ("vertex_ai", "claude-3-5-sonnet@20240620")],
        ),
        (
            "llama-3.3-70b-instruct",
            &[("bedrock", "meta.llama3-3-70b-instruct-v1:0"), ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo")],
        ),
        (
            "gpt-oss-120b",
            &[
                ("bedrock", "openai.gpt-oss-120b-1:0"),
                ("groq", "openai/gpt-oss-120b"),
                ("together", "openai/gpt-oss-120b"),
            ],
        ),
        ("gemini-2.5-pro", &[("gemini", "gemini-2.5-pro"), ("vertex_ai", "gemini-2.5-pro")]),
    ];
    for (name, models) in groups {
        assert_eq!(names_of(models), vec![Some(name); models.len()], "{name}");
    }
    let guesses = [
        ("openrouter", "x-ai/grok-4-fast:free"),
        ("openrouter", "deepseek/deepseek-chat"),
        ("azure_openai", "mistral-large-latest"),
        ("ollama", "llama3.1"),
    ];
    assert_eq!(names_of(&guesses), [None; 4]);
}

#[test]
fn models_of_one_provider_and_name_differ_in_their_geography() {
    let mut seen = BTreeMap::new();
    for model in shipped().models() {
        let Some(name) = &model.name else { continue };
        let before = seen.insert((&model.provider, name, &model.geography), &model.model);
        assert_eq!(before, None, "{}", model.model);
    }
}

#[test]
fn an_alias_is_a_priced_model_for_conversations_of_its_makers_provider_or_of_a_host() {
    let is_offered =
        |model: &&Model| model.mode == Mode::Chat && model.price.is_some() && !model.is_retired(shipped().version());
    for (alias, name) in shipped().aliases() {
        assert!(shipped().named(name).any(|model| is_offered(&model)), "{alias}");
    }
    for alias in ["gpt", "claude", "gemini", "mistral-large", "llama"] {
        assert!(shipped().aliased(alias).is_some(), "{alias}");
    }
}

#[test]
fn no_price_is_zero_by_accident() {
    let is_nothing = |rate: NanoUsdPerMtok| rate.of_a_million() == NanoUsd::ZERO;
    for model in shipped().models().iter().filter(|model| !model.model.ends_with(":free")) {
        let Some(price) = &model.price else { continue };
        let is_free = is_nothing(price.input_usd_per_mtok) && price.request_usd.is_none()
            || is_nothing(price.output_usd_per_mtok) && model.mode != Mode::Embedding;
        assert!(!is_free, "{} {}", model.provider, model.model);
    }
}

#[test]
fn what_the_gateway_cannot_call_is_known_by_its_mode() {
    let mode = |provider, model| shipped().model(provider, model).map(|found| found.mode);
    assert_eq!(mode("openai", "o3-pro"), Some(Mode::Responses));
    assert_eq!(mode("openai", "text-embedding-3-small"), Some(Mode::Embedding));
    assert_eq!(mode("openai", "gpt-3.5-turbo-instruct"), Some(Mode::Completion));
}
