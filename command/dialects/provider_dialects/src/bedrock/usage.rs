//! Reads Bedrock's usage, whose counts are exclusive: cached tokens are in no other figure.

use std::collections::BTreeMap;

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::count;

/// The token classes of a report: all of them, and the input's alone. Reasoning is in the output, without a figure of its
/// own.
pub fn read_report(usage: &str) -> ReadReport<'_> {
    let [uncached, output, read, written, details] = json::find(
        usage,
        ["inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "cacheDetails"],
    );
    let Some(uncached) = uncached.and_then(count) else { return ReadReport::default() };
    let (written, by_ttl) = cache_writes(written, details);
    let input = TokenClasses {
        input_uncached_tokens: uncached,
        input_cache_read_tokens: read.and_then(count).unwrap_or(0),
        input_cache_write_tokens: written,
        input_cache_write_by_ttl: by_ttl,
        ..TokenClasses::default()
    };
    ReadReport { usage: ReportedUsage::of_sides(input, output.and_then(count)), service_tier: None }
}

/// Tokens written to the cache, in all and by lifetime.
fn cache_writes(written: Option<&str>, details: Option<&str>) -> (u64, BTreeMap<String, u64>) {
    let written = written.and_then(count).unwrap_or(0);
    let Some(details) = details.filter(|details| json::kind(details) == json::Kind::Array) else {
        return (written, BTreeMap::new());
    };
    let mut by_ttl = BTreeMap::<String, u64>::new();
    for detail in json::elements(details).map_while(Result::ok) {
        let [ttl, tokens] = json::find(detail, ["ttl", "inputTokens"]);
        let tokens = tokens.and_then(count).unwrap_or(0);
        if tokens > 0 {
            let sum = by_ttl.entry(lifetime(ttl).to_owned()).or_default();
            *sum = sum.saturating_add(tokens);
        }
    }
    // If the parts are more than the whole, they count: this is the more expensive reading. Tokens that no part explains
    // were written for five minutes, which is the default.
    let explained = by_ttl.values().fold(0_u64, |sum, tokens| sum.saturating_add(*tokens));
    let written = written.max(explained);
    if written > explained {
        *by_ttl.entry(FIVE_MINUTES.to_owned()).or_default() += written - explained;
    }
    (written, by_ttl)
}

const FIVE_MINUTES: &str = "5m";
const LIFETIMES: [&str; 4] = [FIVE_MINUTES, "30m", "1h", "12h"];

/// A lifetime by its name, one of those that prices are for or any other; without one it is the default.
fn lifetime(ttl: Option<&str>) -> &'static str {
    let Some(ttl) = ttl.and_then(json::string) else { return FIVE_MINUTES };
    LIFETIMES.into_iter().find(|known| *known == ttl).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_disjoint_as_they_come() {
        let usage = r#"{"inputTokens":25,"outputTokens":15,"totalTokens":3112,"cacheReadInputTokens":1024,"cacheWriteInputTokens":2048,"cacheDetails":[{"ttl":"1h","inputTokens":48},{"ttl":"5m","inputTokens":2000}]}"#;
        let (all, input) = read_report(usage).sides();
        let all = all.expect("a report");
        assert_eq!((all.input_uncached_tokens, all.output_text_tokens, all.output_reasoning_tokens), (25, 15, 0));
        assert_eq!((all.input_cache_read_tokens, all.input_cache_write_tokens), (1024, 2048));
        assert_eq!(all.input_cache_write_by_ttl, BTreeMap::from([("1h".to_owned(), 48), ("5m".to_owned(), 2000)]));
        assert_eq!(input.map(|input| input.input()), Some(3097));
    }

    #[test]
    fn lifetimes_that_do_not_add_up_take_the_dearer_reading() {
        for (written, details, wanted, by_ttl) in [
            ("2048", "null", 2048, vec![]),
            ("2048", "[]", 2048, vec![("5m", 2048)]),
            ("2048", r#"[{"ttl":"1h","inputTokens":48}]"#, 2048, vec![("1h", 48), ("5m", 2000)]),
            ("10", r#"[{"ttl":"1h","inputTokens":48},{"ttl":"5m","inputTokens":2}]"#, 50, vec![("1h", 48), ("5m", 2)]),
            ("null", r#"[{"ttl":"1h","inputTokens":48}]"#, 48, vec![("1h", 48)]),
            ("7", r#"[{"ttl":"2h","inputTokens":5},{"inputTokens":-1},null,{}]"#, 7, vec![("5m", 2), ("other", 5)]),
            ("9", r#"[{"ttl":"12h","inputTokens":5},{"ttl":"30m","inputTokens":4}]"#, 9, vec![("12h", 5), ("30m", 4)]),
            ("null", "[]", 0, vec![]),
            ("7", r#""x""#, 7, vec![]),
        ] {
            let usage = format!(
                r#"{{"inputTokens":1,"outputTokens":1,"cacheWriteInputTokens":{written},"cacheDetails":{details}}}"#
            );
            let all = read_report(&usage).sides().0.expect("a report");
            assert_eq!(all.input_cache_write_tokens, wanted, "{usage}");
            let by_ttl: BTreeMap<_, _> = by_ttl.into_iter().map(|(ttl, tokens)| (ttl.to_owned(), tokens)).collect();
            assert_eq!(all.input_cache_write_by_ttl, by_ttl, "{usage}");
        }
    }

    #[test]
    fn what_is_absent_is_not_zero() {
        assert_eq!(read_report(r#"{"inputTokens":0,"outputTokens":0,"totalTokens":0}"#).usage, None);
        assert_eq!(read_report(r#"{"outputTokens":7}"#).usage, None);
        let (all, input) = read_report(r#"{"inputTokens":7}"#).sides();
        assert_eq!((all, input.map(|input| input.input())), (None, Some(7)));
    }
}
