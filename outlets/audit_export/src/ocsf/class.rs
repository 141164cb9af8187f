//! Which class of OCSF an entry is of, and which activity of that class.

use events::refusal::ErrorCode;
use serde_json::Value;

use crate::record::AuditRecord;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A change of a user.
    AccountChange,
    /// A request without a valid API key.
    Authentication,
    /// Everything else.
    ApiActivity,
}

impl Class {
    pub fn of(record: &AuditRecord<'_>) -> Self {
        let action = record.entry.action.as_str();
        let is_unauthenticated = || record.code() == Some(ErrorCode::Unauthenticated.as_str());
        match action.split_once('.') {
            Some(("user", _)) => Self::AccountChange,
            Some(("access", "denied")) if is_unauthenticated() => Self::Authentication,
            _ => Self::ApiActivity,
        }
    }

    pub const fn uid(self) -> u32 {
        match self {
            Self::AccountChange => 3001,
            Self::Authentication => 3002,
            Self::ApiActivity => 6003,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountChange => "Account Change",
            Self::Authentication => "Authentication",
            Self::ApiActivity => "API Activity",
        }
    }

    /// The id and the name of the category.
    pub const fn category(self) -> (u32, &'static str) {
        match self {
            Self::AccountChange | Self::Authentication => (3, "Identity & Access Management"),
            Self::ApiActivity => (6, "Application Activity"),
        }
    }
}

/// The activity of a record, with its id and its name in a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity<'a> {
    pub id: u32,
    pub name: &'a str,
}

impl<'a> Activity<'a> {
    pub fn of(class: Class, record: &AuditRecord<'a>) -> Self {
        let named = match class {
            Class::AccountChange => account_change(record.verb()),
            Class::Authentication => Some((1, "Logon")),
            Class::ApiActivity => call(record),
        };
        // `Other` is named as the source names it.
        let (id, name) = named.unwrap_or((OTHER, record.verb()));
        Self { id, name }
    }
}

const OTHER: u32 = 99;

fn account_change(verb: &str) -> Option<(u32, &'static str)> {
    match verb {
        "created" => Some((1, "Create")),
        "ended" | "erased" => Some((6, "Delete")),
        _ => None,
    }
}

fn call(record: &AuditRecord<'_>) -> Option<(u32, &'static str)> {
    match record.verb() {
        "created" | "opened" => Some((1, "Create")),
        "read" => Some((2, "Read")),
        "changed" | "rotated" | "replaced" | "revalued" | "imported" | "repaired" | "set_aside" | "restored"
        | "breaker_opened" | "breaker_closed" => Some((3, "Update")),
        "ended" | "revoked" | "closed" | "erased" => Some((4, "Delete")),
        // What was to be done.
        "rejected" => match record.entry.changes.get("method").and_then(Value::as_str) {
            Some("POST") => Some((1, "Create")),
            Some("PATCH") => Some((3, "Update")),
            Some("DELETE") => Some((4, "Delete")),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::event::Event;
    use projections::views::audit::AuditEntry;

    use super::*;
    use crate::record::tests::{audited, bare};

    /// The names of the audited types of which this is true.
    fn types_with(is_wanted: impl Fn(&AuditRecord<'_>) -> bool) -> BTreeSet<&'static str> {
        let all = Event::types().filter_map(|(name, version)| audited(name, version).map(|entry| (name, entry)));
        all.filter(|(_, entry)| is_wanted(&bare(entry))).map(|(name, _)| name).collect()
    }

    /// A new type has to be given an activity, or to be one of these.
    #[test]
    fn every_audited_type_has_an_activity() {
        let others = types_with(|record| Activity::of(Class::of(record), record).id == OTHER);
        let wanted =
            ["inference.refused", "access.rate_limited", "access.limits_local", "access.limits_shared", "user.changed"];
        assert_eq!(others, BTreeSet::from(wanted));
    }

    #[test]
    fn users_and_invalid_keys_have_classes_of_their_own() {
        let wanted = ["user.created", "user.changed", "user.ended", "user.erased"];
        assert_eq!(types_with(|record| Class::of(record) == Class::AccountChange), BTreeSet::from(wanted));
        assert_eq!(types_with(|record| Class::of(record) == Class::Authentication), BTreeSet::from(["access.denied"]));
    }

    #[test]
    fn a_missing_permission_is_no_failed_logon() {
        let mut entry: AuditEntry = audited("access.denied", 1).expect("it is audited");
        entry.changes["code"] = ErrorCode::Forbidden.as_str().into();
        assert_eq!(Class::of(&bare(&entry)), Class::ApiActivity);
    }
}
