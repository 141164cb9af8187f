//! Reads Anthropic's usage, whose counts are exclusive: cached tokens are in no other figure.

use std::collections::BTreeMap;

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::count;

/// The token classes of a report: all of them, and the input's alone.
pub fn read_report(usage: &str) -> ReadReport<'_> {
    let names = ["iterations", "output_tokens_details", "server_tool_use", "service_tier"];
    let [iterations, details, tools, service_tier] = json::find(usage, names);
    let Some(figures) = AnthropicCounts::of(usage) else { return ReadReport { usage: None, service_tier } };
    let figures = iterations.map_or(figures, |iterations| figures.with_iterations(iterations));
    let thinking = details.and_then(|details| json::field(details, "thinking_tokens")).and_then(count);
    let searches = tools.and_then(|tools| json::field(tools, "web_search_requests")).and_then(count);
    let input = TokenClasses { searches: searches.unwrap_or(0), ..figures.input_classes() };
    let usage = match figures.output {
        Some(output) => ReportedUsage::whole(with_output(input, output, thinking.unwrap_or(0))),
        None => ReportedUsage::of_input(input),
    };
    ReadReport { usage, service_tier }
}

fn with_output(input: TokenClasses, output: u64, thinking: u64) -> TokenClasses {
    TokenClasses {
        output_reasoning_tokens: thinking,
        // More thinking than output cannot be part of it. This is the more expensive reading.
        output_text_tokens: output.checked_sub(thinking).unwrap_or(output),
        ..input
    }
}

/// The counts of one report, or of one iteration of it.
#[derive(Clone, Copy, Default)]
struct AnthropicCounts {
    uncached: u64,
    read: u64,
    written: u64,
    /// Part of `written`.
    written_for_an_hour: u64,
    has_lifetimes: bool,
    output: Option<u64>,
}

impl AnthropicCounts {
    fn of(usage: &str) -> Option<Self> {
        json::find_members! { usage =>
            uncached = "input_tokens",
            written = "cache_creation_input_tokens",
            split = "cache_creation",
            read = "cache_read_input_tokens",
            output = "output_tokens",
        }
        let by_ttl = ["ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"];
        let [five_minutes, one_hour] = json::find(split.unwrap_or_default(), by_ttl);
        let tokens = |value: Option<&str>| value.and_then(count).unwrap_or(0);
        Some(Self {
            uncached: count(uncached?)?,
            read: tokens(read),
            written: tokens(written).max(tokens(five_minutes) + tokens(one_hour)),
            written_for_an_hour: tokens(one_hour),
            has_lifetimes: split.is_some(),
            output: output.and_then(count),
        })
    }

    /// Adds the iterations that the top level leaves out (compaction, advice), which are billed too.
    fn with_iterations(self, iterations: &str) -> Self {
        let each = json::elements(iterations).map_while(Result::ok).filter_map(Self::of);
        let zero = Self { output: Some(0), ..Self::default() };
        self.combined(each.fold(zero, |sum, one| sum.combined(one, |a, b| a + b)), u64::max)
    }

    /// Combines the counts one by one. The output stays unknown if it is unknown here.
    fn combined(self, other: Self, combine: fn(u64, u64) -> u64) -> Self {
        Self {
            uncached: combine(self.uncached, other.uncached),
            read: combine(self.read, other.read),
            written: combine(self.written, other.written),
            written_for_an_hour: combine(self.written_for_an_hour, other.written_for_an_hour),
            has_lifetimes: self.has_lifetimes || other.has_lifetimes,
            output: self.output.map(|output| combine(output, other.output.unwrap_or(0))),
        }
    }

    fn input_classes(self) -> TokenClasses {
        TokenClasses {
            input_uncached_tokens: self.uncached,
            input_cache_read_tokens: self.read,
            input_cache_write_tokens: self.written,
            // Tokens that the split does not explain were written for five minutes, which is the default.
            input_cache_write_by_ttl: match self.has_lifetimes {
                true => lifetimes(self.written - self.written_for_an_hour, self.written_for_an_hour),
                false => BTreeMap::new(),
            },
            ..TokenClasses::default()
        }
    }
}

fn lifetimes(for_five_minutes: u64, for_an_hour: u64) -> BTreeMap<String, u64> {
    let split = [("5m", for_five_minutes), ("1h", for_an_hour)];
    split.into_iter().filter(|(_, tokens)| *tokens > 0).map(|(ttl, tokens)| (ttl.to_owned(), tokens)).collect()
}

#[cfg(test)]
mod tests {
    use intermediate::Metered;
    use intermediate::report::REPORT_BYTES_MAX;

    use super::*;

    fn add(report: &str, is_final: bool, metered: &mut Metered) {
        metered.add_report(report, is_final);
        metered.read_reports(read_report);
    }

    #[test]
    fn a_report_that_is_too_long_is_ignored() {
        let mut metered = Metered::default();
        add(r#"{"input_tokens":25,"output_tokens":1}"#, false, &mut metered);
        add(&format!(r#"{{"output_tokens":7,"x":"{}"}}"#, "x".repeat(REPORT_BYTES_MAX)), true, &mut metered);
        assert_eq!(metered.reported(), None);
        assert_eq!(metered.provider_usage.as_ref().map(|kept| kept.get().len()), Some(37));
        // Earlier reports do not count if all of them together are too long.
        let long = "x".repeat(REPORT_BYTES_MAX / 4);
        for number in 0..9 {
            let report = format!(r#"{{"n{number}":"{long}","input_tokens":25,"output_tokens":{number}}}"#);
            add(&report, true, &mut metered);
            assert!(metered.provider_usage.as_ref().is_some_and(|kept| kept.get().len() <= REPORT_BYTES_MAX));
            assert_eq!(metered.reported().map(TokenClasses::output), Some(number));
        }
    }

    #[test]
    fn a_streams_report_is_final_only_with_the_last_figure() {
        let mut metered = Metered::default();
        let first = r#"{"input_tokens":25,"cache_creation_input_tokens":2048,"cache_read_input_tokens":1024,"cache_creation":{"ephemeral_5m_input_tokens":2000,"ephemeral_1h_input_tokens":0},"output_tokens":1}"#;
        add(first, false, &mut metered);
        assert_eq!(metered.reported(), None);
        assert_eq!(metered.reported_input().map(|input| input.input()), Some(3097));
        add(r#"{"output_tokens":15,"output_tokens_details":{"thinking_tokens":4}}"#, true, &mut metered);
        let reported = metered.reported().unwrap().clone();
        assert_eq!((reported.output_text_tokens, reported.output_reasoning_tokens), (11, 4));
        assert_eq!(reported.input_cache_write_by_ttl, BTreeMap::from([("5m".to_owned(), 2048)]));
        let raw = metered.provider_usage.unwrap();
        assert!(raw.get().contains(r#""output_tokens":15"#) && raw.get().contains(r#""input_tokens":25"#), "{raw}");
    }

    #[test]
    fn a_report_of_nothing_at_all_is_none() {
        assert_eq!(read_report(r#"{"input_tokens":0,"output_tokens":0}"#).usage, None);
    }

    /// The example of Anthropic's page on compaction: tokens to make the summary are billed too.
    #[test]
    fn what_stands_among_the_iterations_alone_is_billed() {
        let usage = r#"{"input_tokens":23000,"output_tokens":1000,"cache_creation_input_tokens":5,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500,"cache_read_input_tokens":11,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":7}},{"type":"message","input_tokens":23000,"output_tokens":1000,"cache_read_input_tokens":2,"cache_creation_input_tokens":5}]}"#;
        let (read, input) = read_report(usage).sides();
        let read = read.expect("a report");
        assert_eq!((read.input_uncached_tokens, read.output_text_tokens), (203_000, 4_500));
        assert_eq!((read.input_cache_read_tokens, read.input_cache_write_tokens), (13, 12));
        assert_eq!(read.input_cache_write_by_ttl, BTreeMap::from([("5m".to_owned(), 5), ("1h".to_owned(), 7)]));
        assert_eq!(input.map(|input| input.input()), Some(203_025));
        // If the top level includes the iterations, nothing is counted twice.
        let usage = r#"{"input_tokens":30,"output_tokens":9,"iterations":[{"input_tokens":10,"output_tokens":4},{"input_tokens":20,"output_tokens":5},null,{}]}"#;
        let read = read_report(usage).sides().0.expect("a report");
        assert_eq!((read.input(), read.output()), (30, 9));
    }
}
