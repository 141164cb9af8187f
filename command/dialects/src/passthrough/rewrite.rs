//! Rewrites the top level of a response or chunk for a client of the same dialect: sets the frontend model, and removes
//! members that are not for the client. Everything else stays byte for byte.

use std::ops::Range;

use intermediate::json::{self, Edit, Member};

/// The change to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Keep,
    SetNull,
    Remove,
    /// Replaces the value by the frontend model.
    SetModel,
}

/// A member's position, and the change to it.
pub struct PlannedEdit {
    change: Change,
    span: Range<usize>,
    value_span: Range<usize>,
}

/// Plans the change of every member. The first `model` is set and further ones are removed: a long frontend model in
/// each of them could be far longer than the input.
pub fn plan(members: &[Member<'_>], change: impl Fn(&str) -> Change) -> Vec<PlannedEdit> {
    let mut has_model = false;
    let planned = |member: &Member<'_>| {
        let change = match member.name() {
            "model" if std::mem::replace(&mut has_model, true) => Change::Remove,
            "model" => Change::SetModel,
            name => change(name),
        };
        PlannedEdit { change, span: member.span.clone(), value_span: member.value_span.clone() }
    };
    members.iter().map(planned).collect()
}

/// Applies the plan. `model` is a JSON string; it is added if the text has none and is not an empty object.
pub fn rewritten(text: &str, plan: &[PlannedEdit], model: &[u8]) -> Vec<u8> {
    rewritten_with(text, plan, model, Vec::with_capacity(2))
}

/// Does the same as [`rewritten`], and applies these edits, which are within members that the plan keeps or before them.
pub fn rewritten_with(text: &str, plan: &[PlannedEdit], model: &[u8], mut edits: Vec<Edit>) -> Vec<u8> {
    // Before the other edits, because the first member may be removed.
    if let (false, Some(first)) = (plan.iter().any(|member| member.change == Change::SetModel), plan.first()) {
        let replacement = [br#""model":"#, model, b","].concat();
        edits.push(Edit { range: first.span.start..first.span.start, replacement });
    }
    let mut has_kept = false;
    for (at, member) in plan.iter().enumerate() {
        match member.change {
            Change::Keep => {}
            Change::SetNull => edits.push(Edit { range: member.value_span.clone(), replacement: b"null".to_vec() }),
            Change::SetModel => edits.push(Edit { range: member.value_span.clone(), replacement: model.to_vec() }),
            Change::Remove => edits.push(removal(plan, at, has_kept)),
        }
        has_kept |= member.change != Change::Remove;
    }
    json::splice(text, &mut edits)
}

/// Removes the members for which this holds; at least one member of the object must stay.
pub fn removals(members: &[Member<'_>], is_removed: impl Fn(&Member<'_>) -> bool) -> Vec<Edit> {
    cuts(members.iter().map(|member| (member.span.clone(), is_removed(member))))
}

/// Removes those of the members or elements at these positions that are marked.
pub fn cuts(parts: impl Iterator<Item = (Range<usize>, bool)>) -> Vec<Edit> {
    let planned = |(span, is_removed): (Range<usize>, bool)| {
        let change = if is_removed { Change::Remove } else { Change::Keep };
        PlannedEdit { change, value_span: span.clone(), span }
    };
    let plan: Vec<_> = parts.map(planned).collect();
    let (mut edits, mut has_kept) = (Vec::new(), false);
    for (at, member) in plan.iter().enumerate() {
        match member.change {
            Change::Remove => edits.push(removal(&plan, at, has_kept)),
            Change::Keep | Change::SetNull | Change::SetModel => has_kept = true,
        }
    }
    edits
}

/// Removes a member and one of its commas. Neighbours may be removed too: the first member that is kept has no comma
/// before it, and every later one keeps its own.
fn removal(plan: &[PlannedEdit], at: usize, has_kept_before: bool) -> Edit {
    let whole = plan.get(at).map_or(0..0, |member| member.span.clone());
    let before = at.checked_sub(1).and_then(|before| plan.get(before)).filter(|_| has_kept_before);
    let range = match (before, plan.get(at + 1)) {
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
            let change = |name: &str| match name {
                "x" => Change::Remove,
                "n" => Change::SetNull,
                _ => Change::Keep,
            };
            let text_out = rewritten(text, &plan(&members, change), br#""m""#);
            assert_eq!(String::from_utf8(text_out).unwrap(), wanted, "{text}");
        }
    }
}
