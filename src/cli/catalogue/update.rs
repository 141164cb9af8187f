//! `ledgerway catalogue update FILE`: another catalogue in place of the one that is in force.

use std::path::Path;

use catalogue::{CATALOGUE_FILE, Catalogue, Difference, Model};

use super::super::Failure;
use super::prices::dollars;
use crate::config::arguments::UpdateArgs;

/// The most models that are shown of each kind of change.
const SHOWN_MAX: usize = 50;

/// Shows what the file would change, and writes it if that was confirmed.
pub fn update(args: &UpdateArgs) -> Result<String, Failure> {
    let dir = &args.data.dir;
    let (newer, text) = catalogue::read_file(&args.file).map_err(Failure::not_begun)?;
    let current = catalogue::in_force(dir).map_err(Failure::not_begun)?;
    check_version(&newer, &current, args.force)?;
    let mut shown = report(&current, &newer);
    let file = dir.join(CATALOGUE_FILE);
    if !args.yes {
        shown.push(format!("nothing was written; to write {}, add --yes", file.display()));
        return Ok(shown.join("\n"));
    }
    check_folder(dir)?;
    catalogue::write(dir, &text)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", file.display())))?;
    shown.push(format!("wrote {}", file.display()));
    Ok(shown.join("\n"))
}

/// Errors: it is older, and nobody insists; or it would have no effect.
fn check_version(newer: &Catalogue, current: &Catalogue, force: bool) -> Result<(), Failure> {
    let (version, shipped) = (newer.version(), Catalogue::shipped().version());
    if version < shipped {
        return Err(Failure::NotBegun(format!(
            "the file is a catalogue of {version}, and this version of the gateway has one of {shipped}, which would stay \
             in force"
        )));
    }
    if version < current.version() && !force {
        return Err(Failure::NotBegun(format!(
            "the file is a catalogue of {version}, and the one in force is of {}; to go back, add --force",
            current.version()
        )));
    }
    Ok(())
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
    add(&mut lines, "new", &difference.new, |model| price_of(model));
    add(&mut lines, "gone", &difference.gone, |_| String::new());
    add(&mut lines, "other price", &difference.repriced, |(before, after)| {
        let (before, after) = (price_of(before), price_of(after));
        if before == after {
            format!("{after}, in tiers, regions or other classes")
        } else {
            format!("{before} -> {after}")
        }
    });
    add(&mut lines, "otherwise changed", &difference.changed, |_| String::new());
    let aliases = changed_aliases(current, newer);
    if !aliases.is_empty() {
        lines.push(format!("aliases: {}", aliases.join(", ")));
    }
    if difference.is_empty() && aliases.is_empty() {
        lines.push("the same models at the same prices".to_owned());
    }
    lines
}

/// The model that a change is shown under.
trait Changed {
    fn model(&self) -> &Model;
}

impl Changed for &Model {
    fn model(&self) -> &Model {
        self
    }
}

impl Changed for (&Model, &Model) {
    fn model(&self) -> &Model {
        self.1
    }
}

fn add<C: Changed>(lines: &mut Vec<String>, kind: &str, changes: &[C], note: impl Fn(&C) -> String) {
    if changes.is_empty() {
        return;
    }
    lines.push(format!("{kind}: {}", changes.len()));
    for change in changes.iter().take(SHOWN_MAX) {
        let (model, note) = (change.model(), note(change));
        lines.push(format!("  {}/{}  {note}", model.provider, model.model).trim_end().to_owned());
    }
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
