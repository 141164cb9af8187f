//! Fuzz targets of the environment's variables and of the lists of local servers. See `docs/fuzzing.md`.

use built_in_catalogue::{Catalogue, is_model_name};
use dialects::provider_dialects::model_list_of;
use events::event::admin::{Provider, ProviderKindName};
use fuzzing::{Corpus, Dice, fuzz, shown, within_bounds};

use super::catalogued::known_providers;
use super::detection::{DetectionSettings, KnownProvider, detect};
use super::discovery::offers;
use crate::admin::base_url;

const SECRET: &str = "canary-of-the-fuzzer-2c81";

const LISTS: [&str; 3] = [
    r#"{"models":[{"name":"llama3:latest","model":"llama3:latest","size":1,"details":{"family":"llama"}},{"name":"big","remote_host":"https://ollama.com"}]}"#,
    r#"{"object":"list","data":[{"id":"Qwen/Qwen3-4B","object":"model","max_model_len":32768},{"id":"lora"}]}"#,
    r#"{"models":[],"data":[]}"#,
];

/// Every variable that is read.
fn names(known: &[KnownProvider]) -> Vec<String> {
    let of_provider = |known: &KnownProvider| {
        let access_key = known.access_key.iter().flat_map(|key| [&key.id, &key.secret, &key.session_token]);
        let lists =
            [&known.key_variables, &known.base_url_variables, &known.region_variables, &known.api_version_variables];
        let all = lists.into_iter().flatten().chain(known.header_variables.values()).chain(access_key);
        all.cloned().collect::<Vec<_>>()
    };
    let deployments = super::detection::DEPLOYMENTS_VARIABLE.to_owned();
    known.iter().flat_map(of_provider).chain([deployments]).collect()
}

fn value(dice: &mut Dice<'_>) -> String {
    match dice.below(7) {
        0 => dice.text(40),
        1 => [SECRET, &dice.text(6)].concat(),
        2 => SECRET.to_owned(),
        3 => ["http://", &dice.text_of("0123456789.:[]/a-", 30)].concat(),
        4 => dice.text_of("abc=,. -", 30),
        5 => dice
            .pick(&[
                "", "https://api.openai.com", "http://169.254.169.254", "http://me:pw@h", "us-east-1", "gpt-4o=a,b",
                "a:b",
            ])
            .unwrap_or_default()
            .into(),
        _ => dice.number(),
    }
}

#[test]
fn the_environment_is_used_as_it_says_or_refused_by_name() {
    let known = known_providers(Catalogue::shipped());
    let names = names(&known);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    fuzz!(20_000, |dice| {
        let set: Vec<(&str, String)> =
            (0..dice.below(9)).map(|_| (dice.pick(&names).unwrap_or_default(), value(dice))).collect();
        let variable = |asked: &str| set.iter().find(|(name, _)| *name == asked).map(|(_, value)| value.clone());
        let settings = DetectionSettings { bedrock: dice.one_in(2), own_port: Some(8080), resolve: None };
        match detect(&known, settings, variable) {
            Ok(detected) => {
                for found in &detected.providers {
                    let key = found.key.as_ref().map(secrets::Secret::reveal);
                    assert!(key.is_none_or(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())));
                    assert!(!base_url::is_forbidden(&found.base_url, found.is_private), "{found:?}");
                    let deployments = found.deployments.iter().flatten();
                    assert!(deployments.flat_map(|one| [&one.model, &one.name]).all(|name| is_model_name(name)));
                }
                let said = format!("{:?} {:?}", detected.notes, detected.providers);
                let in_keys = set.iter().any(|(name, value)| {
                    let is_key = name.contains("KEY") || name.contains("TOKEN");
                    !is_key && value.contains(SECRET)
                });
                assert!(in_keys || !said.contains(SECRET), "{said}");
            }
            Err(fault) => {
                let sentence = fault.to_string();
                assert!(names.contains(&fault.variable.as_str()) && sentence.starts_with(&fault.variable));
                assert!(!sentence.chars().any(char::is_control) && sentence.len() < 1024, "{sentence:?}");
                let value = variable(&fault.variable).filter(|_| !fault.variable.contains("DEPLOYMENTS"));
                assert!(value.is_none_or(|value| !value.contains(SECRET) || !sentence.contains(SECRET)), "{sentence}");
            }
        }
    });
}

#[test]
fn a_list_of_models_is_read_or_is_none_and_its_names_can_be_asked_for() {
    let id = format!("prv_{:032x}", 1).parse().expect("an id");
    let ollama = Provider::new(id, "o", ProviderKindName::literal("ollama"));
    let server = Some("vllm".parse().expect("a name"));
    let vllm = Provider { server, ..Provider::new(id, "v", ProviderKindName::literal("openai")) };
    let providers = [ollama, vllm];
    let corpus =
        Corpus::of(LISTS.map(|list| list.as_bytes().to_vec())).knowing(&["name", "id", "max_model_len", "remote_host"]);
    fuzz!(20_000, |dice| {
        let body = corpus.draw(dice);
        for provider in &providers {
            let list = model_list_of(provider).expect("a list");
            let read = within_bounds(&shown(&body), || offers(list, &body));
            for offer in read.into_iter().flatten() {
                assert!(is_model_name(&offer.backend) && offer.bare_names.iter().all(|name| !name.is_empty()));
                assert!(offer.default_max_output_tokens.is_some_and(|cap| cap > 0), "{offer:?}");
            }
        }
    });
}
