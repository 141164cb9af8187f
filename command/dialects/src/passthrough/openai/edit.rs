//! Edits a client's body in place for an OpenAI-compatible target, without parsing and writing it anew.

use std::ops::Range;

use bytes::Bytes;
use events::event::admin::OutputCapField;
use events::refusal::Refusal;
use events::refused_parameters::RefusedParameter;
use intermediate::Facts;
use intermediate::chat::NO_EFFORT;
use intermediate::json::{self, Edit, Kind};
use provider_dialects::openai::server::{self, output_cap_field};
use provider_dialects::{CallIdRule, OutboundTarget, ProviderKind};
use surfaces::openai::{CapPosition, Request};

use super::deviations::{edit_fields, edit_messages};
use crate::passthrough::{EFFORT, EditedBody, RefusedFields};

/// The edited body: sets the model, sends the cap under the target's name for it or else the client's, requests the
/// usage of a stream, puts the system prefix first, makes what the target's server takes otherwise so, and leaves out what its
/// model refuses. Errors: `INVALID_REQUEST` for a field that the server refuses.
pub fn edited_body(
    body: &Bytes,
    positions: &Request,
    facts: &Facts,
    kind: ProviderKind,
    target: &OutboundTarget<'_>,
) -> Result<EditedBody, Refusal> {
    let Ok(text) = std::str::from_utf8(body) else { return Ok(EditedBody::whole(body.clone())) };
    let deviations = target.server.map(server::deviations);
    let mut edits = Vec::with_capacity(5);
    let mut added = Vec::new();
    edits.push(Edit { range: positions.model.clone(), replacement: json::written(target.model) });
    let refused = target.refused.of_request(facts.needs);
    let mut refused_fields = RefusedFields::default();
    let has_metadata = !facts.directives.metadata.is_empty();
    if !refused.is_empty()
        || deviations
            .is_some_and(|server| server.changes_fields() || has_metadata && server.takes_metadata_only_if_stored)
    {
        refused_fields = edit_fields(text, target, refused, &mut edits)?;
        if refused.contains(RefusedParameter::EffortWithTools) {
            added.extend_from_slice(format!(r#","{EFFORT}":"{NO_EFFORT}""#).as_bytes());
        }
        let field = output_cap_field(target).or(positions.cap.given_field()).unwrap_or_default();
        added.push(b',');
        added.extend_from_slice(&cap_member(field, target.output_cap.tokens));
    } else {
        edit_cap(&positions.cap, target, &mut edits, &mut added);
    }
    let rule = server::call_ids(kind, target.server);
    let call_ids = if positions.has_odd_call_ids || rule.refuses_plain_ids() { rule } else { CallIdRule::Any };
    edit_messages(text, positions.messages.clone(), target.server, call_ids, &mut edits);
    if facts.streamed && deviations.is_none_or(|deviations| deviations.takes_stream_options) {
        match &positions.stream_options {
            Some(range) => edits.push(request_usage(text, range.clone())),
            None => added.extend_from_slice(br#","stream_options":{"include_usage":true}"#),
        }
    }
    if let Some(prefix) = target.system_prefix {
        let mut message = br#"{"role":"system","content":"#.to_vec();
        json::push(&mut message, prefix);
        message.extend_from_slice(b"},");
        let at = positions.messages.start + 1;
        edits.push(Edit { range: at..at, replacement: message });
    }
    if !added.is_empty() {
        edits.push(Edit { range: positions.members_end..positions.members_end, replacement: added });
    }
    let RefusedFields { names, asks_for_no_thoughts } = refused_fields;
    Ok(EditedBody { bytes: json::splice(text, &mut edits).into(), left_out: names, asks_for_no_thoughts })
}

/// The body with the backend's name for the model in this place, and else as it is.
pub fn renamed_body(body: &Bytes, model: &Range<usize>, name: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else { return body.clone() };
    json::splice(text, &mut [Edit { range: model.clone(), replacement: json::written(name) }]).into()
}

fn cap_member(field: OutputCapField, tokens: u64) -> Vec<u8> {
    format!(r#""{}":{tokens}"#, field.as_str()).into_bytes()
}

fn edit_cap(cap: &CapPosition, target: &OutboundTarget<'_>, edits: &mut Vec<Edit>, added: &mut Vec<u8>) {
    let (tokens, sent) = (target.output_cap.tokens, output_cap_field(target));
    let member = |field: OutputCapField| cap_member(field, tokens);
    let fallback = sent.unwrap_or_default();
    match cap {
        CapPosition::Given { field, member: given, value, other } => match sent.filter(|sent| sent != field) {
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
fn request_usage(text: &str, range: Range<usize>) -> Edit {
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
