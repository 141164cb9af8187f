//! Edits what a known server takes otherwise than OpenAI. Other servers cost nothing here.

use std::ops::Range;

use events::event::admin::OutputCapField;
use events::refusal::Refusal;

use crate::OutboundTarget;
use crate::json::{self, Edit, Kind, Member};
use crate::passthrough::rewrite::removals;
use crate::upstreams::openai::server::{Deviations, Fate, fate};

/// Removes the top-level fields that the server does not take, and the output cap, which may be there under two names and
/// is added anew. Gives the seed its name there. Errors: a field that it
/// refuses, and without which the answer would be another one.
pub fn edit_fields(
    text: &str,
    target: &OutboundTarget<'_>,
    deviations: &Deviations,
    edits: &mut Vec<Edit>,
) -> Result<(), Refusal> {
    let members: Vec<_> = json::members(text).map_while(Result::ok).collect();
    let has_own_seed = members.iter().any(|member| member.name() == deviations.seed);
    let mut left_out = Vec::new();
    for member in &members {
        let name = member.name();
        if OutputCapField::parse(name).is_some() {
            left_out.push(member.span.start);
        } else if name == "seed" && deviations.seed != "seed" {
            match has_own_seed {
                true => left_out.push(member.span.start),
                false => {
                    let replacement = format!("\"{}\":{}", deviations.seed, member.value).into_bytes();
                    edits.push(Edit { range: member.span.clone(), replacement });
                }
            }
        } else if fate(target, name, member.value)? == Fate::LeftOut {
            left_out.push(member.span.start);
        }
    }
    edits.extend(removals(&members, |member| left_out.binary_search(&member.span.start).is_ok()));
    Ok(())
}

/// Removes the members of messages that the server does not take, writes its role for `developer`, and its form of ids of
/// calls.
pub fn edit_messages(text: &str, messages: Range<usize>, deviations: &Deviations, edits: &mut Vec<Edit>) {
    let list = text.get(messages.clone()).unwrap_or_default();
    for message in json::elements(list).map_while(Result::ok).filter(|message| json::kind(message) == Kind::Object) {
        let at = |range: &Range<usize>| {
            let start = offset(text, message);
            start + range.start..start + range.end
        };
        let members: Vec<_> = json::members(message).map_while(Result::ok).collect();
        let is_left_out = |member: &Member<'_>| deviations.leaves_out(member.name(), member.value);
        let removed = removals(&members, is_left_out);
        edits.extend(removed.into_iter().map(|edit| Edit { range: at(&edit.range), ..edit }));
        for member in members.iter().filter(|member| !is_left_out(member)) {
            match member.name() {
                "role" if !deviations.takes_developer && json::string(member.value).as_deref() == Some("developer") => {
                    edits.push(Edit { range: at(&member.value_span), replacement: json::written("system") });
                }
                "tool_call_id" => edits.extend(short_id(text, member.value, deviations)),
                "tool_calls" if deviations.has_short_call_ids && json::kind(member.value) == Kind::Array => {
                    let calls = json::elements(member.value).map_while(Result::ok);
                    let ids = calls.filter_map(|call| json::field(call, "id"));
                    edits.extend(ids.filter_map(|id| short_id(text, id, deviations)));
                }
                _ => {}
            }
        }
    }
}

/// The edit of an id that the server would refuse. `id` is a slice of the text.
fn short_id(text: &str, id: &str, deviations: &Deviations) -> Option<Edit> {
    let given = json::string(id)?;
    let short = deviations.call_id(&given);
    let start = offset(text, id);
    (short != given).then(|| Edit { range: start..start + id.len(), replacement: json::written(&*short) })
}

/// Where a slice of the text begins in it.
fn offset(text: &str, slice: &str) -> usize {
    slice.as_ptr().addr().saturating_sub(text.as_ptr().addr())
}
