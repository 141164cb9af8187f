//! Values as a plan shows them: one field a line, and what is in lists and mappings by its path.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::printable_text::printable_line;

const VALUE_CHARS_MAX: usize = 100;
/// How much of what two values have in common is shown before their difference, where they differ late.
const COMMON_CHARS: usize = 20;

/// The fields of a value, by their paths.
pub fn flat(fields: &Map<String, Value>) -> BTreeMap<Path, String> {
    let mut found = BTreeMap::new();
    for (name, value) in fields {
        add(Path(vec![PathStep::Field(name.clone())]), value, &mut found);
    }
    found
}

/// A path whose items sort by their index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathStep {
    Field(String),
    Item(usize),
}

impl Path {
    fn with(&self, step: PathStep) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Field(name) if index == 0 => f.write_str(&printable_line(name, VALUE_CHARS_MAX))?,
                PathStep::Field(name) => write!(f, ".{}", printable_line(name, VALUE_CHARS_MAX))?,
                PathStep::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

fn add(path: Path, value: &Value, found: &mut BTreeMap<Path, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| add(path.with(PathStep::Field(name.clone())), value, found));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| add(path.with(PathStep::Item(index)), item, found));
        }
        Value::Null => {}
        Value::String(text) => drop(found.insert(path, text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            found.insert(path, value.to_string());
        }
    }
}

/// A value on one line.
pub fn shown(text: &str) -> String {
    let line = printable_line(&text.replace('\n', " "), VALUE_CHARS_MAX);
    match text.chars().count() > VALUE_CHARS_MAX {
        true => format!("{line}…"),
        false if line.is_empty() => "\"\"".to_owned(),
        false => line,
    }
}

/// Two different values, each on one line. If they differ only beyond what is shown, it begins shortly before the difference.
pub fn shown_apart(before: &str, after: &str) -> (String, String) {
    let common = before.chars().zip(after.chars()).take_while(|(one, other)| one == other).count();
    let skipped = if common < VALUE_CHARS_MAX - COMMON_CHARS { 0 } else { common - COMMON_CHARS };
    let from = |text: &str| {
        let rest = text.char_indices().nth(skipped).map_or("", |(at, _)| &text[at..]);
        let cut = if skipped > 0 { "…" } else { "" };
        format!("{cut}{}", shown(rest))
    };
    match (from(before), from(after)) {
        (before, after) if before == after => (before, format!("{after} (differs in characters that are not shown)")),
        lines => lines,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_shown_wherever_it_is() {
        let long = |end: &str| format!("{}{end}", "é".repeat(150));
        let common = format!("…{}", "é".repeat(COMMON_CHARS));
        for (before, after, lines) in [
            ("a", "b", ("a".to_owned(), "b".to_owned())),
            ("", "b", ("\"\"".to_owned(), "b".to_owned())),
            (&*long("a"), &*long("b"), (format!("{common}a"), format!("{common}b"))),
            (&*long(""), &*long("b"), (common.clone(), format!("{common}b"))),
            ("a\u{200b}b", "ab", ("ab".to_owned(), "ab (differs in characters that are not shown)".to_owned())),
            ("a\nb", "a b", ("a b".to_owned(), "a b (differs in characters that are not shown)".to_owned())),
        ] {
            assert_eq!(shown_apart(before, after), lines, "{before} {after}");
        }
        let (before, after) = shown_apart(&format!("a{}", long("")), &format!("b{}", long("")));
        assert_eq!((before.chars().count(), after.chars().count()), (VALUE_CHARS_MAX + 1, VALUE_CHARS_MAX + 1));
    }
}
