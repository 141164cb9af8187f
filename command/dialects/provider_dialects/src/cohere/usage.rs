//! Reads Cohere's usage. `billed_units` is what is paid, and `tokens` what the model saw: it includes the template.
//!
//! `cached_tokens` may exceed the billed input (448 cached of 506 seen, and 11 billed), so it counts tokens that the model
//! saw, and says nothing about the price of the billed ones. They all count as uncached, which is the more expensive
//! reading. The report is recorded as it came.

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::count;

/// The token classes of a report: all of them, and the input's alone.
pub fn read_report(report: &str) -> ReadReport<'_> {
    let [units, seen] = json::find(report, ["billed_units", "tokens"]);
    let [images, searches] = json::find(units.unwrap_or_default(), ["images", "search_units"])
        .map(|units| units.and_then(count).unwrap_or(0));
    let [billed, seen] = [units, seen].map(sides);
    // Servers that bill nothing report zeros, or none.
    let [billed, seen] = if billed.iter().flatten().sum::<u64>() > 0 { [billed, seen] } else { [seen, billed] };
    let [input, output] = [billed[0].or(seen[0]), billed[1].or(seen[1])];
    // Images may be all that is billed.
    let input = input.or((images > 0).then_some(0)).map(|tokens| TokenClasses {
        input_uncached_tokens: tokens,
        input_images: images,
        searches,
        ..TokenClasses::default()
    });
    ReadReport { usage: input.and_then(|input| ReportedUsage::of_sides(input, output)), service_tier: None }
}

/// Input and output; a count that is absent is not zero.
fn sides(counts: Option<&str>) -> [Option<u64>; 2] {
    json::find(counts.unwrap_or_default(), ["input_tokens", "output_tokens"]).map(|value| value.and_then(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: inf.token-classes
    #[test]
    fn what_is_billed_counts_and_what_the_model_saw_where_nothing_is_billed() {
        for (report, input, output) in [
            (
                r#"{"billed_units":{"input_tokens":37.0,"output_tokens":28.0},"tokens":{"input_tokens":913.0,"output_tokens":83.0}}"#,
                Some(37),
                Some(28),
            ),
            (
                r#"{"billed_units":{"input_tokens":11,"output_tokens":3},"cached_tokens":448,"tokens":{"input_tokens":506,"output_tokens":4}}"#,
                Some(11),
                Some(3),
            ),
            (r#"{"billed_units":{"input_tokens":10.25,"output_tokens":1e1}}"#, Some(11), Some(10)),
            (r#"{"billed_units":{"output_tokens":3},"tokens":{"input_tokens":506}}"#, Some(506), Some(3)),
            (
                r#"{"billed_units":{"input_tokens":0,"output_tokens":0},"tokens":{"input_tokens":5,"output_tokens":4}}"#,
                Some(5),
                Some(4),
            ),
            (
                r#"{"billed_units":null,"tokens":{"input_tokens":5,"output_tokens":4},"cached_tokens":2}"#,
                Some(5),
                Some(4),
            ),
            (r#"{"billed_units":{"input_tokens":5}}"#, Some(5), None),
            (r#"{"billed_units":{"input_tokens":-5,"output_tokens":"4"}}"#, None, None),
            (r#"{"billed_units":{"images":2}}"#, Some(0), None),
            (r#"{"cached_tokens":448}"#, None, None),
            (r#"{"billed_units":{"input_tokens":0,"output_tokens":0}}"#, None, None),
        ] {
            let (all, of_input) = read_report(report).sides();
            assert_eq!(all.map(|classes| classes.output_text_tokens), output, "{report}");
            assert_eq!(of_input.map(|classes| classes.input_uncached_tokens), input, "{report}");
        }
    }
}
