//! Edits a client's body in place for an Anthropic upstream, without parsing and writing it anew.

use bytes::Bytes;
use events::refusal::Refusal;
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use intermediate::Facts;
use intermediate::json::{self, Edit, Kind, Member};
use provider_dialects::{CountTarget, OutboundTarget};
use surfaces::anthropic::{CountRequest, Request, SystemPosition};

use super::thoughts::refused_thoughts;
use crate::passthrough::EditedBody;
use crate::passthrough::rewrite::removals;

/// The edited body: sets the model and the cap, puts the system prefix first, and cuts thoughts that the target does not
/// take, and parameters that its model refuses. Errors: `INVALID_REQUEST` if no message would be left.
pub fn edited_body(
    body: &Bytes,
    positions: &Request,
    facts: &Facts,
    target: &OutboundTarget<'_>,
) -> Result<EditedBody, Refusal> {
    let Ok(text) = std::str::from_utf8(body) else { return Ok(EditedBody::whole(body.clone())) };
    let mut edits = vec![
        Edit { range: positions.model.clone(), replacement: json::written(target.model) },
        Edit { range: positions.cap.clone(), replacement: target.output_cap.tokens.to_string().into_bytes() },
    ];
    if let Some(prefix) = target.system_prefix {
        edits.push(prefixed(text, &positions.system, positions.members_end, prefix));
    }
    let cuts_unsigned = positions.has_unsigned_thoughts && target.takes_signed_thoughts_alone;
    if positions.has_foreign_thoughts || cuts_unsigned {
        edits.extend(refused_thoughts(text, cuts_unsigned)?);
    }
    let refused = target.refused.of_request(facts.needs);
    let refused = if refused.is_empty() { refused } else { cut_refused(text, refused, &mut edits) };
    Ok(EditedBody { bytes: json::splice(text, &mut edits).into(), refused })
}

/// Cuts these parameters out. Returns those that were there.
fn cut_refused(text: &str, refused: RefusedParameters, edits: &mut Vec<Edit>) -> RefusedParameters {
    let members: Vec<_> = json::members(text).map_while(Result::ok).collect();
    let parameter_of = |member: &Member<'_>| RefusedParameter::parse(member.name()).filter(|known| refused.has(*known));
    edits.extend(removals(&members, |member| parameter_of(member).is_some()));
    members.iter().filter(|member| json::kind(member.value) != Kind::Null).filter_map(parameter_of).collect()
}

/// The edited body of a request to count tokens: the model, the system prefix, which counts too, and no thoughts that
/// the target does not take. Errors: likewise.
pub fn edited_count(body: &Bytes, request: &CountRequest, target: &CountTarget<'_>) -> Result<Bytes, Refusal> {
    let Ok(text) = std::str::from_utf8(body) else { return Ok(body.clone()) };
    let mut edits = vec![Edit { range: request.model.clone(), replacement: json::written(target.model) }];
    edits.extend(target.system_prefix.map(|prefix| prefixed(text, &request.system, request.members_end, prefix)));
    let cuts_unsigned = request.has_unsigned_thoughts && target.takes_signed_thoughts_alone;
    if request.has_foreign_thoughts || cuts_unsigned {
        edits.extend(refused_thoughts(text, cuts_unsigned)?);
    }
    Ok(json::splice(text, &mut edits).into())
}

/// The prefix is a paragraph of its own, or a block.
fn prefixed(text: &str, system: &SystemPosition, members_end: usize, prefix: &str) -> Edit {
    match system {
        SystemPosition::Absent => {
            let at = members_end;
            let mut replacement = br#","system":"#.to_vec();
            json::push(&mut replacement, prefix);
            Edit { range: at..at, replacement }
        }
        SystemPosition::Null(value) => Edit { range: value.clone(), replacement: json::written(prefix) },
        SystemPosition::Text(inside) => {
            let is_empty = text.as_bytes().get(*inside) == Some(&b'"');
            let paragraph = if is_empty { prefix.to_owned() } else { format!("{prefix}\n\n") };
            let quoted = json::written(&paragraph);
            let replacement = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_vec();
            Edit { range: *inside..*inside, replacement }
        }
        SystemPosition::Blocks { inside, is_empty } => {
            let mut replacement = br#"{"type":"text","text":"#.to_vec();
            json::push(&mut replacement, prefix);
            replacement.extend_from_slice(if *is_empty { b"}" } else { b"}," });
            Edit { range: *inside..*inside, replacement }
        }
    }
}
