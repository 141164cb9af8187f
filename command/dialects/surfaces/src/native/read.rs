//! Reads a native request. An unknown field is refused with its path.

mod message;

use std::borrow::Cow;

use events::refusal::Refusal;
use events::terms::{Region, RequiredTerms, Term};
use intermediate::chat::read::{
    OUTPUT_TOKENS_MAX, TOOLS_MAX, choices, effort_of, logprobs, metadata, model, response_format, sampling, stop,
};
use intermediate::chat::{ChatRequest, Reasoning, Tool, ToolChoice};
use intermediate::facts::{Facts, RequestedCap};
use intermediate::fields::{Fields, ForeignField, LengthMax, Path};
use intermediate::json::{self, Kind};

use crate::SurfaceRequest;
use crate::priceable::{SERVICE_TIER, service_tier, tier_of_chat, tool};

const CAP_FIELD: &str = "max_output_tokens";
#[rustfmt::skip]
const FIELDS: [&str; 24] = [
    "model", "messages", CAP_FIELD, "temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty",
    "logit_bias", "logprobs", "top_logprobs", "n", "stop", "stream", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning", "metadata", "user", SERVICE_TIER, "terms",
];
/// Names that the APIs of OpenAI and Anthropic have for some of the fields.
const OTHER_APIS: [ForeignField; 4] = [
    ForeignField { name: "max_tokens", here: CAP_FIELD },
    ForeignField { name: "max_completion_tokens", here: CAP_FIELD },
    ForeignField { name: "stop_sequences", here: "stop" },
    ForeignField { name: "reasoning_effort", here: "reasoning.effort" },
];

/// A native request, fully read.
pub struct NativeRequest(Box<ChatRequest>);

impl SurfaceRequest for NativeRequest {
    fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        json::check(text).map_err(|fault| Path::Root.fault(fault))?;
        let (chat, output_cap, required_terms) = read(text)?;
        let unpriced = tier_of_chat(&chat).into_iter().collect();
        let mut facts = Facts { unpriced, ..Facts::of_chat(&chat, output_cap) };
        facts.directives.required_terms = required_terms;
        Ok((facts, Self(Box::new(chat))))
    }

    fn chat<'a>(&'a self, _: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
        Ok(Cow::Borrowed(&self.0))
    }
}

/// Reads a body that was checked to be JSON of bounded depth.
fn read(text: &str) -> Result<(ChatRequest, RequestedCap, RequiredTerms), Refusal> {
    let mut fields = Fields::read(text, &Path::Root)?.refuse_unknown(&FIELDS, &OTHER_APIS)?;
    let (model, messages) = (model(&mut fields)?, message::read_all(&mut fields)?);
    let tokens = fields.count(CAP_FIELD, OUTPUT_TOKENS_MAX)?;
    let request = ChatRequest {
        model,
        messages,
        sampling: sampling(&mut fields)?,
        choices: choices(&mut fields)?,
        logprobs: logprobs(&mut fields)?,
        stop: stop(&mut fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        tools: tools(&mut fields)?,
        tool_choice: tool_choice(&mut fields)?,
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?,
        response_format: response_format(&mut fields)?,
        reasoning: reasoning(&mut fields)?,
        metadata: metadata(fields.raw("metadata"), &Path::Root.field("metadata"))?,
        user: fields.string("user")?.map(Into::into),
        service_tier: service_tier(&mut fields)?,
        left_out: Vec::new(),
    };
    let terms = required_terms(&mut fields)?;
    Ok((request, RequestedCap { field: CAP_FIELD, tokens }, terms))
}

fn required_terms(fields: &mut Fields<'_, '_>) -> Result<RequiredTerms, Refusal> {
    let path = fields.path().field("terms");
    let Some(value) = fields.raw("terms") else { return Ok(RequiredTerms::NONE) };
    let names: Vec<&str> = Term::words().collect();
    let mut terms = Fields::read(value, &path)?.refuse_unknown(&names, &[])?;
    let residency = terms.string(Term::Residency.as_str())?;
    let region = |text: Cow<'_, str>| {
        text.parse::<Region>().map_err(|reason| path.field(Term::Residency.as_str()).refuse(reason))
    };
    Ok(RequiredTerms {
        residency: residency.map(region).transpose()?,
        zero_retention: terms.boolean(Term::ZeroRetention.as_str())?.unwrap_or(false),
        training: terms.boolean(Term::Training.as_str())?.unwrap_or(true),
    })
}

fn tools(fields: &mut Fields<'_, '_>) -> Result<Vec<Tool>, Refusal> {
    fields.list("tools", LengthMax { max: TOOLS_MAX, things: "elements" }, |element, path| {
        let names = ["name", "description", "parameters", "strict"];
        let mut fields = Fields::read(element, path)?.refuse_unknown(&names, &[])?;
        tool(&mut fields)
    })
}

fn tool_choice(fields: &mut Fields<'_, '_>) -> Result<Option<ToolChoice>, Refusal> {
    let path = fields.path().field("tool_choice");
    let Some(value) = fields.raw("tool_choice") else { return Ok(None) };
    if json::kind(value) == Kind::Object {
        let mut named = Fields::read(value, &path)?.refuse_unknown(&["name"], &[])?;
        return Ok(Some(ToolChoice::Named(named.required_string("name")?.into_owned())));
    }
    match value {
        r#""auto""# => Ok(Some(ToolChoice::Auto)),
        r#""none""# => Ok(Some(ToolChoice::None)),
        r#""required""# => Ok(Some(ToolChoice::Required)),
        _ => Err(path.refuse(r#"must be "auto", "none", "required" or {"name"}"#)),
    }
}

fn reasoning(fields: &mut Fields<'_, '_>) -> Result<Option<Reasoning>, Refusal> {
    let path = fields.path().field("reasoning");
    let Some(value) = fields.raw("reasoning") else { return Ok(None) };
    let mut reasoning = Fields::read(value, &path)?.refuse_unknown(&["effort", "budget_tokens"], &[])?;
    let effort = reasoning.string("effort")?;
    let budget = reasoning.count("budget_tokens", OUTPUT_TOKENS_MAX)?;
    match (effort, budget) {
        (Some(text), None) => effort_of(&text, &path.field("effort")).map(Some),
        (None, Some(tokens)) => Ok(Some(Reasoning::budget(tokens))),
        _ => Err(path.refuse("must have either effort or budget_tokens")),
    }
}

#[cfg(test)]
mod tests;
