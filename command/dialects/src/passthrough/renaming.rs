//! The top level of an answer or a chunk on its way to a client of the same dialect: our model's name in it, and what is
//! not for the client taken out. Everything else stays byte for byte.

use std::ops::Range;

use crate::json::{self, Edit, Member};

/// What becomes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Null,
    Removed,
    /// Its value becomes our model's name.
    Renamed,
}

/// A member's place in its text.
pub struct Place {
    fate: Fate,
    span: Range<usize>,
    value_span: Range<usize>,
}

/// The places of all members. The model is renamed where it stands first, and removed where it stands again: a name of
/// ours for each of them could be far longer than what came.
pub fn places(members: &[Member<'_>], fate: impl Fn(&str) -> Fate) -> Vec<Place> {
    let mut is_named = false;
    let place = |member: &Member<'_>| {
        let fate = match member.name() {
            "model" if std::mem::replace(&mut is_named, true) => Fate::Removed,
            "model" => Fate::Renamed,
            name => fate(name),
        };
        Place { fate, span: member.span.clone(), value_span: member.value_span.clone() }
    };
    members.iter().map(place).collect()
}

/// The text with `model`, a JSON string, also where it has none, and at least one other member is kept.
pub fn renamed(text: &str, places: &[Place], model: &[u8]) -> Vec<u8> {
    let mut edits = Vec::with_capacity(2);
    // In front of the other edits: the first member may be one that goes.
    if let (false, Some(first)) = (places.iter().any(|place| place.fate == Fate::Renamed), places.first()) {
        let replacement = [br#""model":"#, model, b","].concat();
        edits.push(Edit { range: first.span.start..first.span.start, replacement });
    }
    let mut has_kept = false;
    for (at, place) in places.iter().enumerate() {
        match place.fate {
            Fate::Kept => {}
            Fate::Null => edits.push(Edit { range: place.value_span.clone(), replacement: b"null".to_vec() }),
            Fate::Renamed => edits.push(Edit { range: place.value_span.clone(), replacement: model.to_vec() }),
            Fate::Removed => edits.push(removal(places, at, has_kept)),
        }
        has_kept |= place.fate != Fate::Removed;
    }
    json::splice(text, &mut edits)
}

/// Takes a member out together with one of its commas. Neighbours may be taken out as well: the first member that is
/// kept has no comma before it, and every later one keeps its own.
fn removal(places: &[Place], at: usize, has_kept_before: bool) -> Edit {
    let whole = places.get(at).map_or(0..0, |place| place.span.clone());
    let before = at.checked_sub(1).and_then(|before| places.get(before)).filter(|_| has_kept_before);
    let range = match (before, places.get(at + 1)) {
        (Some(before), _) => before.span.end..whole.end,
        (None, Some(next)) => whole.start..next.span.start,
        (None, None) => whole,
    };
    Edit { range, replacement: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_takes_one_comma_with_it() {
        for (text, wanted) in [
            (r#"{"x":1,"model":"b","y":2}"#, r#"{"model":"m","y":2}"#),
            (r#"{"x":1 , "x":2, "y":2,"x":3,"x":4 }"#, r#"{"model":"m","y":2 }"#),
            (r#"{"y":2,"x":3 , "x":4,"z":5,"x":6}"#, r#"{"model":"m","y":2,"z":5}"#),
            (r#"{"model":"a","y":2,"model":"b","model":3}"#, r#"{"model":"m","y":2}"#),
            (r#"{"n":{},"model":null}"#, r#"{"n":null,"model":"m"}"#),
        ] {
            let members: Vec<_> = json::members(text).map(Result::unwrap).collect();
            let fate = |name: &str| match name {
                "x" => Fate::Removed,
                "n" => Fate::Null,
                _ => Fate::Kept,
            };
            let found = renamed(text, &places(&members, fate), br#""m""#);
            assert_eq!(String::from_utf8(found).unwrap(), wanted, "{text}");
        }
    }
}
