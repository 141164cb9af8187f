//! Values as a plan shows them: one field a line, and what is in lists and mappings by its path.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::printable_text::printable_line;

const VALUE_CHARS_MAX: usize = 100;

/// The fields of a value, by their paths.
pub fn flat(fields: &Map<String, Value>) -> BTreeMap<Path, String> {
    let mut found = BTreeMap::new();
    for (name, value) in fields {
        add(Path(vec![Step::Field(name.clone())]), value, &mut found);
    }
    found
}

/// A path whose items sort by their index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Field(String),
    Item(usize),
}

impl Path {
    fn with(&self, step: Step) -> Self {
        Self(self.0.iter().cloned().chain([step]).collect())
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => f.write_str(&printable_line(name, VALUE_CHARS_MAX))?,
                Step::Field(name) => write!(f, ".{}", printable_line(name, VALUE_CHARS_MAX))?,
                Step::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

fn add(path: Path, value: &Value, found: &mut BTreeMap<Path, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(name, value)| add(path.with(Step::Field(name.clone())), value, found));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| add(path.with(Step::Item(index)), item, found));
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
