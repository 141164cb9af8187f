//! The client's own bytes, made ready for an OpenAI-compatible target: edited in place, never parsed and rewritten.

use bytes::Bytes;
use events::event::admin::OutputCapField;

use crate::json::{self, Edit, Kind};
use crate::surfaces::openai::{Cap, Request};
use crate::{OutboundTarget, UpstreamCap};

/// Replaces the model; sends the cap under the target's name for it, else under the client's own; asks a stream for
/// its usage; puts the system prefix first.
pub fn edited_body(body: &Bytes, places: &Request, streamed: bool, target: &OutboundTarget<'_>) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else { return body.clone() };
    let mut edits = Vec::with_capacity(5);
    let mut added = Vec::new();
    edits.push(Edit { range: places.model.clone(), replacement: json::written(target.model) });
    edit_cap(&places.cap, target.output_cap, &mut edits, &mut added);
    if streamed {
        match &places.stream_options {
            Some(range) => edits.push(asking_for_usage(text, range.clone())),
            None => added.extend_from_slice(br#","stream_options":{"include_usage":true}"#),
        }
    }
    if let Some(prefix) = target.system_prefix {
        let mut message = br#"{"role":"system","content":"#.to_vec();
        json::push(&mut message, prefix);
        message.extend_from_slice(b"},");
        edits.push(Edit { range: places.messages_inside..places.messages_inside, replacement: message });
    }
    if !added.is_empty() {
        edits.push(Edit { range: places.members_end..places.members_end, replacement: added });
    }
    json::splice(text, &mut edits).into()
}

fn edit_cap(cap: &Cap, sent: UpstreamCap, edits: &mut Vec<Edit>, added: &mut Vec<u8>) {
    let tokens = sent.tokens;
    let member = |field: OutputCapField| format!(r#""{}":{tokens}"#, field.as_str()).into_bytes();
    let fallback = sent.field.unwrap_or_default();
    match cap {
        Cap::Given { field, member: given, value, other } => match sent.field.filter(|sent| sent != field) {
            None => edits.push(Edit { range: value.clone(), replacement: tokens.to_string().into_bytes() }),
            Some(sent) => {
                edits.push(Edit { range: given.clone(), replacement: member(sent) });
                // It would be a second member of the name that is sent.
                edits.extend(other.clone().map(|range| {
                    let replacement = format!(r#""{}":null"#, field.as_str()).into_bytes();
                    Edit { range, replacement }
                }));
            }
        },
        // The one that has the target's name, if there is one: the other would become its double.
        Cap::Null(members) => {
            let its_own = members.iter().find(|(field, _)| *field == fallback);
            edits.extend(
                its_own
                    .or(members.first())
                    .map(|(_, whole)| Edit { range: whole.clone(), replacement: member(fallback) }),
            );
        }
        Cap::Absent => {
            added.push(b',');
            added.extend_from_slice(&member(fallback));
        }
    }
}

/// `include_usage` is set to true; the client's other options stay.
fn asking_for_usage(text: &str, range: std::ops::Range<usize>) -> Edit {
    const ASKED: &[u8] = br#""include_usage":true"#;
    let options = text.get(range.clone()).unwrap_or_default();
    let whole = |range| Edit { range, replacement: [b"{", ASKED, b"}"].concat() };
    if json::kind(options) != Kind::Object {
        return whole(range);
    }
    let members: Vec<_> = json::members(options).map_while(Result::ok).collect();
    let start = range.start;
    match (members.iter().find(|member| member.name() == "include_usage"), members.first()) {
        (Some(asked), _) => {
            Edit { range: start + asked.span.start..start + asked.span.end, replacement: ASKED.to_vec() }
        }
        (None, Some(first)) => {
            let at = start + first.span.start;
            Edit { range: at..at, replacement: [ASKED, b","].concat() }
        }
        (None, None) => whole(range),
    }
}
