//! Advice about the name of a model that this gateway does not have: how it gets the model if the catalogue knows it, and
//! similar names.

use std::collections::BTreeSet;
use std::path::Path;

use built_in_catalogue::{Catalogue, Model, Provider};
use chrono::NaiveDate;
use command::environment::{Availability, DEPLOYMENTS_VARIABLE, availability};
use dialects::provider_dialects;
use events::nearest_name::nearest_name;
use events::time::{Clock, SystemClock};
use http::Method;
use serde_json::Value;

use super::super::gateway_client::GatewayClient;
use super::super::printable_text::is_printable;

/// The most names that are suggested for an unknown one, and the most reasons that are given for a missing one.
const SUGGESTED_MAX: usize = 3;

/// How the gateway gets models, if a key may use none.
pub const NO_MODEL: &str =
    "the key may use no model: add a provider and a model, or set a provider's key such as OPENAI_API_KEY";

pub async fn advice(gateway: &GatewayClient, model: &str, dir: &Path) -> String {
    let listed = gateway.request(Method::GET, "/v1/models").await.unwrap_or_default();
    let listed = || listed["data"].as_array().into_iter().flatten();
    let names: Vec<&str> = listed().filter_map(|entry| printable(&entry["id"])).collect();
    let providers: BTreeSet<&str> = listed().filter_map(|entry| printable(&entry["provider"])).collect();
    let catalogue = built_in_catalogue::in_force(dir).catalogue;
    let known = of_known(&catalogue, model, &providers, SystemClock::new().now().date_naive());
    let near = nearest(model, names.clone());
    let near = (!near.is_empty()).then(|| format!("did you mean {}?", near.join(", ")));
    match (known, near) {
        (Some(known), Some(near)) => format!("{known}; or {near}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => match names.len() {
            0 => NO_MODEL.to_owned(),
            // Short enough to be read at a glance.
            1..=12 => format!("the key may use {}", names.join(", ")),
            count => format!("the key may use {count} models: `ledgerway models list` lists them"),
        },
    }
}

fn printable(text: &Value) -> Option<&str> {
    text.as_str().filter(|text| text.chars().all(is_printable))
}

/// The nearest names, the nearest first.
fn nearest<'a>(typed: &str, mut names: Vec<&'a str>) -> Vec<&'a str> {
    let mut near = Vec::new();
    while let Some(name) = nearest_name(typed, names.iter().copied()).filter(|_| near.len() < SUGGESTED_MAX) {
        names.retain(|other| *other != name);
        near.push(name);
    }
    near
}

/// How to get a model that the catalogue knows, given the gateway's providers; and why those of them that serve it do not offer it.
/// `None` if nothing helps.
fn of_known(catalogue: &Catalogue, asked: &str, providers: &BTreeSet<&str>, today: NaiveDate) -> Option<String> {
    let (mut ways, mut of_present, mut of_absent) = (Vec::new(), Vec::new(), Vec::new());
    let mut meant = catalogue.meant(asked);
    // As bare names try them.
    meant.sort_by_key(|model| catalogue.providers().iter().position(|provider| provider.id == model.provider));
    for model in meant {
        let Some(provider) = catalogue.provider(&model.provider) else { continue };
        let is_present = providers.iter().any(|name| is_of(name, &provider.id));
        match (availability(catalogue, model, today), is_present) {
            (Availability::Offered, false) => ways.extend(variables(provider)),
            (Availability::Offered, true) if provider_dialects::has_deployments(&provider.kind) => {
                of_present.push(format!("add it to {DEPLOYMENTS_VARIABLE}, and start the gateway again"));
            }
            (availability, true) => of_present.extend(reason(model, availability)),
            (availability, false) => of_absent.extend(reason(model, availability)),
        }
    }
    let reasons = if of_present.is_empty() && ways.is_empty() { of_absent } else { of_present };
    let mut said = distinct(reasons);
    said.truncate(SUGGESTED_MAX);
    let ways = distinct(ways);
    said.extend((!ways.is_empty()).then(|| format!("start the gateway with {} set", ways.join(" or "))));
    (!said.is_empty()).then(|| format!("the catalogue knows this model: {}", said.join("; ")))
}

/// True for the provider's name, or `name-2` and so on, which it has beside one of the operator's.
fn is_of(name: &str, provider: &str) -> bool {
    let rest = name.strip_prefix(provider);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|n| n.parse::<u32>().is_ok()))
}

/// The variables to set for the provider's models to appear.
fn variables(provider: &Provider) -> Option<String> {
    let key = provider.key_variables.first()?;
    let is_account = provider_dialects::has_deployments(&provider.kind);
    Some(if is_account { format!("{key} and {DEPLOYMENTS_VARIABLE}") } else { key.clone() })
}

/// Why the provider's model does not appear by itself.
fn reason(model: &Model, availability: Availability<'_>) -> Option<String> {
    let provider = &model.provider;
    Some(match availability {
        Availability::Retired { on, successor: Some(successor) } => {
            format!("{provider} retired it on {on} and recommends {successor}")
        }
        Availability::Retired { on, successor: None } => format!("{provider} retired it on {on}"),
        Availability::ResponsesOnly => {
            format!("{provider} has it only in its Responses API, which the gateway does not call")
        }
        Availability::NoPrice => {
            format!("its whole price at {provider} is not known: create a price and a model, as docs/provider.md shows")
        }
        Availability::Offered => {
            format!("for your provider {provider}, create a price and a model, as docs/provider.md shows")
        }
        Availability::NotCalled => return None,
    })
}

/// Each once, in their order.
fn distinct(texts: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    texts.into_iter().filter(|text| seen.insert(text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_near_names_are_suggested_and_none_that_is_not_near() {
        let names = vec!["gpt-4o", "gpt-4o-mini", "openai/gpt-4o", "gpt-4o-audio", "sim-small"];
        assert_eq!(nearest("gpt-4o", names.clone()), ["gpt-4o", "gpt-4o-mini", "gpt-4o-audio"]);
        assert_eq!(nearest("sim-smal", names.clone()), ["sim-small"]);
        assert!(nearest("claude", names).is_empty());
    }

    /// Holds: bin.models-try
    #[test]
    fn only_variables_that_help_are_named_and_otherwise_the_reason() {
        let text = r#"{"schema":1,"version":"2026-11-20","sources":[],"aliases":{},"providers":[
            {"id":"openai","name":"OpenAI","kind":"openai","documentation":"https://a.example","base_url":"https://a.example",
             "key_variables":["OPENAI_API_KEY"]},
            {"id":"azure_openai","name":"Azure","kind":"azure_openai","documentation":"https://b.example",
             "key_variables":["AZURE_OPENAI_API_KEY"]},
            {"id":"perplexity","name":"Perplexity","kind":"openai","documentation":"https://c.example",
             "base_url":"https://c.example","key_variables":["PERPLEXITY_API_KEY"]}],"models":[
            {"provider":"openai","model":"both","name":"both","mode":"chat","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
            {"provider":"azure_openai","model":"both","name":"both","mode":"chat","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
            {"provider":"perplexity","model":"both","name":"both","mode":"responses","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
            {"provider":"openai","model":"old","name":"old","mode":"chat","deprecated_on":"2026-10-23","successor":"both","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
            {"provider":"azure_openai","model":"old","name":"old","mode":"chat","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
            {"provider":"openai","model":"pro","name":"pro","mode":"responses","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}]}"#;
        let catalogue = Catalogue::parse(text).expect("a catalogue");
        let today = NaiveDate::from_ymd_opt(2026, 11, 22).expect("a day");
        let responses = "openai has it only in its Responses API, which the gateway does not call";
        let azure = "start the gateway with AZURE_OPENAI_API_KEY and AZURE_OPENAI_DEPLOYMENTS set";
        for (asked, providers, wanted) in [
            (
                "both",
                vec![],
                "start the gateway with OPENAI_API_KEY or AZURE_OPENAI_API_KEY and AZURE_OPENAI_DEPLOYMENTS set"
                    .to_owned(),
            ),
            (
                "both",
                vec!["openai-2", "azure_openai"],
                "for your provider openai, create a price and a model, as docs/provider.md shows; \
                 add it to AZURE_OPENAI_DEPLOYMENTS, and start the gateway again"
                    .to_owned(),
            ),
            (
                "both",
                vec!["openai-eu"],
                "start the gateway with OPENAI_API_KEY or AZURE_OPENAI_API_KEY and AZURE_OPENAI_DEPLOYMENTS set"
                    .to_owned(),
            ),
            ("perplexity/both", vec!["perplexity"], responses.replace("openai", "perplexity")),
            ("old", vec!["openai"], format!("openai retired it on 2026-10-23 and recommends both; {azure}")),
            ("old", vec![], azure.to_owned()),
            ("openai/old", vec![], "openai retired it on 2026-10-23 and recommends both".to_owned()),
            ("pro", vec!["openai"], responses.to_owned()),
            ("pro", vec![], responses.to_owned()),
        ] {
            let said = of_known(&catalogue, asked, &providers.iter().copied().collect(), today);
            assert_eq!(said, Some(format!("the catalogue knows this model: {wanted}")), "{asked} {providers:?}");
        }
        assert_eq!(of_known(&catalogue, "no-such-model", &BTreeSet::new(), today), None);
    }
}
