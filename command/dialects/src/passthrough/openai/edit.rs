//! Edits a client's body in place for an OpenAI-compatible target, without parsing and writing it anew.

use bytes::Bytes;
use events::event::admin::OutputCapField;

use crate::json::{self, Edit, Kind};
use crate::surfaces::openai::{CapPosition, Request};
use crate::{OutboundTarget, UpstreamCap};

/// The edited body: sets the model, sends the cap under the target's name for it or else the client's, requests the
/// usage of a stream, and puts the system prefix first.
pub fn edited_body(body: &Bytes, positions: &Request, streamed: bool, target: &OutboundTarget<'_>) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else { return body.clone() };
    let mut edits = Vec::with_capacity(5);
    let mut added = Vec::new();
    edits.push(Edit { range: positions.model.clone(), replacement: json::written(target.model) });
    edit_cap(&positions.cap, target.output_cap, &mut edits, &mut added);
    if streamed {
        match &positions.stream_options {
            Some(range) => edits.push(request_usage(text, range.clone())),
            None => added.extend_from_slice(br#","stream_options":{"include_usage":true}"#),
        }
    }
    if let Some(prefix) = target.system_prefix {
        let mut message = br#"{"role":"system","content":"#.to_vec();
        json::push(&mut message, prefix);
        message.extend_from_slice(b"},");
        edits.push(Edit { range: positions.messages_inside..positions.messages_inside, replacement: message });
    }
    if !added.is_empty() {
        edits.push(Edit { range: positions.members_end..positions.members_end, replacement: added });
    }
    json::splice(text, &mut edits).into()
}

fn edit_cap(cap: &CapPosition, sent: UpstreamCap, edits: &mut Vec<Edit>, added: &mut Vec<u8>) {
    let tokens = sent.tokens;
    let member = |field: OutputCapField| format!(r#""{}":{tokens}"#, field.as_str()).into_bytes();
    let fallback = sent.field.unwrap_or_default();
    match cap {
        CapPosition::Given { field, member: given, value, other } => match sent.field.filter(|sent| sent != field) {
            None => edits.push(Edit { range: value.clone(), replacement: tokens.to_string().into_bytes() }),
            Some(sent) => {
                edits.push(Edit { range: given.clone(), replacement: member(sent) });
                // The other name's null member would be a second member of the name that is sent.
                edits.extend(other.clone().map(|range| {
                    let replacement = format!(r#""{}":null"#, field.as_str()).into_bytes();
                    Edit { range, replacement }
                }));
            }
        },
        // Prefer the member with the target's name: renaming the other one would duplicate it.
        CapPosition::Null(members) => {
            let same_name = members.iter().find(|(field, _)| *field == fallback);
            let renamed = same_name.or(members.first());
            edits.extend(renamed.map(|(_, whole)| Edit { range: whole.clone(), replacement: member(fallback) }));
        }
        CapPosition::Absent => {
            added.push(b',');
            added.extend_from_slice(&member(fallback));
        }
    }
}

/// Sets `include_usage` to true, and keeps the client's other options.
fn request_usage(text: &str, range: std::ops::Range<usize>) -> Edit {
    const INCLUDE_USAGE: &[u8] = br#""include_usage":true"#;
    let options = text.get(range.clone()).unwrap_or_default();
    let whole = |range| Edit { range, replacement: [b"{", INCLUDE_USAGE, b"}"].concat() };
    if json::kind(options) != Kind::Object {
        return whole(range);
    }
    let members: Vec<_> = json::members(options).map_while(Result::ok).collect();
    let start = range.start;
    match (members.iter().find(|member| member.name() == "include_usage"), members.first()) {
        (Some(given), _) => {
            Edit { range: start + given.span.start..start + given.span.end, replacement: INCLUDE_USAGE.to_vec() }
        }
        (None, Some(first)) => {
            let at = start + first.span.start;
            Edit { range: at..at, replacement: [INCLUDE_USAGE, b","].concat() }
        }
        (None, None) => whole(range),
    }
}
