//! A provider's reports of one answer's usage, as one object. A stream may report with every chunk, so that a report is
//! added at a cost that depends on its own length, not on what was reported before.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::json::{self, JsonFault, Kind};
use super::work;

/// Bytes of a report, and of all of them together. A longer one is none: it would be recorded for ever.
pub const REPORT_BYTES_MAX: usize = 8 * 1024;

/// All reports so far. A single one stays as it came.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    last: Option<Box<str>>,
    /// All of them, once there is more than one.
    merged: Option<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Object {
        members: BTreeMap<String, Node>,
        /// Its length as JSON, with a comma after each member.
        bytes: usize,
    },
    /// As it is written.
    Other(Box<str>),
}

impl Reports {
    /// Adds a report: the later figure wins, member by member; null never replaces a figure. False, and nothing is added,
    /// for one that is too long or no object. Where all are too long together, the later stands alone.
    pub fn add(&mut self, report: &str) -> bool {
        if report.len() > REPORT_BYTES_MAX || json::kind(report) != Kind::Object {
            return false;
        }
        let earlier = self.merged.take().or_else(|| self.last.as_deref().and_then(|last| Node::read(last).ok()));
        self.merged = earlier.and_then(|earlier| {
            let merged = earlier.with(Node::read(report).ok()?);
            (merged.bytes() <= REPORT_BYTES_MAX).then_some(merged)
        });
        self.last = Some(report.into());
        true
    }

    /// One object of all of them; `None` before the first.
    pub fn whole(&self) -> Option<String> {
        match &self.merged {
            Some(merged) => {
                let mut out = String::with_capacity(merged.bytes());
                merged.write(&mut out);
                Some(out)
            }
            None => self.last.as_deref().map(str::to_owned),
        }
    }

    /// What is kept.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let merged = self.merged.as_ref().map_or(0, |merged| merged.held_bytes());
        self.last.as_deref().map_or(0, str::len) + merged
    }
}

impl Node {
    fn read(text: &str) -> Result<Self, JsonFault> {
        if json::kind(text) != Kind::Object {
            return Ok(Self::Other(text.into()));
        }
        let (mut members, mut bytes) = (BTreeMap::new(), 2);
        for member in json::members(text) {
            let member = member?;
            // Of two under one name the first counts.
            if let Entry::Vacant(place) = members.entry(member.name().to_owned()) {
                let node = Self::read(member.value)?;
                bytes += member_bytes(place.key(), &node);
                place.insert(node);
            }
        }
        Ok(Self::Object { members, bytes })
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Object { bytes, .. } => *bytes,
            Self::Other(text) => text.len(),
        }
    }

    fn with(self, later: Self) -> Self {
        match (self, later) {
            (earlier, Self::Other(text)) if &*text == "null" => earlier,
            (Self::Object { mut members, mut bytes }, Self::Object { members: newer, .. }) => {
                for (name, node) in newer {
                    work::steps(1);
                    let node = match members.remove(&name) {
                        Some(earlier) => {
                            bytes -= member_bytes(&name, &earlier);
                            earlier.with(node)
                        }
                        None => node,
                    };
                    bytes += member_bytes(&name, &node);
                    members.insert(name, node);
                }
                Self::Object { members, bytes }
            }
            (_, later) => later,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Object { members, .. } => {
                for (at, (name, node)) in members.iter().enumerate() {
                    out.push(if at == 0 { '{' } else { ',' });
                    out.push_str(&serde_json::Value::from(name.as_str()).to_string());
                    out.push(':');
                    node.write(out);
                }
                out.push_str(if members.is_empty() { "{}" } else { "}" });
            }
            Self::Other(text) => out.push_str(text),
        }
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        match self {
            Self::Object { members, .. } => {
                members.iter().map(|(name, node)| size_of::<(String, Self)>() + name.len() + node.held_bytes()).sum()
            }
            Self::Other(text) => text.len(),
        }
    }
}

/// Quotes, colon and comma included.
fn member_bytes(name: &str, node: &Node) -> usize {
    let escaped = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    };
    name.bytes().map(escaped).sum::<usize>() + 4 + node.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(reports: &[&str]) -> String {
        let mut all = Reports::default();
        assert!(reports.iter().all(|report| all.add(report)));
        all.whole().expect("a report")
    }

    #[test]
    fn merging_takes_the_later_figure_unless_it_is_null() {
        let merged = merged(&[r#"{"a":1,"d":{"x":1.10,"y":2},"n":5}"#, r#"{"d":{"y":3,"z":4},"n":null,"e":0}"#]);
        assert_eq!(merged, r#"{"a":1,"d":{"x":1.10,"y":3,"z":4},"e":0,"n":5}"#);
    }

    #[test]
    fn a_single_report_stays_as_it_came() {
        assert_eq!(merged(&[r#"{ "b":1,"a":1.0 , "b":2}"#]), r#"{ "b":1,"a":1.0 , "b":2}"#);
    }

    #[test]
    fn what_is_beyond_measure_is_left_out_and_the_length_of_the_rest_is_known() {
        let mut all = Reports::default();
        assert!(!all.add("7") && !all.add(&format!(r#"{{"x":"{}"}}"#, "x".repeat(REPORT_BYTES_MAX))));
        assert_eq!(all.whole(), None);
        let long = "x".repeat(REPORT_BYTES_MAX / 4);
        for number in 0..9 {
            assert!(all.add(&format!(r#"{{"\u0001\n\"é{number}":"{long}","o":{{"a":{number}}}}}"#)));
            let whole = all.whole().expect("a report");
            assert!(whole.len() <= REPORT_BYTES_MAX && whole.contains(&format!(r#""a":{number}"#)), "{whole}");
            if let Some(merged) = &all.merged {
                // A comma after every member, of which the last of each object has none.
                assert_eq!(merged.bytes(), whole.len() + 2);
            }
        }
    }
}
