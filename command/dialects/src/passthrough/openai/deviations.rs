//! Edits what a known server takes otherwise than OpenAI, and removes Google's signatures of tool calls for all but Google's.

use std::ops::Range;
use std::sync::LazyLock;

use events::event::admin::OutputCapField;
use events::refusal::Refusal;
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use intermediate::json::{self, Edit, Kind, Member};
use intermediate::work;
use memchr::memmem::Finder;
use provider_dialects::openai::server::{Deviations, Fate, deviations, fate};
use provider_dialects::{CallIdRule, OutboundTarget, Server};
use surfaces::priceable::OUTPUT_CONFIG;

use crate::passthrough::rewrite::removals;
use crate::passthrough::{
    EFFORT, RefusedFields, THOUGHT_FIELDS, asks, asks_for_no_thoughts, refused_sampling, refuses_effort,
};

/// The member that OpenAI takes only for stored responses. The gateway has recorded it.
const METADATA: &str = "metadata";
/// The member of a tool call that has Google's signature.
const CALL_SIGNATURE: &str = "extra_content";

/// Removes the top-level fields that the server does not take, those that the target's model refuses, and the output cap, which may be
/// there under two names and is added anew. Gives the seed its name there. Errors: a field that the server refuses, and without which the answer would be another one.
pub fn edit_fields(
    text: &str,
    target: &OutboundTarget<'_>,
    refused: RefusedParameters,
    edits: &mut Vec<Edit>,
) -> Result<RefusedFields, Refusal> {
    let deviations = deviations(target.server.unwrap_or(Server::Other));
    let members: Vec<_> = json::members(text).map_while(Result::ok).collect();
    let is_stored = || members.iter().any(|member| member.name() == "store" && member.value == "true");
    let is_metadata_left_out = || deviations.takes_metadata_only_if_stored && !is_stored();
    let has_own_seed = members.iter().any(|member| member.name() == deviations.seed);
    // A server that refuses fields that it does not know refuses a switch as well.
    let keeps_switches = !refused.contains(RefusedParameter::EffortWithTools)
        && target.server != Some(Server::Openai)
        && !deviations.refuses_other_fields();
    let (mut left_out, mut found, mut has_wish) = (Vec::new(), Vec::new(), false);
    for member in &members {
        let name = member.name();
        if OutputCapField::parse(name).is_some() {
            left_out.push(member.span.start);
        } else if let Some(field) = refused_field(member, refused, keeps_switches) {
            left_out.push(member.span.start);
            has_wish |= THOUGHT_FIELDS.contains(&field) && json::kind(member.value) != Kind::Null;
            found.extend(asks(member).then_some(field));
        } else if name == METADATA && is_metadata_left_out() {
            left_out.push(member.span.start);
            found.extend((json::kind(member.value) != Kind::Null).then_some(METADATA));
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
    let is_left_out = |member: &Member<'_>| left_out.binary_search(&member.span.start).is_ok();
    edits.extend(removals(&members, is_left_out));
    // The model would think by itself.
    found.extend((refused.contains(RefusedParameter::EffortWithTools) && !has_wish).then_some(EFFORT));
    let kept = members.iter().filter(|member| !is_left_out(member));
    Ok(RefusedFields { names: found, asks_for_no_thoughts: asks_for_no_thoughts(refused, kept) })
}

/// The field that a member is, if the target's model refuses it. `keeps_switches` says whether a field that switches thoughts off is
/// sent: a model that thinks by itself would think without it.
fn refused_field(member: &Member<'_>, refused: RefusedParameters, keeps_switches: bool) -> Option<&'static str> {
    let is_switch =
        || keeps_switches && member.name() != EFFORT && !asks(member) && json::kind(member.value) != Kind::Null;
    // It says more than the effort.
    let is_cut = |name: &&str| *name == member.name() && *name != OUTPUT_CONFIG;
    match THOUGHT_FIELDS.into_iter().filter(|_| refuses_effort(refused)).find(is_cut) {
        Some(field) => (!is_switch()).then_some(field),
        None => refused_sampling(member, refused),
    }
}

/// Removes the members of messages and of their tool calls that the server does not take, writes its role for `developer`,
/// and its form of ids of calls. `call_ids` is the rule for these, which holds for all of them if it is [`CallIdRule::Any`].
pub fn edit_messages(
    text: &str,
    messages: Range<usize>,
    server: Option<Server>,
    call_ids: CallIdRule,
    edits: &mut Vec<Edit>,
) {
    let deviations = deviations(server.unwrap_or(Server::Other));
    let list = text.get(messages.clone()).unwrap_or_default();
    // Most requests to most servers have nothing to be edited, which is seen at once.
    let is_signed = !deviations.takes_call_signatures && mentions_signature(list);
    if !deviations.changes_messages() && !is_signed && call_ids == CallIdRule::Any {
        return;
    }
    for message in json::elements(list).map_while(Result::ok).filter(|message| json::kind(message) == Kind::Object) {
        let at = |range: &Range<usize>| {
            let start = json::span(text, message).start;
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
                "tool_call_id" => edits.extend(fitted_id(text, member.value, call_ids)),
                "tool_calls" if json::kind(member.value) == Kind::Array => {
                    let calls = json::elements(member.value).map_while(Result::ok);
                    for call in calls.filter(|call| json::kind(call) == Kind::Object) {
                        edit_call(text, call, deviations, call_ids, edits);
                    }
                }
                _ => {}
            }
        }
    }
}

/// `call` is a slice of the text.
fn edit_call(text: &str, call: &str, deviations: &Deviations, call_ids: CallIdRule, edits: &mut Vec<Edit>) {
    let members: Vec<_> = json::members(call).map_while(Result::ok).collect();
    if !deviations.takes_call_signatures {
        let start = json::span(text, call).start;
        let removed = removals(&members, |member| member.name() == CALL_SIGNATURE);
        let at = |range: Range<usize>| start + range.start..start + range.end;
        edits.extend(removed.into_iter().map(|edit| Edit { range: at(edit.range), ..edit }));
    }
    let ids = members.iter().filter(|member| member.name() == "id");
    edits.extend(ids.filter_map(|id| fitted_id(text, id.value, call_ids)));
}

/// True if the signature's name is in the text as it is. A client that writes it with escapes gets it through to its server.
fn mentions_signature(text: &str) -> bool {
    static NAME: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(CALL_SIGNATURE));
    work::steps(text.len());
    NAME.find(text.as_bytes()).is_some()
}

/// The edit of an id that the server would refuse. `id` is a slice of the text.
fn fitted_id(text: &str, id: &str, call_ids: CallIdRule) -> Option<Edit> {
    let given = json::string(id)?;
    let fitted = call_ids.fitted(&given);
    (fitted != given).then(|| Edit { range: json::span(text, id), replacement: json::written(&*fitted) })
}
