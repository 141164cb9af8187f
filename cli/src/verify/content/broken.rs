//! The objects of content that are missing or damaged: the first of them by their names, the others by their number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// How many objects are named.
const NAMED_MAX: usize = 100;

/// An object that is missing or damaged.
struct BrokenObject {
    name: String,
    reason: String,
}

/// All objects that are missing or damaged.
#[derive(Default)]
pub struct BrokenObjects {
    /// The first ones in the log, by the position of the event that has the digest.
    first: BTreeMap<u64, BrokenObject>,
    count: usize,
}

impl BrokenObjects {
    pub fn add(&mut self, position: u64, name: String, reason: String) {
        self.count += 1;
        self.first.insert(position, BrokenObject { name, reason });
        if self.first.len() > NAMED_MAX {
            self.first.pop_last();
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A line for each object that is named, and what to do.
    pub fn lines(&self) -> String {
        let line = |(position, BrokenObject { name, reason }): (&u64, &BrokenObject)| {
            format!("broken: position {position}: {name}: {reason}\n")
        };
        let mut lines: String = self.first.iter().map(line).collect();
        let unnamed = self.count - self.first.len();
        if unnamed > 0 {
            lines.push_str(&format!("broken: {unnamed} more objects\n"));
        }
        let objects = if self.count == 1 { "this object" } else { "these objects" };
        lines.push_str(&format!(
            "restore {objects} from a backup or a kept version of the store, and run the check again: \
             docs/content.md#check-the-store"
        ));
        lines
    }

    /// The first object with its position, and the list of all that are named.
    pub fn as_json(&self) -> Value {
        let object = |(position, BrokenObject { name, reason }): (&u64, &BrokenObject)| json!({ "position": position, "object": name, "reason": reason });
        let objects: Vec<Value> = self.first.iter().map(object).collect();
        let mut broken = objects.first().cloned().unwrap_or_default();
        broken["count"] = self.count.into();
        broken["objects"] = objects.into();
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_objects_of_the_log_are_named_and_all_are_counted() {
        let mut broken = BrokenObjects::default();
        for position in (1..=150).rev() {
            broken.add(position, format!("content/{position}"), "it is missing".to_owned());
        }
        let json = broken.as_json();
        assert_eq!((&json["position"], &json["object"], &json["count"]), (&json!(1), &json!("content/1"), &json!(150)));
        let positions = json["objects"].as_array().expect("a list").iter().map(|object| object["position"].as_u64());
        assert!(positions.eq((1..=100).map(Some)), "{json}");
        let lines = broken.lines();
        assert!(lines.starts_with("broken: position 1: content/1: it is missing\nbroken: position 2: "), "{lines}");
        assert!(lines.contains("broken: position 100: ") && !lines.contains("broken: position 101: "), "{lines}");
        assert!(lines.contains("\nbroken: 50 more objects\nrestore these objects from "), "{lines}");
    }
}
