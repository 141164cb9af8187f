//! Two schemas of one place. What is sent may only be taken more widely, what is answered only more narrowly; and
//! whatever has a form keeps it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{fields, items};

/// Deeper than any schema of ours; one that holds itself is compared so far.
const DEPTH_MAX: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by clients.
    Sent,
    /// To clients.
    Answered,
}

/// Returns the value that a reference stands for.
pub fn resolved<'a>(mut value: &'a Value, document: &'a Value) -> &'a Value {
    while let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        value =
            reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).expect("a reference resolves");
    }
    value
}

/// A schema, and the document that its references are in.
type Placed<'a> = (&'a Value, &'a Value);

/// Returns the parts of `was` that do not hold by `is`.
pub fn compare(at: &str, was: Placed<'_>, is: Placed<'_>, direction: Direction) -> Vec<String> {
    Comparison { direction, found: Vec::new() }.run(at, was, is)
}

struct Comparison {
    direction: Direction,
    found: Vec<String>,
}

impl Comparison {
    fn run(mut self, at: &str, was: Placed<'_>, is: Placed<'_>) -> Vec<String> {
        self.schema(at, was, is, DEPTH_MAX);
        self.found
    }

    fn say(&mut self, at: &str, what: &str) {
        self.found.push(format!("{at} {what}"));
    }

    fn schema(&mut self, at: &str, (was, old): Placed<'_>, (is, new): Placed<'_>, depth: usize) {
        let (was, is) = (resolved(was, old), resolved(is, new));
        if depth == 0 {
            return;
        }
        if was.get("oneOf").is_some() || is.get("oneOf").is_some() {
            return self.forms(at, (was, old), (is, new), depth);
        }
        self.types(at, was, is);
        self.wording(at, was, is);
        if self.direction == Direction::Sent {
            self.bounds(at, was, is);
        }
        self.members(at, (was, old), (is, new), depth);
        for part in ["items", "additionalProperties", "propertyNames"] {
            if let (Some(was @ Value::Object(_)), Some(is @ Value::Object(_))) = (was.get(part), is.get(part)) {
                self.schema(&format!("{at}.{part}"), (was, old), (is, new), depth - 1);
            }
        }
    }

    /// Each form that there was is still one.
    fn forms(&mut self, at: &str, (was, old): Placed<'_>, (is, new): Placed<'_>, depth: usize) {
        let forms = |schema: &'_ Value| match schema.get("oneOf") {
            Some(forms) => items(forms).to_vec(),
            None => vec![schema.clone()],
        };
        let (before, after) = (forms(was), forms(is));
        for form in &before {
            let holds = |other: &Value| {
                let mut inner = Self { direction: self.direction, found: Vec::new() };
                inner.schema(at, (form, old), (other, new), depth - 1);
                inner.found.is_empty()
            };
            if !after.iter().any(holds) {
                let name = form.get("$ref").and_then(Value::as_str).unwrap_or_default();
                self.say(at, &format!("has lost a form {name}"));
            }
        }
    }

    fn types(&mut self, at: &str, was: &Value, is: &Value) {
        let (before, after) = (types(was), types(is));
        let holds = match (self.direction, &before, &after) {
            (_, None, None) | (Direction::Sent, _, None) | (Direction::Answered, None, _) => true,
            (Direction::Sent, None, Some(_)) | (Direction::Answered, Some(_), None) => false,
            (Direction::Sent, Some(before), Some(after)) => before.is_subset(after),
            (Direction::Answered, Some(before), Some(after)) => after.is_subset(before),
        };
        if !holds {
            self.say(at, "has another type");
        }
    }

    /// Pattern and format say what a text means; an enumeration says which texts are taken.
    fn wording(&mut self, at: &str, was: &Value, is: &Value) {
        for word in ["pattern", "format"] {
            let freed = self.direction == Direction::Sent && is.get(word).is_none();
            if was.get(word) != is.get(word) && !freed {
                self.say(at, &format!("has another {word}"));
            }
        }
        if self.direction == Direction::Answered {
            return;
        }
        match (was.get("enum"), is.get("enum")) {
            (_, None) => {}
            (None, Some(_)) => self.say(at, "takes named values alone now"),
            (Some(before), Some(after)) => {
                for value in items(before).iter().filter(|value| !items(after).contains(value)) {
                    self.say(at, &format!("does not take {value} any more"));
                }
            }
        }
    }

    fn bounds(&mut self, at: &str, was: &Value, is: &Value) {
        for bound in ["minimum", "minLength", "minItems", "minProperties"] {
            if number(is, bound) > number(was, bound).or(Some(0)) {
                self.say(at, &format!("has a narrower {bound}"));
            }
        }
        for bound in ["maximum", "maxLength", "maxItems", "maxProperties"] {
            let narrower = number(is, bound).is_some_and(|is| number(was, bound).is_none_or(|was| is < was));
            if narrower {
                self.say(at, &format!("has a narrower {bound}"));
            }
        }
        if is["additionalProperties"] == false && was["additionalProperties"] != false {
            self.say(at, "does not take other fields any more");
        }
    }

    fn members(&mut self, at: &str, (was, old): Placed<'_>, (is, new): Placed<'_>, depth: usize) {
        for (name, member) in fields(&was["properties"]) {
            match is["properties"].get(name) {
                None => self.say(at, &format!("has lost the field {name}")),
                Some(now) => self.schema(&format!("{at}.{name}"), (member, old), (now, new), depth - 1),
            }
        }
        let (before, after) = (items(&was["required"]), items(&is["required"]));
        match self.direction {
            Direction::Sent => {
                for name in after.iter().filter(|name| !before.contains(name)) {
                    self.say(at, &format!("needs the field {name} now"));
                }
            }
            Direction::Answered => {
                for name in before.iter().filter(|name| !after.contains(name)) {
                    self.say(at, &format!("may be without the field {name} now"));
                }
            }
        }
    }
}

fn number(schema: &Value, bound: &str) -> Option<u64> {
    schema.get(bound).and_then(Value::as_u64)
}

/// `None` where any will do. A whole number is a number.
fn types(schema: &Value) -> Option<BTreeSet<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut found: BTreeSet<String> = match schema.get("type")? {
        Value::Array(types) => types.iter().filter_map(text).collect(),
        one => text(one).into_iter().collect(),
    };
    if found.contains("number") {
        found.insert("integer".to_owned());
    }
    Some(found)
}
