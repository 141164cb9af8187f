//! Reads YAML as data alone: a tree whose nodes know their lines. Anchors, aliases and tags are refused, because a few bytes of
//! them can stand for gigabytes, and so are repeated keys. Size and depth are bounded.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::Number;

const DEPTH_MAX: usize = 32;
const VALUES_MAX: usize = 2_000_000;

/// A value and the line that it begins on.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub line: usize,
    pub value: NodeValue,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    Null,
    Boolean(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

/// A name in a mapping, with its line, and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub line: usize,
    pub name: String,
    pub node: Node,
}

/// The text is no YAML, or has what is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct YamlError {
    pub line: usize,
    pub reason: String,
}

/// A list or mapping whose end has not been read yet.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, members: Vec<Member>, lines: BTreeMap<String, usize>, name: Option<(String, usize)> },
}

impl Node {
    /// The member of a mapping.
    pub fn get(&self, name: &str) -> Option<&Member> {
        let NodeValue::Map(members) = &self.value else { return None };
        members.iter().find(|member| member.name == name)
    }

    pub fn text(&self) -> Option<&str> {
        if let NodeValue::Text(text) = &self.value { Some(text) } else { None }
    }

    /// The line of the field at a path such as `targets[0].weight`, or else of the last one on the way to it that is there.
    pub fn line_of(&self, path: &str) -> usize {
        let (mut node, mut line) = (self, self.line);
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let found = match (&node.value, step.strip_suffix(']')) {
                (NodeValue::List(items), Some(index)) => {
                    let item = index.parse().ok().and_then(|index: usize| items.get(index));
                    item.map(|item| (item, item.line))
                }
                _ => node.get(step).map(|member| (&member.node, member.line)),
            };
            let Some(found) = found else { return line };
            (node, line) = found;
        }
        line
    }
}

/// The documents of a text, without empty ones.
pub fn documents(text: &str) -> Result<Vec<Node>, YamlError> {
    documents_within(VALUES_MAX, text)
}

fn documents_within(values_max: usize, text: &str) -> Result<Vec<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut documents, mut open, mut values) = (Vec::new(), Vec::new(), 0_usize);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            line: error.marker().line(),
            reason: format!("is not YAML: {}", error.info()),
        })?;
        let line = span.start.line();
        let refused = |reason: &str| Err(YamlError { line, reason: reason.to_owned() });
        values += 1;
        if values > values_max {
            return refused(&format!("the file has more than {values_max} values"));
        }
        if is_anchored(&event) {
            return refused("anchors and aliases are not read: write the value out");
        }
        if is_tagged(&event) {
            return refused("tags are not read: remove the tag");
        }
        if open.len() >= DEPTH_MAX && matches!(event, Event::SequenceStart(..) | Event::MappingStart(..)) {
            return refused(&format!("is nested deeper than {DEPTH_MAX} levels"));
        }
        let node = match event {
            Event::Scalar(text, style, ..) => Node { line, value: scalar(&text, style) },
            Event::SequenceStart(..) => {
                open.push(Open::List { line, items: Vec::new() });
                continue;
            }
            Event::MappingStart(..) => {
                let (members, lines) = (Vec::new(), BTreeMap::new());
                open.push(Open::Map { line, members, lines, name: None });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(ended) => ended.into_node(),
                None => return refused("ends what was not begun"),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::Alias(_) => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.add(node, span)?,
            None if node.value == NodeValue::Null => {}
            None => documents.push(node),
        }
    }
    Ok(documents)
}

const fn is_anchored(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Alias(_) | Event::Scalar(_, _, 1.., _) | Event::SequenceStart(1.., _) | Event::MappingStart(1.., _)
    )
}

const fn is_tagged(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Scalar(_, _, _, Some(_)) | Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_))
    )
}

/// A plain word is what YAML 1.2 makes of it in its JSON schema; everything else is a text.
fn scalar(text: &str, style: ScalarStyle) -> NodeValue {
    if style != ScalarStyle::Plain {
        return NodeValue::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeValue::Null,
        "true" | "True" | "TRUE" => NodeValue::Boolean(true),
        "false" | "False" | "FALSE" => NodeValue::Boolean(false),
        text => match serde_json::from_str(text) {
            Ok(number) => NodeValue::Number(number),
            Err(_) => NodeValue::Text(text.to_owned()),
        },
    }
}

impl Open {
    fn add(&mut self, node: Node, span: Span) -> Result<(), YamlError> {
        let line = node.line;
        match self {
            Self::List { items, .. } => items.push(node),
            Self::Map { members, lines, name, .. } => match name.take() {
                Some((name, line)) => members.push(Member { line, name, node }),
                None => {
                    let named = name_of(node.value);
                    let named = named.ok_or_else(|| YamlError { line, reason: "a key must be a word".to_owned() })?;
                    if let Some(before) = lines.insert(named.clone(), span.start.line()) {
                        let shown: String = named.chars().take(64).collect();
                        let reason = format!("{shown:?} is given twice: also in line {before}");
                        return Err(YamlError { line, reason });
                    }
                    *name = Some((named, line));
                }
            },
        }
        Ok(())
    }

    fn into_node(self) -> Node {
        match self {
            Self::List { line, items } => Node { line, value: NodeValue::List(items) },
            Self::Map { line, members, .. } => Node { line, value: NodeValue::Map(members) },
        }
    }
}

fn name_of(key: NodeValue) -> Option<String> {
    match key {
        NodeValue::Text(text) => Some(text),
        NodeValue::Number(number) => Some(number.to_string()),
        NodeValue::Boolean(_) | NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let error = documents(text).expect_err("refused");
        (error.line, error.reason)
    }

    #[test]
    fn words_are_what_yaml_makes_of_them_and_quoted_ones_are_texts() {
        let [node] =
            &documents("a: 5\nb: '5'\nc: yes\nd: true\ne: ~\nf: 2026-11-20T08:15:30Z\ng: 007\n").expect("YAML")[..]
        else {
            panic!("one document");
        };
        let value = |name: &str| &node.get(name).expect("a member").node.value;
        assert_eq!(value("a"), &NodeValue::Number(5.into()));
        for (name, text) in [("b", "5"), ("c", "yes"), ("f", "2026-11-20T08:15:30Z"), ("g", "007")] {
            assert_eq!(value(name), &NodeValue::Text(text.to_owned()));
        }
        assert_eq!((value("d"), value("e")), (&NodeValue::Boolean(true), &NodeValue::Null));
    }

    #[test]
    fn a_field_is_found_in_its_line_or_in_that_of_what_would_have_it() {
        let node = &documents("name: x\ntargets:\n  - weight: 1\n  - model: m\n    weight: 2\n").expect("YAML")[0];
        for (path, line) in [
            ("name", 1),
            ("targets", 2),
            ("targets[0]", 3),
            ("targets[1].weight", 5),
            ("targets[1].model.x", 4),
            ("z", 1),
        ] {
            assert_eq!(node.line_of(path), line, "{path}");
        }
    }

    #[test]
    fn several_documents_are_read_and_empty_ones_are_not() {
        assert_eq!(documents("---\na: 1\n---\n---\nb: 2\n...\n").expect("YAML").len(), 2);
        assert_eq!(documents("# nothing\n").expect("YAML"), []);
        assert_eq!(documents("\u{feff}a: 1\r\n").expect("YAML").len(), 1);
    }

    #[test]
    fn what_could_stand_for_more_than_it_is_is_refused_by_its_line() {
        assert_eq!(refused("a: &x [1]\nb: *x\n").0, 1);
        assert_eq!(refused("a: 1\nb: !!str 2\n"), (2, "tags are not read: remove the tag".to_owned()));
        assert_eq!(refused("a: 1\nb: 2\na: 3\n"), (3, "\"a\" is given twice: also in line 1".to_owned()));
        assert_eq!(refused("? [1]\n: 2\n").1, "a key must be a word");
        let (_, reason) = refused(&"[".repeat(40));
        assert_eq!(reason, "is nested deeper than 32 levels");
        let (_, reason) = refused(&"[".repeat(1_000_000));
        assert!(reason.starts_with("is n"), "{reason}");
        let error = documents_within(1000, &"- 1\n".repeat(1001)).expect_err("refused");
        assert_eq!(error.reason, "the file has more than 1000 values");
    }

    #[test]
    fn what_is_no_yaml_is_refused_by_its_line() {
        for (text, line) in [("a: 1\n\tb: 2\n", 2), ("a: 'x\n", 2), ("a: 1\n b: 2\n", 2), ("a: [1\nb: 2\n", 2)] {
            let (found, reason) = refused(text);
            assert!(found.abs_diff(line) <= 1 && reason.starts_with("is not YAML: "), "{text:?}: {found} {reason}");
        }
    }
}
