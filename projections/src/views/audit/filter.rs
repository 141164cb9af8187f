//! The filter of the audit, and the parameters that say it.

use chrono::{DateTime, Utc};
use events::event::{Event, Resource, StreamKind};
use events::ids::RequestId;
use events::nearest_name::did_you_mean;
use events::refusal::Refusal;

use super::projector::{Category, Severity};
use crate::parameter_text;
use crate::views::catalogue::kind_of;

/// The filter of entries. A field that is `None` matches every entry.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub actor: Option<String>,
    pub action: Option<String>,
    /// Kind and id, such as `key/key_…`.
    pub resource: Option<String>,
    /// The resource's id: the part after the slash.
    pub resource_id: Option<String>,
    /// Any of these; `None` for all.
    pub categories: Option<Vec<Category>>,
    pub severity: Option<Severity>,
    /// Text to find in actor, action, resource or changes. The case of ASCII letters is ignored; SQLite folds no others.
    pub text: Option<String>,
}

impl AuditFilter {
    /// The parameters that filter entries. A saved search has some of them.
    pub const PARAMETERS: [&str; 8] = ["from", "to", "actor", "action", "resource", "category", "severity", "q"];

    /// Reads the filter from the texts of its parameters: `text` gives that of one by its name.
    ///
    /// Errors: the first parameter whose text is not one of its values.
    pub fn read(mut text: impl FnMut(&str) -> Option<String>) -> Result<Self, Refusal> {
        let (resource, resource_id) = match text("resource") {
            None => (None, None),
            Some(text) => match text.split_once('/').map(|(_, id)| id.to_owned()) {
                None => (None, Some(text)),
                Some(id) => (Some(text), Some(id)),
            },
        };
        let action = text("action").map(known_action).transpose()?;
        let categories = text("category").map(|text| parameter_text::words("category", &text, Category::NAMED));
        Ok(Self {
            from: text("from").map(|text| parameter_text::time("from", &text)).transpose()?,
            to: text("to").map(|text| parameter_text::time("to", &text)).transpose()?,
            actor: text("actor"),
            categories: categories.transpose()?.or_else(|| action.is_none().then(all_but_reads)),
            action,
            resource,
            resource_id,
            severity: text("severity")
                .map(|text| parameter_text::word("severity", &text, Severity::NAMED))
                .transpose()?,
            text: text("q"),
        })
    }
}

/// Unknown actions are refused, so that a typo is not an audit in which nothing happened.
fn known_action(text: String) -> Result<String, Refusal> {
    let mut known = Event::types().map(|(name, _)| name);
    if known.any(|name| name == text) {
        return Ok(text);
    }
    let near = did_you_mean(&text, Event::types().map(|(name, _)| name));
    Err(Refusal::invalid("action", format!("must be an event type without its version, such as key.created{near}")))
}

/// Whether a value of `actor` is the name of a key, which can change, and not an id.
pub fn is_actor_a_name(actor: &str) -> bool {
    actor != "operator" && !actor.starts_with("system:") && kind_of(actor).is_none()
}

/// The name in a value of `resource`, and the kinds of what it may name; `None` if the value is an id, or a kind without names and
/// something of it.
pub fn name_in_resource(resource: &str) -> Option<(Vec<StreamKind>, &str)> {
    let of_kind = resource.split_once('/').and_then(|(kind, rest)| Some((Some(StreamKind::parse(kind)?), rest)));
    let (wanted, text) = of_kind.unwrap_or((None, resource));
    let kinds = Resource::ID_PREFIXES.iter().map(|(_, kind)| *kind);
    let kinds: Vec<StreamKind> = kinds.filter(|kind| wanted.is_none_or(|wanted| wanted == *kind)).collect();
    let is_id = kind_of(text).is_some() || text.starts_with(RequestId::PREFIX);
    (!kinds.is_empty() && !is_id).then_some((kinds, text))
}

/// The categories of a list that names neither categories nor an action. Whoever looks at the audit again and again would find
/// little but reads.
fn all_but_reads() -> Vec<Category> {
    Category::ALL.iter().copied().filter(|category| *category != Category::Reads).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_parameters_that_are_named_are_those_that_are_read() {
        let mut asked = BTreeSet::new();
        let read = AuditFilter::read(|name| {
            asked.insert(name.to_owned());
            None
        });
        assert!(read.is_ok());
        assert_eq!(asked, AuditFilter::PARAMETERS.map(str::to_owned).into());
    }

    #[test]
    fn a_text_that_is_no_value_of_its_parameter_is_refused_by_name() {
        let texts =
            [("from", "tomorrow"), ("to", "2026-1-2"), ("category", "moneys"), ("severity", "loud"), ("action", "x")];
        for (wrong, text) in texts {
            let read = AuditFilter::read(|name| (name == wrong).then(|| text.to_owned()));
            assert_eq!(read.expect_err(wrong).details["field"], wrong);
        }
    }

    #[test]
    fn an_unknown_action_names_the_one_that_was_meant() {
        for typed in ["key.create", "key.creatd", "key.created.v1"] {
            let read = AuditFilter::read(|name| (name == "action").then(|| typed.to_owned()));
            let reason = read.expect_err(typed).details["reason"].to_string();
            assert!(reason.ends_with("; did you mean key.created?\""), "{typed}: {reason}");
        }
    }
}
