//! The usage and cost of a request: the provider's figures if it gave plausible ones, otherwise what went through, otherwise
//! unknown.

use dialects::facts::AllowedThoughts;
use dialects::{Facts, Metered};
use events::ledger::UnknownUsage;
use events::money::{NanoUsd, Tariff};
use events::usage::{TokenClasses, Usage, UsageSource};

use crate::inference::planned::plan::Plan;
use crate::inference::targets::target::UsageTerms;

/// Reported usage is plausible up to this multiple of the request's bound.
const PLAUSIBLE_FACTOR: u64 = 4;
/// Input tokens that are plausible for any request, the context of many models, or a longer context of the target: providers
/// add prompts, tools and search results of their own even to the shortest one.
const INPUT_TOKENS_ALWAYS_PLAUSIBLE: u64 = 131_072;
/// Output tokens that are plausible for any request, or the target's own maximum: some models reason beyond the cap.
const OUTPUT_TOKENS_ALWAYS_PLAUSIBLE: u64 = 32_768;

/// Units that are plausible for any request: a research model runs some dozens of searches.
const UNITS_ALWAYS_PLAUSIBLE: u64 = 1_000;

/// The usage of a request, and its cost.
#[derive(Clone, Debug)]
pub struct Measured {
    pub usage: Usage,
    pub cost: NanoUsd,
    /// The reported usage, if it was implausible and not used.
    pub implausible: Option<TokenClasses>,
}

impl Measured {
    /// True if the usage is unknown, and the policy charges nothing for it.
    pub fn is_released(&self) -> bool {
        self.usage.source == UsageSource::Unknown && self.cost == NanoUsd::ZERO
    }
}

/// Measures one request's usage against the bounds it was admitted with.
pub struct Meter {
    /// The estimate of the prompt's tokens, used if they are not reported.
    input_tokens_counted: u64,
    input_tokens_bound: u64,
    output_tokens_bound: u64,
    /// The thoughts that an answer may have had, although nobody has seen or reported them.
    thoughts_allowed: u64,
    /// The images in the request.
    images: u64,
    unknown_usage: UnknownUsage,
}

impl Meter {
    pub fn new(plan: &Plan, request: &Facts, unknown_usage: UnknownUsage) -> Self {
        Self {
            input_tokens_counted: plan.prompt_tokens_counted(),
            input_tokens_bound: plan.bound.input_tokens,
            output_tokens_bound: plan.output_tokens_bound(request.choices),
            thoughts_allowed: match request.thoughts {
                AllowedThoughts::None => 0,
                AllowedThoughts::UpTo(tokens) => tokens.saturating_mul(request.choices),
                AllowedThoughts::Open => u64::MAX,
            },
            images: request.images.count,
            unknown_usage,
        }
    }

    /// Measures by the provider's figures if there are any, otherwise by what went through. For implausible figures, and for
    /// a cost that money cannot count, the hold is charged, whatever the policy: an upstream did work.
    pub fn measure(&self, terms: UsageTerms<'_>, metered: &Metered, held: NanoUsd) -> Measured {
        self.measure_with(terms, metered, held, 0)
    }

    /// The same for a stream that broke off. If it was not reported, its provider may have generated all thoughts that the request
    /// allows: of those, a client sees a part or nothing.
    pub fn measure_broken_off(&self, terms: UsageTerms<'_>, metered: &Metered, held: NanoUsd) -> Measured {
        self.measure_with(terms, metered, held, self.thoughts_allowed)
    }

    /// All thoughts of the answer went through, or were reported.
    pub const fn answer_is_complete(&mut self) {
        self.thoughts_allowed = 0;
    }

    fn measure_with(&self, terms: UsageTerms<'_>, metered: &Metered, held: NanoUsd, thoughts: u64) -> Measured {
        let (tokens, source) = match metered.reported_with_output() {
            Some(tokens) => (tokens.clone(), UsageSource::Provider),
            None => (self.counted(metered, terms.context_window, thoughts), UsageSource::Counted),
        };
        let usage = self.billed(terms.tariff, metered, tokens, source);
        match self.cost(terms, &usage) {
            Some(cost) => Measured { usage, cost, implausible: None },
            None => Measured { implausible: Some(usage.tokens), ..unknown(held) },
        }
    }

    /// Measures a failed call by the provider's figures, or by its input figures if it gave no others. Without any it is
    /// `None`: what went through is not counted, because the client got nothing. Implausible figures cost nothing.
    pub fn measure_failed(&self, terms: UsageTerms<'_>, metered: &Metered) -> Option<Measured> {
        let tokens = metered.reported().cloned().or_else(|| metered.reported_input())?;
        let usage = self.billed(terms.tariff, metered, tokens, UsageSource::Provider);
        Some(match self.cost(terms, &usage) {
            Some(cost) => Measured { usage, cost, implausible: None },
            None => Measured { implausible: Some(usage.tokens), ..unknown(NanoUsd::ZERO) },
        })
    }

    /// The usage with the tier that served the request, and with its images if they are billed by their number and the
    /// provider did not count them.
    fn billed(&self, tariff: &Tariff, metered: &Metered, mut tokens: TokenClasses, source: UsageSource) -> Usage {
        if tariff.bills_images() && tokens.input_images == 0 {
            tokens.input_images = self.images;
        }
        Usage { service_tier: metered.service_tier, ..Usage::new(tokens, source) }
    }

    /// `None` if the usage is implausible, or money cannot count its cost.
    fn cost(&self, terms: UsageTerms<'_>, usage: &Usage) -> Option<NanoUsd> {
        terms.tariff.cost(&usage.tokens, usage.service_tier).filter(|_| self.is_plausible(terms, &usage.tokens))
    }

    /// Compares input and output with their own bounds: output tokens cost more, and a long prompt does not make more of
    /// them plausible. The classes within a side have no bounds of their own.
    fn is_plausible(&self, terms: UsageTerms<'_>, tokens: &TokenClasses) -> bool {
        let input_max = INPUT_TOKENS_ALWAYS_PLAUSIBLE.max(terms.input_tokens_believed);
        let output_max = OUTPUT_TOKENS_ALWAYS_PLAUSIBLE.max(terms.output_tokens_believed);
        is_plausible(tokens.input(), self.input_tokens_bound, input_max)
            && is_plausible(tokens.output(), self.output_tokens_bound, output_max)
            && is_plausible(tokens.searches, 0, UNITS_ALWAYS_PLAUSIBLE)
            && is_plausible(tokens.input_images, self.images, UNITS_ALWAYS_PLAUSIBLE)
    }

    /// The usage of a request that an upstream may have worked for without a report.
    pub fn unknown(&self, held: NanoUsd) -> Measured {
        match self.unknown_usage {
            UnknownUsage::ChargeHold => unknown(held),
            UnknownUsage::Release => unknown(NanoUsd::ZERO),
        }
    }

    /// Estimates ⌈bytes / 4⌉ tokens per class of the output, and so many `thoughts` at least, never above the bounds of the hold, and
    /// an input that fits into the window.
    fn counted(&self, metered: &Metered, context_window: Option<u64>, thoughts: u64) -> TokenClasses {
        let text = metered.text_bytes.div_ceil(4).min(self.output_tokens_bound);
        let reasoning = metered.reasoning_bytes.div_ceil(4).max(thoughts).min(self.output_tokens_bound - text);
        let input = metered.reported_input().unwrap_or_else(|| TokenClasses {
            input_uncached_tokens: self.input_tokens_counted.min(context_window.unwrap_or(u64::MAX)),
            ..TokenClasses::default()
        });
        TokenClasses { output_text_tokens: text, output_reasoning_tokens: reasoning, ..input }
    }
}

const fn is_plausible(used: u64, bound: u64, always_plausible: u64) -> bool {
    used <= always_plausible || used <= bound.saturating_mul(PLAUSIBLE_FACTOR)
}

fn unknown(cost: NanoUsd) -> Measured {
    let usage = Usage::new(TokenClasses::default(), UsageSource::Unknown);
    Measured { usage, cost, implausible: None }
}

#[cfg(test)]
mod tests {
    use dialects::ReportedUsage;

    use super::*;

    fn meter(input_tokens_bound: u64, output_tokens_bound: u64) -> Meter {
        let unknown_usage = UnknownUsage::Release;
        let thoughts_allowed = 0;
        Meter {
            input_tokens_counted: 25,
            input_tokens_bound,
            output_tokens_bound,
            thoughts_allowed,
            images: 3,
            unknown_usage,
        }
    }

    fn tariff() -> Tariff {
        let prices = r#"{"input_usd_per_mtok":"1","output_usd_per_mtok":"2","cache_read_usd_per_mtok":"1",
            "cache_write_usd_per_mtok":"1","reasoning_usd_per_mtok":"2","request_usd":"0"}"#;
        serde_json::from_str(prices).expect("prices")
    }

    fn terms(tariff: &Tariff) -> UsageTerms<'_> {
        UsageTerms { tariff, context_window: None, input_tokens_believed: 0, output_tokens_believed: 0 }
    }

    fn reported(input: [u64; 3], output: [u64; 2]) -> TokenClasses {
        TokenClasses {
            input_uncached_tokens: input[0],
            input_cache_read_tokens: input[1],
            input_cache_write_tokens: input[2],
            output_text_tokens: output[0],
            output_reasoning_tokens: output[1],
            ..TokenClasses::default()
        }
    }

    fn source(meter: &Meter, tokens: &TokenClasses) -> UsageSource {
        let mut metered = Metered::default();
        metered.usage = ReportedUsage::whole(tokens.clone()).map(Box::new);
        let measured = meter.measure(terms(&tariff()), &metered, NanoUsd::new(77));
        if measured.usage.source == UsageSource::Unknown {
            let all = (measured.cost, &measured.usage.tokens, measured.implausible.as_ref());
            assert_eq!(all, (NanoUsd::new(77), &TokenClasses::default(), Some(tokens)), "the hold is charged");
        } else {
            assert_eq!((&measured.usage.tokens, measured.implausible), (tokens, None));
        }
        measured.usage.source
    }

    #[test]
    fn usage_is_plausible_up_to_four_times_the_bound_of_its_side_and_not_one_token_further() {
        let meter = meter(50_000, 20_000);
        for (input, output, wanted) in [
            ([200_000, 0, 0], [80_000, 0], UsageSource::Provider),
            ([200_001, 0, 0], [0, 0], UsageSource::Unknown),
            ([100_000, 100_000, 0], [0, 0], UsageSource::Provider),
            ([100_000, 100_000, 1], [0, 0], UsageSource::Unknown),
            ([0, 0, 200_001], [0, 0], UsageSource::Unknown),
            ([0, 0, 0], [80_001, 0], UsageSource::Unknown),
            ([0, 0, 0], [40_000, 40_000], UsageSource::Provider),
            ([0, 0, 0], [40_000, 40_001], UsageSource::Unknown),
            // Room on one side does not count for the other.
            ([1, 0, 0], [100_000, 0], UsageSource::Unknown),
            ([1_000_000_000_000, 0, 0], [1, 0], UsageSource::Unknown),
            ([u64::MAX, u64::MAX, u64::MAX], [u64::MAX, u64::MAX], UsageSource::Unknown),
        ] {
            assert_eq!(source(&meter, &reported(input, output)), wanted, "{input:?} {output:?}");
        }
    }

    #[test]
    fn what_providers_add_to_the_shortest_request_is_plausible() {
        let meter = meter(10, 1);
        assert_eq!(source(&meter, &reported([131_072, 0, 0], [16_384, 16_384])), UsageSource::Provider);
        assert_eq!(source(&meter, &reported([131_073, 0, 0], [0, 0])), UsageSource::Unknown);
        assert_eq!(source(&meter, &reported([0, 0, 0], [16_384, 16_385])), UsageSource::Unknown);
    }

    /// A research model reports a hundred times the cap of its client, who could otherwise choose the charge by it.
    #[test]
    fn what_a_target_can_do_is_plausible_whatever_the_cap() {
        let (meter, tariff) = (meter(10, 1), tariff());
        let of_target =
            UsageTerms { input_tokens_believed: 200_000, output_tokens_believed: 128_000, ..terms(&tariff) };
        for (input, output, is_plausible) in
            [(200_000, [28_000, 100_000], true), (200_001, [1, 0], false), (1, [28_001, 100_000], false)]
        {
            let mut metered = Metered::default();
            metered.usage = ReportedUsage::whole(reported([input, 0, 0], output)).map(Box::new);
            let measured = meter.measure(of_target, &metered, NanoUsd::new(77));
            assert_eq!(measured.implausible.is_none(), is_plausible, "{input} {output:?}");
        }
    }

    /// The input of a stream that broke off may be reported, and its output counted.
    #[test]
    fn a_report_of_the_input_alone_has_the_same_bound() {
        let meter = meter(50_000, 20_000);
        for (input, wanted) in [(200_000, UsageSource::Counted), (200_001, UsageSource::Unknown)] {
            let mut metered = Metered::default();
            metered.usage = ReportedUsage::of_input(reported([input, 0, 0], [0, 0])).map(Box::new);
            metered.text_bytes = 8;
            let measured = meter.measure(terms(&tariff()), &metered, NanoUsd::new(77));
            assert_eq!(
                (measured.usage.source, measured.implausible.is_some()),
                (wanted, wanted == UsageSource::Unknown)
            );
        }
    }

    #[test]
    fn a_stream_that_broke_off_has_the_thoughts_that_were_allowed_unless_it_was_complete_or_reported() {
        for (thoughts_allowed, reasoning_bytes, reasoning) in
            [(0, 8, 2), (5, 0, 5), (5, 40, 10), (u64::MAX, 0, 90), (u64::MAX, 4_000, 90)]
        {
            let mut meter = Meter { thoughts_allowed, ..meter(100, 100) };
            let mut metered = Metered::default();
            (metered.text_bytes, metered.reasoning_bytes) = (40, reasoning_bytes);
            let output = |measured: Measured| {
                let tokens = measured.usage.tokens;
                [tokens.output_text_tokens, tokens.output_reasoning_tokens]
            };
            let broken_off = meter.measure_broken_off(terms(&tariff()), &metered, NanoUsd::new(77));
            assert_eq!(output(broken_off), [10, reasoning], "{thoughts_allowed}");
            let whole = output(meter.measure(terms(&tariff()), &metered, NanoUsd::new(77)));
            meter.answer_is_complete();
            let complete = meter.measure_broken_off(terms(&tariff()), &metered, NanoUsd::new(77));
            assert_eq!(output(complete), whole, "{thoughts_allowed}");
            metered.usage = ReportedUsage::whole(reported([5, 0, 0], [10, 3])).map(Box::new);
            let meter = Meter { thoughts_allowed, ..meter };
            let said = meter.measure_broken_off(terms(&tariff()), &metered, NanoUsd::new(77));
            assert_eq!(output(said), [10, 3], "{thoughts_allowed}");
        }
    }

    #[test]
    fn what_went_through_is_counted_by_its_bytes_and_within_the_bound_of_the_output() {
        let meter = meter(100, 10);
        for (text_bytes, reasoning_bytes, counted) in
            [(0, 0, [0, 0]), (17, 8, [5, 2]), (400, 8, [10, 0]), (20, 400, [5, 5]), (40, 1, [10, 0])]
        {
            let mut metered = Metered::default();
            (metered.text_bytes, metered.reasoning_bytes) = (text_bytes, reasoning_bytes);
            let measured = meter.measure(terms(&tariff()), &metered, NanoUsd::new(77));
            assert_eq!(measured.usage.tokens, reported([25, 0, 0], counted), "{text_bytes} {reasoning_bytes}");
            assert_eq!((measured.usage.source, measured.is_released()), (UsageSource::Counted, false));
            assert_eq!(measured.cost, tariff().cost(&measured.usage.tokens, None).expect("a cost"));
        }
        let mut metered = Metered::default();
        metered.usage = ReportedUsage::of_input(reported([30, 5, 1], [0, 0])).map(Box::new);
        metered.text_bytes = 8;
        let measured = meter.measure(terms(&tariff()), &metered, NanoUsd::new(77));
        assert_eq!(measured.usage.tokens, reported([30, 5, 1], [2, 0]));
    }

    /// Another target of the request may have a wider one.
    #[test]
    fn a_counted_prompt_is_never_longer_than_the_context_window_of_the_target_that_was_called() {
        for (context_window, tokens) in [(None, 25), (Some(26), 25), (Some(8), 8)] {
            let tariff = tariff();
            let terms = UsageTerms { context_window, ..terms(&tariff) };
            let measured = meter(100, 10).measure(terms, &Metered::default(), NanoUsd::new(77));
            assert_eq!(measured.usage.tokens, reported([tokens, 0, 0], [0, 0]));
        }
    }

    #[test]
    fn a_failed_call_is_charged_its_plausible_report_and_nothing_else() {
        let meter = meter(50_000, 20_000);
        let all = reported([30, 5, 1], [2, 0]);
        let input = reported([30, 5, 1], [0, 0]);
        let mut metered = Metered::default();
        (metered.text_bytes, metered.reasoning_bytes) = (400, 400);
        assert!(meter.measure_failed(terms(&tariff()), &metered).is_none(), "what no client received is not counted");
        for (usage, wanted) in
            [(ReportedUsage::of_input(input.clone()), &input), (ReportedUsage::whole(all.clone()), &all)]
        {
            metered.usage = usage.map(Box::new);
            let measured = meter.measure_failed(terms(&tariff()), &metered).expect("a report");
            assert_eq!((&measured.usage.tokens, measured.usage.source), (wanted, UsageSource::Provider));
            assert_eq!(measured.cost, tariff().cost(wanted, None).expect("a cost"));
        }
        metered.usage = ReportedUsage::whole(reported([200_001, 0, 0], [0, 0])).map(Box::new);
        let measured = meter.measure_failed(terms(&tariff()), &metered).expect("a report");
        assert_eq!((measured.usage.source, measured.cost), (UsageSource::Unknown, NanoUsd::ZERO));
        assert_eq!(measured.implausible.as_ref(), metered.reported());
    }

    /// A free request is charged nothing, but its usage is known.
    #[test]
    fn a_free_request_is_settled_and_not_released() {
        let tokens = reported([0, 0, 0], [0, 0]);
        let usage = Usage::new(tokens, UsageSource::Provider);
        assert!(!Measured { usage, cost: NanoUsd::ZERO, implausible: None }.is_released());
    }

    #[test]
    fn unknown_usage_is_charged_by_the_policy() {
        for (unknown_usage, cost, is_released) in
            [(UnknownUsage::ChargeHold, 77, false), (UnknownUsage::Release, 0, true)]
        {
            let meter = Meter { unknown_usage, ..meter(1, 1) };
            let measured = meter.unknown(NanoUsd::new(77));
            assert_eq!((measured.cost, measured.is_released()), (NanoUsd::new(cost), is_released));
            assert_eq!((measured.usage.source, measured.implausible), (UsageSource::Unknown, None));
        }
    }
}
