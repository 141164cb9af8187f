//! The page that lists the variables of providers, against the catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Variables that are the gateway's own, and not the catalogue's.
const OWN: [(&str, &str); 2] = [("azure_openai", "AZURE_OPENAI_DEPLOYMENTS"), ("bedrock", "LEDGERWAY_BEDROCK")];
/// A variable that the gateway does not read, although there is a `GOOGLE_API_KEY`: programs for other services of Google's have
/// it (`OF_OTHERS` in `command/src/environment/catalogued.rs`).
const NOT_READ: &str = "GOOGLE_BASE_URL";

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file")
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The variables of each provider of the catalogue that variables can name.
fn of_catalogue() -> BTreeMap<String, BTreeSet<String>> {
    let catalogue: Value = serde_json::from_str(&read("command/built_in_catalogue/data/catalogue.json")).expect("JSON");
    let providers = catalogue["providers"].as_array().expect("providers").iter().map(|provider| {
        let id = provider["id"].as_str().expect("an id").to_owned();
        let fields = [
            "key_variables", "access_key_variables", "base_url_variable", "region_variables", "api_version_variable",
            "header_variables",
        ];
        let mut variables: BTreeSet<String> = fields.iter().flat_map(|field| texts(&provider[*field])).collect();
        // Beside `X_API_KEY`, `X_BASE_URL`.
        let keys = texts(&provider["key_variables"]);
        variables.extend(keys.iter().filter_map(|key| Some(key.strip_suffix("API_KEY")?.to_owned() + "BASE_URL")));
        variables.remove(NOT_READ);
        variables.extend(OWN.iter().filter(|(of, _)| *of == id).map(|(_, name)| (*name).to_owned()));
        (id, variables)
    });
    providers.filter(|(_, variables)| !variables.is_empty()).collect()
}

/// The variables in each row of the first table of a page.
fn of_page(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = read(page);
    let rows = text.lines().skip_while(|line| !line.starts_with("| provider |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|row| {
        let quoted = row.split('`').skip(1).step_by(2);
        let words: Vec<&str> = quoted.map(|word| word.split('=').next().unwrap_or_default()).collect();
        let is_variable =
            |word: &&str| word.contains('_') && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        let variables = words.iter().skip(1).copied().filter(is_variable).map(str::to_owned).collect();
        (words.first().expect("a provider").to_string(), variables)
    });
    rows.collect()
}

/// Holds: environment.listed
#[test]
fn the_page_lists_the_variables_that_are_read() {
    let wanted = of_catalogue();
    assert_eq!(wanted.len(), 16);
    assert_eq!(of_page("docs/environment.md"), wanted);
}
