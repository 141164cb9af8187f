//! `ledgerway catalogue update FILE`: another catalogue in place of the one that is in force.

use std::path::Path;
use std::time::Duration;

use built_in_catalogue::{CATALOGUE_FILE, Catalogue, Difference, Model, Older};
use serde_json::Value;

use super::super::runtime::CommandRuntime;
use super::super::{Failure, gateway_access, variable};
use super::prices::dollars;
use crate::arguments::UpdateArgs;
use crate::settings::database;
use crate::settings::setting::DATABASE_URL;

/// The most models that are shown of each kind of change.
const SHOWN_MAX: usize = 50;
/// A gateway may record thousands of changes from one catalogue.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(120);

/// Shows what the file would change, and writes it if that was confirmed.
pub fn update(args: &UpdateArgs, runtime: &CommandRuntime) -> Result<String, Failure> {
    let dir = &args.data.dir;
    let (newer, text) = built_in_catalogue::read_file(&args.file).map_err(Failure::not_begun)?;
    let current = super::in_force(dir);
    check_version(&newer, &current, args.force)?;
    let shipped = Catalogue::shipped();
    let unused: Vec<String> = shipped.differing_providers(&newer).into_iter().map(super::quoted).collect();
    let mut shown = report(&current, &newer.with_providers_of(shipped));
    if !unused.is_empty() {
        let (count, names) = (unused.len(), unused[..unused.len().min(SHOWN_MAX)].join(", "));
        shown.push(format!(
            "providers come with a release: {count} {} in the file, which is not used: {names}",
            if count == 1 { "differs" } else { "differ" }
        ));
    }
    let file = dir.join(CATALOGUE_FILE);
    if !args.yes {
        shown.push(format!("nothing was written; to write {}, add --yes", file.display()));
        return Ok(shown.join("\n"));
    }
    check_folder(dir)?;
    shown.push(take(dir, text, args.force, runtime)?);
    Ok(shown.join("\n"))
}

/// Writes the catalogue, or gives it to the gateway that serves the folder, which then keeps it and records what follows from
/// it. Returns what was done.
fn take(dir: &Path, text: String, force: bool, runtime: &CommandRuntime) -> Result<String, Failure> {
    let file = dir.join(CATALOGUE_FILE);
    match gateway_access::serving(dir)? {
        Some(url) => {
            let gateway = gateway_access::of_operator(&url, dir)?.waiting(IMPORT_TIMEOUT);
            let path = format!("/v1/admin/prices/import?force={force}");
            let taken = runtime.block_on(gateway.post_document(&path, text));
            Ok(in_gateway(&url, &taken.map_err(Failure::failed)?))
        }
        None => {
            if database(variable)?.is_some() {
                return Err(Failure::NotBegun(format!(
                    "{} is set, so nodes have their catalogue in the database, and no node that could take it runs on {}: give the \
                     folder of one that runs with --data DIR",
                    DATABASE_URL.variable,
                    dir.display()
                )));
            }
            built_in_catalogue::write(dir, &text)
                .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", file.display())))?;
            Ok(format!("wrote {}", file.display()))
        }
    }
}

/// The changes that a running gateway made by it.
fn in_gateway(url: &str, taken: &Value) -> String {
    let counts = |kind: &str| {
        let count = |what: &str| taken["recorded"][kind][what].as_u64().unwrap_or_default();
        format!("{kind} {} new, {} changed, {} ended", count("created"), count("changed"), count("ended"))
    };
    let position = taken["position"].as_u64().unwrap_or_default();
    format!("the gateway at {url} has taken it: {}, {}, at position {position}", counts("prices"), counts("models"))
}

/// Errors: it is older, and nobody insists; or it would have no effect.
fn check_version(newer: &Catalogue, current: &Catalogue, force: bool) -> Result<(), Failure> {
    match built_in_catalogue::check_age(newer, current) {
        Ok(()) => Ok(()),
        Err(Older::ThanInForce { .. }) if force => Ok(()),
        Err(older @ Older::ThanInForce { .. }) => {
            Err(Failure::NotBegun(format!("the file {older}; to go back, add --force")))
        }
        Err(older @ Older::ThanShipped { .. }) => Err(Failure::NotBegun(format!("the file {older}"))),
    }
}

/// A folder that is not there is most likely another one than was meant.
fn check_folder(dir: &Path) -> Result<(), Failure> {
    if dir.is_dir() {
        return Ok(());
    }
    let shown = dir.display();
    Err(Failure::NotBegun(format!("there is no folder {shown}: give the data folder with --data DIR")))
}

fn report(current: &Catalogue, newer: &Catalogue) -> Vec<String> {
    let difference = Difference::between(current, newer);
    let mut lines = vec![format!("from the catalogue of {} to that of {}", current.version(), newer.version())];
    let name = |model: &Model| format!("{}/{}", model.provider, model.model);
    add(&mut lines, "new", &difference.new, |model| format!("{}  {}", name(model), price_of(model)));
    add(&mut lines, "gone", &difference.gone, |model| name(model));
    add(&mut lines, "other price", &difference.repriced, |(before, after)| {
        let (name, before, after) = (name(after), price_of(before), price_of(after));
        if before == after {
            format!("{name}  {after}, in tiers, regions or other classes")
        } else {
            format!("{name}  {before} -> {after}")
        }
    });
    add(&mut lines, "otherwise changed", &difference.changed, |(_, after)| name(after));
    let aliases = changed_aliases(current, newer);
    if !aliases.is_empty() {
        lines.push(format!("aliases: {}", aliases.join(", ")));
    }
    if difference.is_empty() && aliases.is_empty() {
        lines.push("the same models at the same prices".to_owned());
    }
    lines
}

/// Adds how many changes there are of a kind, and a line for each.
fn add<C>(lines: &mut Vec<String>, kind: &str, changes: &[C], shown: impl Fn(&C) -> String) {
    if changes.is_empty() {
        return;
    }
    lines.push(format!("{kind}: {}", changes.len()));
    lines.extend(changes.iter().take(SHOWN_MAX).map(|change| format!("  {}", shown(change))));
    if changes.len() > SHOWN_MAX {
        lines.push(format!("  and {} more", changes.len() - SHOWN_MAX));
    }
}

/// `2.5 in, 10 out`.
fn price_of(model: &Model) -> String {
    model.price.as_ref().map_or_else(
        || "price unknown".to_owned(),
        |price| {
            let [input, output] =
                [price.input_usd_per_mtok, price.output_usd_per_mtok].map(|rate| dollars(rate.of_a_million()));
            format!("{input} in, {output} out")
        },
    )
}

fn changed_aliases(current: &Catalogue, newer: &Catalogue) -> Vec<String> {
    let after = newer.aliases().filter_map(|(alias, name)| match current.aliased(alias) {
        Some(before) if before == name => None,
        Some(before) => Some(format!("{alias} {before} -> {name}")),
        None => Some(format!("{alias} -> {name}")),
    });
    let gone = current.aliases().filter(|(alias, _)| newer.aliased(alias).is_none());
    after.chain(gone.map(|(alias, name)| format!("no {alias} ({name})"))).collect()
}
