//! What is measured of an answer as it passes.

use std::borrow::Cow;

use events::usage::TokenClasses;
use serde_json::value::RawValue;

use crate::report::Reports;
use crate::{FinishReason, UpstreamFault, json};

/// Reads the classes of a report of usage, and those of its input alone.
pub type ReportReader = fn(&str) -> (Option<TokenClasses>, Option<TokenClasses>);

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
    pub(crate) calls_tools: bool,
    reports: Reports,
    /// The output in the reports is the answer's, not the placeholder of a stream's beginning.
    is_output_reported: bool,
}

impl Metered {
    /// The answer is complete: an end without a reason gets the one that it must have.
    pub(crate) fn conclude(&mut self) {
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
    pub(crate) fn add_report(&mut self, report: &str, is_final: bool) {
        if self.reports.add(report) {
            self.is_output_reported |= is_final;
        }
    }

    /// Reads what was reported so far. Not done with every report: its cost is that of all of them.
    pub(crate) fn read_reports(&mut self, reported: ReportReader) {
        let Some(reports) = self.reports.whole() else { return };
        let (all, input) = reported(&reports);
        self.reported = all.filter(|_| self.is_output_reported);
        self.reported_input = input;
        self.provider_usage = RawValue::from_string(reports).ok();
    }

    /// What is kept of reports until they are read.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> usize {
        self.reports.held_bytes()
    }

    /// Whether its provider has said anything of what it used.
    pub const fn has_report(&self) -> bool {
        self.reported.is_some() || self.reported_input.is_some()
    }

    pub(crate) fn keep_names(&mut self, id: Option<&str>, model: Option<&str>) {
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

/// Names of answers and models are recorded: as far as they may be long.
fn bounded(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// Ids and names of calls are kept, and repeated with every piece of their arguments. One that is cut would be another
/// name, so that longer ones are a fault.
pub fn short(name: Cow<'_, str>) -> Result<Cow<'_, str>, UpstreamFault> {
    let is_short = name.len() <= NAME_CHARS_MAX || name.chars().nth(NAME_CHARS_MAX).is_none();
    if is_short { Ok(name) } else { Err(UpstreamFault::TooLarge) }
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
