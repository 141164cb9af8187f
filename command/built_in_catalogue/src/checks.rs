//! Conditions on a document beyond its form. Each error says where, in the words of the document.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::{Document, SCHEMA};
use crate::model::Model;
use crate::model_name::{MODEL_NAME_CHARS_MAX, is_model_name};
use crate::price::Price;
use crate::provider::Provider;

const ID_LEN_MAX: usize = 64;
const TEXT_LEN_MAX: usize = 200;
const URL_LEN_MAX: usize = 2_000;
/// Prefix of the names of the gateway's own settings; some of them hold its secrets.
const SETTINGS: &str = "LEDGERWAY_";
/// The largest limit of a model, as in the admin API.
const TOKENS_MAX: u64 = 100_000_000;

/// Where it is wrong, and how.
pub struct Wrong {
    pub place: String,
    pub problem: String,
}

fn wrong(place: impl Into<String>, problem: impl Into<String>) -> Wrong {
    Wrong { place: place.into(), problem: problem.into() }
}

/// Checks everything. The first error in the order of the document.
pub fn check(document: &Document) -> Result<(), Wrong> {
    if document.schema != SCHEMA {
        return Err(wrong("schema", format!("is {}, but this version reads {SCHEMA}", document.schema)));
    }
    let mut providers = BTreeSet::new();
    for provider in &document.providers {
        check_provider(provider).map_err(|problem| wrong(place_of_provider(&provider.id), problem))?;
        if !providers.insert(provider.id.as_str()) {
            return Err(wrong(place_of_provider(&provider.id), "is there twice"));
        }
    }
    for (index, source) in document.sources.iter().enumerate() {
        if let Some(unknown) = source.providers.iter().find(|id| !providers.contains(id.as_str())) {
            return Err(wrong(format!("source {index}"), format!("names an unknown provider, {}", shown(unknown))));
        }
    }
    let mut models = BTreeSet::new();
    for model in &document.models {
        check_model(model).map_err(|problem| wrong(named(model), problem))?;
        if !providers.contains(model.provider.as_str()) {
            return Err(wrong(named(model), "is of an unknown provider"));
        }
        if !models.insert((model.provider.as_str(), model.model.as_str())) {
            return Err(wrong(named(model), "is there twice"));
        }
    }
    for model in &document.models {
        let Some(successor) = &model.successor else { continue };
        if successor == &model.model || !models.contains(&(model.provider.as_str(), successor.as_str())) {
            let problem = format!("its successor, {}, is no other model of its provider", shown(successor));
            return Err(wrong(named(model), problem));
        }
    }
    check_aliases(document)
}

fn check_provider(provider: &Provider) -> Result<(), String> {
    let is_of_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if provider.id.is_empty() || provider.id.len() > ID_LEN_MAX || !provider.id.bytes().all(is_of_id) {
        return Err(format!("its id must be 1 to {ID_LEN_MAX} lower-case letters, digits and _"));
    }
    check_line("name", &provider.name)?;
    check_url("documentation", &provider.documentation, false)?;
    if let Some(base_url) = &provider.base_url {
        check_url("base_url", base_url, provider.local)?;
        if provider.local && !is_on_this_machine(base_url) {
            return Err("is local, so that its base_url must be an address of this machine".to_owned());
        }
    }
    if let Some(template) = &provider.base_url_template {
        check_url("base_url_template", template, false)?;
        if template.matches("{region}").count() != 1 {
            return Err("its base_url_template must contain {region} once".to_owned());
        }
    }
    let mut seen = BTreeSet::new();
    for variable in provider.variables() {
        let is_of_variable = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if variable.is_empty() || variable.len() > ID_LEN_MAX || !variable.bytes().all(is_of_variable) {
            return Err(format!("{} is not the name of a variable", shown(variable)));
        }
        if variable.starts_with(SETTINGS) {
            return Err(format!("names {variable}, which is a setting of the gateway"));
        }
        if !seen.insert(variable) {
            return Err(format!("names the variable {variable} twice"));
        }
    }
    let is_of_header = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let bad = provider.header_variables.keys().find(|name| name.is_empty() || !name.bytes().all(is_of_header));
    bad.map_or(Ok(()), |name| Err(format!("{} is not the name of a header", shown(name))))
}

/// True for a host that is always this machine. Names that merely resolve to it are others.
fn is_on_this_machine(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    matches!(port.map_or(authority, |(host, _)| host), "127.0.0.1" | "[::1]" | "localhost")
}

/// `http:` is for a server on this machine alone: a key must not be sent in the clear.
fn check_url(field: &str, url: &str, is_local: bool) -> Result<(), String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://").filter(|_| is_local));
    let is_written = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\');
    match rest {
        Some(rest) if !rest.is_empty() && url.len() <= URL_LEN_MAX && url.bytes().all(is_written) => Ok(()),
        _ => Err(format!("its {field} must be an address that begins with https://")),
    }
}

fn check_model(model: &Model) -> Result<(), String> {
    check_name("model", &model.model)?;
    if let Some(name) = &model.name {
        check_name("name", name)?;
    }
    if let Some(geography) = &model.geography {
        check_region("geography", geography)?;
    }
    let limits = [
        ("context_window", model.context_window),
        ("max_output_tokens", model.max_output_tokens),
        ("dimensions", model.dimensions),
    ];
    for (field, limit) in limits {
        if limit.is_some_and(|limit| limit == 0 || u64::from(limit) > TOKENS_MAX) {
            return Err(format!("its {field} must be 1 to {TOKENS_MAX}"));
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = model.capabilities.iter().find(|capability| !seen.insert(**capability)) {
        return Err(format!("has the capability {twice} twice"));
    }
    if let Some(price) = &model.price {
        check_price(price).map_err(|problem| format!("its price {problem}"))?;
    }
    for (region, price) in &model.regional_prices {
        check_region("region", region)?;
        check_price(price).map_err(|problem| format!("its price in {region} {problem}"))?;
    }
    Ok(())
}

fn check_price(price: &Price) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (index, tier) in price.tiers.iter().enumerate() {
        let (above, service_tier) = tier.conditions();
        if above.is_none() && service_tier.is_none() {
            return Err(format!("has a tier without a condition, tier {index}"));
        }
        if above.is_some_and(|above| above == 0 || above > TOKENS_MAX) {
            return Err(format!("has an above_input_tokens that is not 1 to {TOKENS_MAX}, in tier {index}"));
        }
        if tier.per_mtok().next().is_none() {
            return Err(format!("has a tier without prices, tier {index}"));
        }
        if !seen.insert((above, service_tier)) {
            return Err(format!("has two tiers with the conditions of tier {index}"));
        }
    }
    Ok(())
}

fn check_aliases(document: &Document) -> Result<(), Wrong> {
    let mut served = BTreeMap::new();
    for model in &document.models {
        let Some(name) = &model.name else { continue };
        *served.entry(name.as_str()).or_insert(false) |= !model.is_retired(document.version);
    }
    for (alias, name) in &document.aliases {
        let place = format!("alias {}", shown(alias));
        check_name("name", alias).map_err(|problem| wrong(place.as_str(), problem))?;
        if served.contains_key(alias.as_str()) {
            return Err(wrong(place, "is the name of a model"));
        }
        match served.get(name.as_str()) {
            None => return Err(wrong(place, format!("is for {}, which no model is named", shown(name)))),
            Some(false) => {
                return Err(wrong(place, format!("is for {}, which no provider serves any more", shown(name))));
            }
            Some(true) => {}
        }
    }
    Ok(())
}

/// A name as clients and operators write it: without white space, control and format characters.
fn check_name(field: &str, name: &str) -> Result<(), String> {
    if !is_model_name(name) {
        return Err(format!("its {field} must be 1 to {MODEL_NAME_CHARS_MAX} characters without white space"));
    }
    Ok(())
}

fn check_line(field: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() || text.chars().count() > TEXT_LEN_MAX || text.chars().any(char::is_control) {
        return Err(format!("its {field} must be one line of 1 to {TEXT_LEN_MAX} characters"));
    }
    Ok(())
}

fn check_region(field: &str, region: &str) -> Result<(), String> {
    let is_of_region = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if region.is_empty() || region.len() > ID_LEN_MAX || !region.bytes().all(is_of_region) {
        return Err(format!("its {field} must be 1 to {ID_LEN_MAX} lower-case letters, digits and -"));
    }
    Ok(())
}

fn named(model: &Model) -> String {
    place_of_model(Some(&model.provider), &model.model)
}

pub fn place_of_provider(id: &str) -> String {
    format!("provider {}", shown(id))
}

/// The provider may not be known.
pub fn place_of_model(provider: Option<&str>, model: &str) -> String {
    let of_provider = provider.map(|provider| format!(" of {}", shown(provider))).unwrap_or_default();
    format!("model {}{of_provider}", shown(model))
}

/// A text of the document, quoted and shortened, for an error.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    format!("{:?}", text.chars().take(CHARS_MAX).collect::<String>())
}
