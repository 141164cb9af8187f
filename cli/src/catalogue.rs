//! `ledgerway catalogue`: providers, models and list prices that the gateway knows by itself. It asks nobody. Exit 0 done,
//! 1 nothing found or not written, 2 wrong arguments or no catalogue.

mod prices;
mod update;

use std::borrow::Cow;
use std::path::Path;

use built_in_catalogue::{Catalogue, Mode, Model};
use chrono::NaiveDate;
use events::nearest_name::did_you_mean;
use events::time::{Clock, SystemClock};

use super::runtime::CommandRuntime;
use super::{Failure, print_error, print_line, table};
use crate::arguments::{CatalogueCommand, ListArgs};
use crate::settings::setting::JSON;
use crate::settings::{Flags, boolean};

/// The most characters that are repeated of an argument.
const ARGUMENT_CHARS_MAX: usize = 64;

pub fn run(command: &CatalogueCommand, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let text = match command {
        CatalogueCommand::List(args) => list(args, flags),
        CatalogueCommand::Search(args) => search(&args.data.dir, &args.words),
        CatalogueCommand::Show(args) => show(&args.data.dir, &args.model),
        CatalogueCommand::Update(args) => update::update(args, runtime),
    };
    text.map(|text| print_line(&text))
}

fn list(args: &ListArgs, flags: &Flags) -> Result<String, Failure> {
    let json = flags.check(JSON, boolean(&args.json))?;
    let catalogue = in_force(&args.data.dir);
    let mode = args.mode.as_deref().map(known_mode).transpose()?;
    let models = match &args.provider {
        Some(provider) => {
            check_provider(&catalogue, provider)?;
            catalogue.models_of(provider)
        }
        None => catalogue.models(),
    };
    let models: Vec<&Model> = models.iter().filter(|model| mode.is_none_or(|mode| model.mode == mode)).collect();
    if json { serde_json::to_string(&models).map_err(Failure::failed) } else { Ok(lines(&models)) }
}

/// The catalogue that is used with a data folder. If its file is not, that is said.
fn in_force(dir: &Path) -> Cow<'static, Catalogue> {
    let in_force = built_in_catalogue::in_force(dir);
    if let Some(warning) = in_force.warning() {
        print_error(&warning);
    }
    in_force.catalogue
}

fn known_mode(word: &str) -> Result<Mode, Failure> {
    Mode::parse(word).ok_or_else(|| {
        let known = Mode::words().collect::<Vec<_>>().join(", ");
        Failure::NotBegun(format!("--mode is {}, but must be one of {known}", quoted(word)))
    })
}

fn check_provider(catalogue: &Catalogue, id: &str) -> Result<(), Failure> {
    if catalogue.provider(id).is_some() {
        return Ok(());
    }
    let known: Vec<&str> = catalogue.providers().iter().map(|provider| provider.id.as_str()).collect();
    let near = did_you_mean(id, known.iter().copied());
    let near = if near.is_empty() { format!("; there are {}", known.join(", ")) } else { near };
    Err(Failure::NotBegun(format!("--provider is {}, which the catalogue does not have{near}", quoted(id))))
}

fn search(dir: &Path, words: &[String]) -> Result<String, Failure> {
    let catalogue = in_force(dir);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let found = catalogue.search(&words);
    if found.is_empty() {
        return Err(Failure::Failed(format!("no model contains {}", quoted(&words.join(" ")))));
    }
    Ok(lines(&found))
}

fn show(dir: &Path, asked: &str) -> Result<String, Failure> {
    let catalogue = in_force(dir);
    let models = catalogue.meant(asked);
    if models.is_empty() {
        let names = catalogue.names().chain(catalogue.aliases().map(|(alias, _)| alias));
        let near = did_you_mean(asked, names);
        return Err(Failure::Failed(format!("the catalogue has no model {}{near}", quoted(asked))));
    }
    let mut parts = Vec::new();
    if let Some(name) = catalogue.aliased(asked) {
        parts.push(format!("{asked} is an alias of {name}"));
    }
    let today = SystemClock::new().now().date_naive();
    parts.extend(models.iter().map(|model| described(model, today)));
    parts.push(format!("catalogue of {}; prices in US dollars per million tokens", catalogue.version()));
    Ok(parts.join("\n\n"))
}

/// One model a line, as a table.
fn lines(models: &[&Model]) -> String {
    let head = ["provider", "model", "name", "mode", "context", "input", "output", "ends on"].map(str::to_owned);
    let rows = models.iter().map(|model| {
        let price = model.price.as_ref();
        vec![
            model.provider.clone(),
            model.model.clone(),
            model.name.clone().unwrap_or_default(),
            model.mode.to_string(),
            model.context_window.map(|tokens| tokens.to_string()).unwrap_or_default(),
            price.map(|price| prices::dollars(price.input_usd_per_mtok.of_a_million())).unwrap_or_default(),
            price.map(|price| prices::dollars(price.output_usd_per_mtok.of_a_million())).unwrap_or_default(),
            model.deprecated_on.map(|day| day.to_string()).unwrap_or_default(),
        ]
    });
    table::aligned(std::iter::once(head.to_vec()).chain(rows).collect())
}

/// Everything that is known of a model on this day.
fn described(model: &Model, today: NaiveDate) -> String {
    let mut facts = vec![model.mode.to_string()];
    let tokens = |name: &str, tokens: Option<u32>| tokens.map(|tokens| format!("{name} {tokens}"));
    facts.extend(tokens("context", model.context_window));
    facts.extend(tokens("output", model.max_output_tokens));
    facts.extend(tokens("dimensions", model.dimensions));
    facts.extend(model.geography.as_ref().map(|geography| format!("served in {geography}")));
    facts.extend(model.always_searches.then(|| "always searches".to_owned()));
    facts.extend(model.deprecated_on.map(|day| match model.is_retired(today) {
        true => format!("retired on {day}"),
        false => format!("deprecated, and retired on {day}"),
    }));
    facts.extend(model.successor.as_ref().map(|successor| format!("successor {successor}")));
    let name = model.name.as_ref().map(|name| format!(", named {name}")).unwrap_or_default();
    let mut text = format!("{}/{}{name}\n  {}", model.provider, model.model, facts.join(", "));
    if !model.capabilities.is_empty() {
        let known: Vec<&str> = model.capabilities.iter().map(|capability| capability.as_str()).collect();
        text.push_str("\n  can: ");
        text.push_str(&known.join(", "));
    }
    let facts = model.stated_facts();
    text.push_str(&format!("\n  abilities: {}", facts.abilities.shown()));
    if let Some(refused) = facts.refused_parameters {
        text.push_str(&format!("\n  refuses: {refused}"));
    }
    text.push('\n');
    text.push_str(&prices::table_of(model));
    text
}

/// An argument in an error: quoted, and shortened.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(ARGUMENT_CHARS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests;
