//! Edits a client's body in place for an Anthropic upstream, without parsing and writing it anew.

use bytes::Bytes;
use events::refusal::Refusal;
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use intermediate::Facts;
use intermediate::json::{self, Edit, Member};
use provider_dialects::{CountTarget, OutboundTarget};
use surfaces::anthropic::{CountRequest, Request, SystemPosition, is_billing_block};
use surfaces::priceable::OUTPUT_CONFIG;

use super::call_ids::fitted_call_ids;
use super::thoughts::refused_thoughts;
use crate::passthrough::rewrite::{cuts, removals};
use crate::passthrough::{
    EditedBody, RefusedFields, THINKING, asks, asks_for_no_thoughts, refused_sampling, refuses_effort,
};

const CONFIGURED_EFFORT: &str = "output_config.effort";
const NO_THINKING: &[u8] = br#","thinking":{"type":"disabled"}"#;

/// The edited body: sets the model and the cap, puts the system prefix first, and cuts what is for Anthropic alone, thoughts
/// that the target does not take, and parameters that its model refuses. Errors: `INVALID_REQUEST` if no message would be
/// left.
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
    let cuts_line = positions.has_billing_line && !target.is_anthropics_own();
    let system = SystemEdits { position: &positions.system, members_end: positions.members_end, cuts_line };
    system.add(text, target.system_prefix, &mut edits);
    let cuts_unsigned = positions.has_unsigned_thoughts && target.takes_signed_thoughts_alone;
    if positions.has_foreign_thoughts || cuts_unsigned {
        edits.extend(refused_thoughts(text, cuts_unsigned)?);
    }
    // Other servers have ids of their own.
    if positions.has_odd_call_ids && target.takes_signed_thoughts_alone {
        edits.extend(fitted_call_ids(text));
    }
    let refused = target.refused.of_request(facts.needs);
    let cut = match refused.is_empty() {
        true => RefusedFields::default(),
        false => cut_refused(text, refused, positions.members_end, &mut edits),
    };
    let RefusedFields { names, asks_for_no_thoughts } = cut;
    Ok(EditedBody { bytes: json::splice(text, &mut edits).into(), left_out: names, asks_for_no_thoughts })
}

/// Cuts these parameters out, and switches thoughts off where they are refused beside tools.
fn cut_refused(text: &str, refused: RefusedParameters, members_end: usize, edits: &mut Vec<Edit>) -> RefusedFields {
    let members: Vec<_> = json::members(text).map_while(Result::ok).collect();
    let refuses_effort = refuses_effort(refused);
    let config = members.iter().find(|member| refuses_effort && member.name() == OUTPUT_CONFIG);
    // An effort is a member of an object that may say more.
    let inside: Vec<_> =
        config.map(|config| json::members(config.value).map_while(Result::ok).collect()).unwrap_or_default();
    let has_effort = inside.iter().any(|member| member.name() == "effort");
    let is_effort_alone = has_effort && inside.len() == 1;
    let field_of = |member: &Member<'_>| match member.name() {
        THINKING if refuses_effort => (!switches_off(member)).then_some(THINKING),
        OUTPUT_CONFIG if is_effort_alone => Some(CONFIGURED_EFFORT),
        _ => refused_sampling(member, refused),
    };
    edits.extend(removals(&members, |member| field_of(member).is_some()));
    let mut names: Vec<_> = members.iter().filter(|member| asks(member)).filter_map(field_of).collect();
    if let Some(config) = config.filter(|_| has_effort && !is_effort_alone) {
        let start = json::span(text, config.value).start;
        let inner = removals(&inside, |member| member.name() == "effort").into_iter();
        edits.extend(inner.map(|edit| Edit { range: start + edit.range.start..start + edit.range.end, ..edit }));
        names.extend(asks(config).then_some(CONFIGURED_EFFORT));
    }
    let is_off = || members.iter().any(|member| member.name() == THINKING && switches_off(member));
    if refused.contains(RefusedParameter::EffortWithTools) && !is_off() {
        edits.push(Edit { range: members_end..members_end, replacement: NO_THINKING.to_vec() });
        // The model would think by itself.
        let is_named = names.iter().any(|name| [THINKING, CONFIGURED_EFFORT].contains(name));
        names.extend((!is_named).then_some(THINKING));
    }
    // What is left of the other fields of Anthropic's says nothing of thoughts.
    let kept = members.iter().filter(|member| field_of(member).is_none() && member.name() != OUTPUT_CONFIG);
    let asks_for_no_thoughts = asks_for_no_thoughts(refused, kept);
    RefusedFields { names, asks_for_no_thoughts }
}

fn switches_off(thinking: &Member<'_>) -> bool {
    let [kind] = json::find(thinking.value, ["type"]);
    kind.and_then(json::string).as_deref() == Some("disabled")
}

/// The edited body of a request to count tokens: the model, the system prefix, which counts too, and nothing that is for
/// Anthropic alone or that the target does not take. Errors: likewise.
pub fn edited_count(body: &Bytes, request: &CountRequest, target: &CountTarget<'_>) -> Result<Bytes, Refusal> {
    let Ok(text) = std::str::from_utf8(body) else { return Ok(body.clone()) };
    let mut edits = vec![Edit { range: request.model.clone(), replacement: json::written(target.model) }];
    let cuts_line = request.has_billing_line && !target.is_anthropics_own();
    let system = SystemEdits { position: &request.system, members_end: request.members_end, cuts_line };
    system.add(text, target.system_prefix, &mut edits);
    let cuts_unsigned = request.has_unsigned_thoughts && target.takes_signed_thoughts_alone;
    if request.has_foreign_thoughts || cuts_unsigned {
        edits.extend(refused_thoughts(text, cuts_unsigned)?);
    }
    if request.has_odd_call_ids && target.takes_signed_thoughts_alone {
        edits.extend(fitted_call_ids(text));
    }
    Ok(json::splice(text, &mut edits).into())
}

/// The changes of the system prompt.
struct SystemEdits<'a> {
    position: &'a SystemPosition,
    members_end: usize,
    /// Cuts the block that is for Anthropic alone.
    cuts_line: bool,
}

impl SystemEdits<'_> {
    /// Adds them. The prefix goes before the cuts, of which one may begin where it is put.
    fn add(&self, text: &str, prefix: Option<&str>, edits: &mut Vec<Edit>) {
        let [system] = if self.cuts_line { json::find(text, ["system"]) } else { [None] };
        let blocks = system.into_iter().flat_map(json::elements_if_array);
        let blocks: Vec<_> = blocks.map(|block| (json::span(text, block), is_billing_block(block))).collect();
        let has_no_block = self.cuts_line && blocks.iter().all(|(_, is_cut)| *is_cut);
        edits.extend(prefix.map(|prefix| self.prefixed(text, prefix, has_no_block)));
        edits.extend(cuts(blocks.into_iter()));
    }

    /// The prefix is a paragraph of its own, or a block. `has_no_block`: of a list, no block is left.
    fn prefixed(&self, text: &str, prefix: &str, has_no_block: bool) -> Edit {
        match self.position {
            SystemPosition::Absent => {
                let at = self.members_end;
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
                replacement.extend_from_slice(if *is_empty || has_no_block { b"}" } else { b"}," });
                Edit { range: *inside..*inside, replacement }
            }
        }
    }
}
