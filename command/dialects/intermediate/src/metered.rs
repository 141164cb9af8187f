//! The measurements of a response as it passes.

use std::borrow::Cow;

use events::content::AnswerText;
use events::usage::{ServiceTier, TokenClasses};
use serde_json::value::RawValue;

use crate::report::Reports;
use crate::{FinishReason, UpstreamFault, json};

/// Reads a usage report.
pub type ReportReader = fn(&str) -> ReadReport<'_>;

/// The content of a usage report. `Default`: nothing.
#[derive(Debug, Default)]
pub struct ReadReport<'a> {
    pub usage: Option<ReportedUsage>,
    /// The provider's word for the service tier, as JSON.
    pub service_tier: Option<&'a str>,
}

impl ReadReport<'_> {
    /// All classes, and those of the input, where they are reported.
    pub fn sides(&self) -> (Option<TokenClasses>, Option<TokenClasses>) {
        let usage = self.usage.as_ref();
        (usage.and_then(ReportedUsage::all).cloned(), usage.and_then(ReportedUsage::input))
    }
}

/// The token classes of a report: all of them, or those of the input alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedUsage {
    tokens: TokenClasses,
    has_output: bool,
}

impl ReportedUsage {
    /// `None` if everything is zero.
    pub fn whole(tokens: TokenClasses) -> Option<Self> {
        (tokens.input().saturating_add(tokens.output()) > 0).then_some(Self { tokens, has_output: true })
    }

    /// `None` if there is nothing to bill.
    pub fn of_input(tokens: TokenClasses) -> Option<Self> {
        let is_billed = tokens.input().saturating_add(tokens.input_images) > 0;
        is_billed.then(|| Self { tokens: tokens.without_output(), has_output: false })
    }

    /// An input and its output, if that is known.
    pub fn of_sides(input: TokenClasses, output: Option<u64>) -> Option<Self> {
        let output = output.filter(|output| input.input().saturating_add(*output) > 0);
        match output {
            Some(output) => Self::whole(TokenClasses { output_text_tokens: output, ..input }),
            None => Self::of_input(input),
        }
    }

    /// All classes; `None` if the output is unknown.
    pub fn all(&self) -> Option<&TokenClasses> {
        self.has_output.then_some(&self.tokens)
    }

    /// The input classes alone.
    pub fn input(&self) -> Option<TokenClasses> {
        Self::of_input(self.tokens.clone()).map(|input| input.tokens)
    }
}

/// The measurements of a response, whole or so far.
#[derive(Clone, Debug, Default)]
pub struct Metered {
    /// The provider's usage report, verbatim. The reports of a stream are merged into one object: the later figure
    /// wins, field by field; null never replaces a figure, nor does 0 a count of input.
    pub provider_usage: Option<Box<RawValue>>,
    /// The report in disjoint classes; `None` if there is none, or it is unreadable or all zero. Boxed, because it is large and
    /// responses are moved often.
    pub usage: Option<Box<ReportedUsage>>,
    /// The service tier that the response reports; `None` for one without prices of its own.
    pub service_tier: Option<ServiceTier>,
    /// UTF-8 bytes of text, of refusals, and of the names and arguments of tool calls.
    pub text_bytes: u64,
    /// UTF-8 bytes of visible reasoning, and bytes of what a provider of Claude encrypted instead. Others that hide it bill
    /// for it all the same.
    pub reasoning_bytes: u64,
    /// Finish reason of the first choice.
    pub finish_reason: Option<FinishReason>,
    /// The model that the upstream reports.
    pub upstream_model: Option<String>,
    /// The upstream's id of the response. Not unique.
    pub upstream_id: Option<String>,
    /// The response calls a tool, which is then the finish reason if none is given (xAI).
    pub calls_tools: bool,
    reports: Reports,
    /// The text that [`Metered::text_bytes`] counts, if something of it is kept. Boxed: few bytes where nothing is.
    answer: Option<Box<AnswerText>>,
    /// The reported output is final, and not the placeholder at the beginning of a stream.
    is_output_reported: bool,
}

impl Metered {
    /// Measurements of a response whose text goes through `answer` as well.
    pub fn of_answer(answer: Option<Box<AnswerText>>) -> Self {
        Self { answer, ..Self::default() }
    }

    /// The digest of the text so far; `None` if none is made, or there was no text.
    pub fn answer_digest(&self) -> Option<String> {
        self.answer.as_deref()?.digest()
    }

    /// The text so far; `None` of what has none, such as embeddings, and if nothing of it is kept.
    pub fn answer_text(&self) -> Option<&AnswerText> {
        self.answer.as_deref()
    }

    /// Bytes of memory that the text takes which is kept.
    pub fn kept_bytes(&self) -> usize {
        self.answer.as_deref().map_or(0, AnswerText::kept_bytes)
    }

    /// Adds text, or a part of a tool call.
    pub fn add_text(&mut self, text: &str) {
        self.text_bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
        if let Some(answer) = &mut self.answer {
            answer.add(text);
        }
    }

    /// Does the same as [`Self::add_text`], for a JSON string; other values have no text. Returns the bytes of the
    /// text. Half of a surrogate pair counts as three bytes, and is kept as it is written.
    pub fn add_json_text(&mut self, value: &str) -> u64 {
        let bytes = json::string_bytes(value);
        self.text_bytes += bytes;
        if let Some(answer) = self.answer.as_mut().filter(|_| bytes > 0) {
            let text = json::string(value).unwrap_or(Cow::Borrowed(value.get(1..value.len() - 1).unwrap_or_default()));
            answer.add(&text);
        }
        bytes
    }

    /// Ends a complete response: a missing finish reason follows from its content.
    pub fn conclude(&mut self) {
        let reason = if self.calls_tools { FinishReason::ToolCalls } else { FinishReason::Stop };
        self.finish_reason.get_or_insert(reason);
    }

    /// The measurements to bill an interrupted response by. A report without text, although text went through, was sent
    /// before that text. Then only its input and its reasoning hold, and the text must be counted.
    pub fn for_interrupted(self) -> Self {
        match self.reported() {
            Some(reported)
                if self.text_bytes > 0 && reported.output_text_tokens == 0
                    || self.reasoning_bytes > 0 && reported.output() == 0 =>
            {
                let reasoning_bytes = self.reasoning_bytes.max(reported.output_reasoning_tokens.saturating_mul(4));
                let input = self.reported_input().and_then(ReportedUsage::of_input);
                Self { usage: input.map(Box::new), reasoning_bytes, ..self }
            }
            _ => self,
        }
    }

    /// The report, unless it has no output although some went through: such output must be counted.
    pub fn reported_with_output(&self) -> Option<&TokenClasses> {
        let has_output = self.text_bytes > 0 || self.reasoning_bytes > 0;
        self.reported().filter(|reported| !has_output || reported.output() > 0)
    }

    /// Adds a block of reasoning. Thoughts that are not shown are in its signature.
    pub fn add_reasoning(&mut self, text: &str, signature: Option<&str>, redacted: Option<&str>) {
        self.reasoning_bytes += u64::try_from(text.len()).unwrap_or(u64::MAX);
        let hidden = [signature.filter(|_| text.is_empty()), redacted];
        hidden.into_iter().flatten().for_each(|data| self.add_hidden_thoughts(data));
    }

    /// Adds thoughts that the provider encrypted, which are base64.
    pub fn add_hidden_thoughts(&mut self, data: &str) {
        self.reasoning_bytes += u64::try_from(data.len()).unwrap_or(u64::MAX) / 4 * 3;
    }

    /// Adds a report to those before it. `is_final`: its output figure is that of the whole response.
    pub fn add_report(&mut self, report: &str, is_final: bool) {
        if self.reports.add(report) {
            self.is_output_reported |= is_final;
        }
    }

    /// Reads all reports so far. Call it once, not for each report: it costs as much as all of them.
    pub fn read_reports(&mut self, read: ReportReader) {
        let Some(reports) = self.reports.whole() else { return };
        let ReadReport { usage, service_tier } = read(&reports);
        let usage = match usage {
            Some(usage) if usage.has_output && !self.is_output_reported => ReportedUsage::of_input(usage.tokens),
            usage => usage,
        };
        self.usage = usage.map(Box::new);
        self.keep_service_tier(service_tier);
        self.provider_usage = RawValue::from_string(reports).ok();
    }

    /// Keeps the tier that served the request, which the provider may put beside its report. The later one counts.
    pub fn keep_service_tier(&mut self, reported: Option<&str>) {
        if let Some(word) = reported.and_then(json::string) {
            self.service_tier = priced_tier(&word);
        }
    }

    /// Counts everything that was reported as input: embeddings have no output, and a total above the prompt's tokens is
    /// of the same side.
    pub fn all_is_input(&mut self) {
        if let Some(usage) = &mut self.usage {
            let all = std::mem::take(&mut usage.tokens);
            let input_uncached_tokens = all.input_uncached_tokens.saturating_add(all.output());
            usage.tokens = TokenClasses { input_uncached_tokens, ..all.without_output() };
            usage.has_output = true;
        }
    }

    /// Bytes of memory that unread reports take.
    pub fn held_bytes(&self) -> usize {
        self.reports.held_bytes()
    }

    /// True if the provider reported any usage.
    pub const fn has_report(&self) -> bool {
        self.usage.is_some()
    }

    /// The report in disjoint classes. `None` if there is no report, or it is unreadable, all zero, or not final
    /// (Anthropic before `message_delta`).
    pub fn reported(&self) -> Option<&TokenClasses> {
        self.usage.as_deref().and_then(ReportedUsage::all)
    }

    /// The input classes alone, with output 0, if they are reported. The output of an interrupted response must then be
    /// counted.
    pub fn reported_input(&self) -> Option<TokenClasses> {
        self.usage.as_deref().and_then(ReportedUsage::input)
    }

    pub fn keep_id_and_model(&mut self, id: Option<&str>, model: Option<&str>) {
        let read = |value: Option<&str>| {
            let text = value.and_then(json::string)?;
            (!text.is_empty()).then(|| truncated(&text))
        };
        if self.upstream_id.is_none() {
            self.upstream_id = read(id);
        }
        if self.upstream_model.is_none() {
            self.upstream_model = read(model);
        }
    }
}

/// The tier by the providers' words for it: `flex`, `ON_DEMAND_FLEX` (Vertex). `None` for standard ones.
fn priced_tier(word: &str) -> Option<ServiceTier> {
    const BEFORE: &str = "on_demand_";
    let name = match word.split_at_checked(BEFORE.len()) {
        Some((before, name)) if before.eq_ignore_ascii_case(BEFORE) => name,
        _ => word,
    };
    ServiceTier::NAMED.iter().find(|known| known.name.eq_ignore_ascii_case(name)).map(|known| known.value)
}

/// Longest name or id of an upstream's choosing, in characters.
const NAME_CHARS_MAX: usize = 256;

/// Ids and models of responses are recorded, at most so long.
fn truncated(name: &str) -> String {
    let end = name.char_indices().nth(NAME_CHARS_MAX).map_or(name.len(), |(end, _)| end);
    name[..end].to_owned()
}

/// Bounds the id or name of a tool call, which is kept and repeated with each piece of the arguments. A truncated name
/// would be another name, so a longer one is a fault.
pub fn bounded_name(name: Cow<'_, str>) -> Result<Cow<'_, str>, UpstreamFault> {
    let is_short = name.len() <= NAME_CHARS_MAX || name.chars().nth(NAME_CHARS_MAX).is_none();
    if is_short { Ok(name) } else { Err(UpstreamFault::TooLarge) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metered(text: u64, reasoning: u64, text_bytes: u64, reasoning_bytes: u64) -> Metered {
        let input = TokenClasses { input_uncached_tokens: 12, ..TokenClasses::default() };
        let reported = TokenClasses { output_text_tokens: text, output_reasoning_tokens: reasoning, ..input };
        Metered {
            usage: ReportedUsage::whole(reported).map(Box::new),
            text_bytes,
            reasoning_bytes,
            ..Metered::default()
        }
    }

    #[test]
    fn a_service_tier_is_read_from_the_response_by_the_words_of_its_provider() {
        for (word, tier) in [
            (r#""flex""#, Some(ServiceTier::Flex)),
            (r#""priority""#, Some(ServiceTier::Priority)),
            (r#""batch""#, Some(ServiceTier::Batch)),
            (r#""ON_DEMAND_PRIORITY""#, Some(ServiceTier::Priority)),
            (r#""ON_DEMAND_FLEX""#, Some(ServiceTier::Flex)),
            (r#""ON_DEMAND""#, None),
            (r#""PROVISIONED_THROUGHPUT""#, None),
            (r#""default""#, None),
            (r#""on_demand""#, None),
            (r#""standard""#, None),
            (r#""flexé""#, None),
            (r#""""#, None),
            ("7", None),
        ] {
            let mut metered = Metered::default();
            metered.keep_service_tier(Some(word));
            assert_eq!(metered.service_tier, tier, "{word}");
        }
        // A request that was served by a lower tier in the end.
        let mut metered = Metered { service_tier: Some(ServiceTier::Priority), ..Metered::default() };
        metered.keep_service_tier(None);
        assert_eq!(metered.service_tier, Some(ServiceTier::Priority));
        metered.add_report(r#"{"input_tokens":1,"service_tier":"standard"}"#, true);
        metered.read_reports(|_| ReadReport { usage: None, service_tier: Some(r#""standard""#) });
        assert_eq!(metered.service_tier, None);
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
            let cut_off = metered.clone().for_interrupted();
            assert_eq!(
                (cut_off.reported().is_some(), cut_off.reported_input().is_some()),
                (holds, true),
                "{metered:?}"
            );
            assert_eq!(cut_off.text_bytes, text_bytes);
            assert_eq!(
                cut_off.reasoning_bytes.div_ceil(4),
                reasoning_bytes.div_ceil(4).max(if holds { 0 } else { reasoning })
            );
        }
    }
}
