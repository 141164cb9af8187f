//! The corpus: valid inputs to start from, most often golden files.

use std::collections::BTreeSet;
use std::path::Path;

use crate::dice::Dice;
use crate::mutate::mutated;
use crate::tokens::Tokens;

/// Inputs to mutate, and the field names that occur in them.
pub struct Corpus {
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) names: Vec<String>,
}

impl Corpus {
    /// A corpus of these inputs.
    pub fn of(seeds: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let seeds: Vec<Vec<u8>> = seeds.into_iter().collect();
        assert!(!seeds.is_empty(), "nothing to mutate");
        let names: BTreeSet<String> = seeds.iter().flat_map(|seed| names(seed)).collect();
        Self { seeds, names: names.into_iter().collect() }
    }

    /// A corpus of the files `tests/golden/<folder>/<case>.<extension>`, which are inputs, not outputs.
    pub fn golden(folder: &str, extension: &str) -> Self {
        Self::files(folder, |name| {
            let case = name.strip_suffix(extension).and_then(|case| case.strip_suffix('.'));
            case.is_some_and(|case| !case.contains('.'))
        })
    }

    /// A corpus of the files in `tests/golden/<folder>` with accepted names.
    pub fn files(folder: &str, wanted: impl Fn(&str) -> bool) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(folder);
        let entries = std::fs::read_dir(&folder).expect("a folder of golden files");
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(&wanted));
        // Sorted, so that a number stands for the same input everywhere.
        files.sort();
        Self::of(files.iter().map(|file| std::fs::read(file).expect("a golden file")))
    }

    /// Adds field names that none of the inputs has.
    #[must_use]
    pub fn knowing(mut self, names: &[&str]) -> Self {
        self.names.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// One of the inputs, slightly changed; sometimes unchanged, sometimes the dice's own bytes instead.
    pub fn draw(&self, dice: &mut Dice<'_>) -> Vec<u8> {
        mutated(self, dice)
    }

    /// One of the inputs, unchanged.
    pub fn seed(&self, dice: &mut Dice<'_>) -> &[u8] {
        self.seeds.get(dice.below(self.seeds.len())).map_or(&[], Vec::as_slice)
    }
}

fn names(seed: &[u8]) -> Vec<String> {
    let keys = Tokens::of(seed).keys;
    let inside = keys.iter().filter_map(|key| seed.get(key.start + 1..key.end.saturating_sub(1)));
    inside.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}
