//! Dialects: how clients speak to the gateway, how upstreams are spoken to, and everything in between. Pure: bytes in,
//! bytes out; no clock, no network, no ledger. Only the simulator, an upstream in this process, waits as it is asked to.
//!
//! Two tables say what there is: [`surfaces`] for clients, [`upstreams`] for providers. Neither knows the other: both meet
//! in the hub, which is [`chat`] for requests and whole answers and `delta` for streams. So a surface and an upstream
//! cost their sum in code, and not their product. `passthrough` is the one shortcut past the hub, for two sides of one
//! dialect. Outside of this module a [`Surface`] and a [`ProviderKind`] are carried about, and nothing asks which one it
//! is; a test holds that. Rejected were a trait object for each side, which costs allocations for each stream, and a
//! conversion for each pair, which keeps more of each dialect but is never complete.
//!
//! A [`ClientRequest`] is what a client sent, checked once. It gives the body for each target, in the target's
//! dialect. The answer comes back whole ([`read_whole`]) or as a stream ([`Relay`]); both measure what passes
//! ([`Metered`]) and are closed with what only the pipeline knows ([`Receipt`]).

pub mod chat;
pub mod fields;
pub mod json;
pub mod surfaces;
pub mod upstreams;

mod delta;
mod framing;
mod passthrough;
mod prompt;
mod redaction;
mod relay;
mod report;
mod request;
mod sse;
mod whole;
mod work;

use std::collections::BTreeSet;

use events::money::NanoUsd;
use events::usage::{TokenClasses, Usage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use json::JsonFault;
use report::Reports;

pub use prompt::prompt_texts;
pub use redaction::{Redactor, may_be_secret};
pub use relay::Relay;
pub use request::ClientRequest;
pub use sse::EVENT_BYTES_MAX;
pub use surfaces::{ErrorForm, Surface, error_body, stream_error};
pub use upstreams::{
    ProviderKind, REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, Rejection, UpstreamRefusal, UpstreamRefusalKind, UpstreamWords,
    read_refusal,
};
pub use whole::{FailedAnswer, WholeAnswer, read_whole};

/// What one target needs to be asked.
#[derive(Clone, Copy, Debug)]
pub struct OutboundTarget<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    /// The cap that bounds the hold, at least 1. It always goes upstream.
    pub max_output_tokens: u64,
    /// The one name of the cap that the upstream takes. `None`: the client's own, else `max_tokens`. OpenAI dialect only.
    pub cap_field: Option<CapField>,
    /// Put before everything that the client says. Its bytes are not in [`ClientRequest::input_tokens_bound`].
    pub system_prefix: Option<&'a str>,
    /// Fields that its provider may be sent although they change the cost.
    pub allowed_fields: &'a BTreeSet<String>,
}

/// For targets that allow none.
#[cfg(test)]
pub static NO_FIELDS: BTreeSet<String> = BTreeSet::new();

/// Every field that changes the cost, and that a provider's row can allow.
pub fn unpriced_fields() -> impl Iterator<Item = &'static str> {
    surfaces::openai::unpriced_fields()
}

/// What an OpenAI-compatible provider calls the output cap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapField {
    #[default]
    MaxTokens,
    MaxCompletionTokens,
}

impl CapField {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Cancelled,
    Error,
}

/// What is known of an answer, whole or so far.
#[derive(Clone, Debug, Default)]
pub struct Metered {
    /// The provider's own report, verbatim. Of a stream all reports as one object: the later figure wins, field by
    /// field; null never replaces a figure.
    pub provider_usage: Option<Box<RawValue>>,
    /// The report in disjoint classes. `None` where there is none, it is unreadable, it is all zero, or it is not
    /// final (Anthropic before `message_delta`).
    pub reported: Option<TokenClasses>,
    /// The input side alone, its output classes 0, where that much is reported. The output of an answer that was cut
    /// off is then to be counted.
    pub reported_input: Option<TokenClasses>,
    /// UTF-8 bytes of text, of refusals, and of the names and arguments of tool calls.
    pub text_bytes: u64,
    /// UTF-8 bytes of reasoning that could be seen. Providers that hide it bill it all the same.
    pub reasoning_bytes: u64,
    /// Of the first choice.
    pub finish_reason: Option<FinishReason>,
    /// The model that the upstream says it used.
    pub upstream_model: Option<String>,
    /// The upstream's id of the answer. Not unique.
    pub upstream_id: Option<String>,
    /// A tool is called. It explains an end that has no reason (xAI).
    calls_tools: bool,
    reports: Reports,
    /// The output in the reports is the answer's, not the placeholder of a stream's beginning.
    is_output_reported: bool,
}

impl Metered {
    /// The answer is complete: an end without a reason gets the one that it must have.
    fn conclude(&mut self) {
        let reason = if self.calls_tools { FinishReason::ToolCalls } else { FinishReason::Stop };
        self.finish_reason.get_or_insert(reason);
    }

    /// As a basis for the bill of an answer that broke off. A report that knows of no text, though some went through,
    /// came before it: then the output is to be counted, and of the report only the input holds, and what it says was
    /// thought.
    pub fn of_what_was_cut_off(self) -> Self {
        match &self.reported {
            Some(reported)
                if self.text_bytes > 0 && reported.output_text_tokens == 0
                    || self.reasoning_bytes > 0 && reported.output() == 0 =>
            {
                let reasoning_bytes = self.reasoning_bytes.max(reported.output_reasoning_tokens.saturating_mul(4));
                Self { reported: None, reasoning_bytes, ..self }
            }
            _ => self,
        }
    }

    /// Adds a report to those before it. `is_final`: the output figure is the answer's.
    fn add_report(&mut self, report: &str, is_final: bool) {
        if self.reports.add(report) {
            self.is_output_reported |= is_final;
        }
    }

    /// Reads what was reported so far. Not done with every report: its cost is that of all of them.
    fn read_reports(&mut self, kind: ProviderKind) {
        let Some(reports) = self.reports.whole() else { return };
        let (all, input) = (upstreams::of(kind).reported)(&reports);
        self.reported = all.filter(|_| self.is_output_reported);
        self.reported_input = input;
        self.provider_usage = RawValue::from_string(reports).ok();
    }

    /// Whether its provider has said anything of what it used.
    pub const fn has_report(&self) -> bool {
        self.reported.is_some() || self.reported_input.is_some()
    }

    fn keep_names(&mut self, id: Option<&str>, model: Option<&str>) {
        let read = |value: Option<&str>| {
            let text = value.and_then(json::string)?;
            (!text.is_empty()).then(|| bounded(&text))
        };
        if self.upstream_id.is_none() {
            self.upstream_id = read(id);
        }
        if self.upstream_model.is_none() {
            self.upstream_model = read(model);
        }
    }
}

/// Characters of a name or an id that an upstream chose.
const NAME_CHARS_MAX: usize = 256;

/// Blocks of one answer, and pieces of one event: each is told with what is around it.
const ANSWER_BLOCKS_MAX: usize = 1024;

/// Names of answers and models are recorded: as far as they may be long.
fn bounded(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// Ids and names of calls are kept, and repeated with every piece of their arguments. One that is cut would be another
/// name, so that longer ones are a fault.
fn must_be_short(name: &str) -> Result<(), UpstreamFault> {
    let is_short = name.len() <= NAME_CHARS_MAX || name.chars().nth(NAME_CHARS_MAX).is_none();
    if is_short { Ok(()) } else { Err(UpstreamFault::TooLarge) }
}

/// Facts that only the pipeline knows, needed to write an answer's end.
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    pub request_id: &'a str,
    pub frontend_model: &'a str,
    pub provider: &'a str,
    pub backend_model: &'a str,
    pub usage: &'a Usage,
    pub cost_usd: NanoUsd,
    pub price_version: u64,
    pub admitted_position: u64,
    pub settled_position: u64,
    pub held_usd: NanoUsd,
    pub finish_reason: FinishReason,
}

/// An upstream said 200 and did not answer. Its words, where they are carried, are locked away: credentials could be in
/// them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    #[error("the upstream's answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("the upstream's answer ended before it was complete")]
    Truncated,
    /// `retryable`: another try, or another target, may succeed.
    #[error("the upstream reported an error inside its answer")]
    InBandError { retryable: bool },
    /// The same where it says that the request is wrong: only the client can mend it.
    #[error("the upstream rejected the request inside its answer")]
    Rejected(Box<UpstreamWords>),
    /// As a whole, an event of it, a name in it, or what it would become for the client.
    #[error("the upstream's answer is larger than the gateway takes")]
    TooLarge,
}

impl From<JsonFault> for UpstreamFault {
    fn from(fault: JsonFault) -> Self {
        match fault {
            JsonFault::TooManyMembers => Self::TooLarge,
            JsonFault::Syntax(_) | JsonFault::TooDeep | JsonFault::Nul(_) => {
                Self::Malformed("not the JSON that was expected")
            }
        }
    }
}

impl From<sse::SseFault> for UpstreamFault {
    fn from(fault: sse::SseFault) -> Self {
        match fault {
            sse::SseFault::TooLarge => Self::TooLarge,
            sse::SseFault::NotUtf8 => Self::Malformed("not UTF-8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metered(text: u64, reasoning: u64, text_bytes: u64, reasoning_bytes: u64) -> Metered {
        let input = TokenClasses { input_uncached_tokens: 12, ..TokenClasses::default() };
        let reported = TokenClasses { output_text_tokens: text, output_reasoning_tokens: reasoning, ..input.clone() };
        Metered {
            reported: Some(reported),
            reported_input: Some(input),
            text_bytes,
            reasoning_bytes,
            ..Metered::default()
        }
    }

    #[test]
    fn a_report_that_came_before_the_output_does_not_make_it_free() {
        for ((text, reasoning), (text_bytes, reasoning_bytes), holds) in [
            ((0, 0), (40, 0), false),
            ((0, 0), (0, 40), false),
            ((0, 0), (0, 0), true),
            ((3, 0), (40, 0), true),
            ((0, 5), (0, 40), true),
            ((0, 5), (40, 0), false),
        ] {
            let metered = metered(text, reasoning, text_bytes, reasoning_bytes);
            let cut_off = metered.clone().of_what_was_cut_off();
            assert_eq!((cut_off.reported.is_some(), cut_off.reported_input.is_some()), (holds, true), "{metered:?}");
            assert_eq!(cut_off.text_bytes, text_bytes);
            assert_eq!(
                cut_off.reasoning_bytes.div_ceil(4),
                reasoning_bytes.div_ceil(4).max(if holds { 0 } else { reasoning })
            );
        }
    }
}

#[cfg(test)]
mod boundaries;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod roundtrip;
