//! Reads Ollama's counts, which are members of the last object of a response.

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::count;

/// The counts and durations of an object as a report; `None` if it has none.
pub fn report_of(object: &str) -> Option<String> {
    let members = json::members(object).map_while(Result::ok);
    let is_figure = |name: &str| {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_plain && (name.ends_with("_count") || name.ends_with("_duration"))
    };
    let figures = members.filter(|member| is_figure(member.name()) && count(member.value).is_some());
    let figures: Vec<_> = figures.map(|member| format!("\"{}\":{}", member.name(), member.value)).collect();
    (!figures.is_empty()).then(|| format!("{{{}}}", figures.join(",")))
}

/// The token classes of a report: all of them, and the input's alone. Older versions leave out the count of a prompt that
/// was cached, which is not 0.
pub fn read_report(report: &str) -> ReadReport<'_> {
    let [prompt, output] = json::find(report, ["prompt_eval_count", "eval_count"]).map(|figure| figure.and_then(count));
    let input = prompt.map(|tokens| TokenClasses { input_uncached_tokens: tokens, ..TokenClasses::default() });
    ReadReport { usage: input.and_then(|input| ReportedUsage::of_sides(input, output)), service_tier: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_missing_is_not_zero() {
        for (report, input, output) in [
            (r#"{"prompt_eval_count":26,"eval_count":298}"#, Some(26), Some(298)),
            (r#"{"prompt_eval_count":26}"#, Some(26), None),
            (r#"{"eval_count":298}"#, None, None),
            (r#"{"prompt_eval_count":0,"eval_count":0}"#, None, None),
            ("{}", None, None),
        ] {
            let (all, of_input) = read_report(report).sides();
            assert_eq!(all.map(|classes| classes.output_text_tokens), output, "{report}");
            assert_eq!(of_input.map(|classes| classes.input_uncached_tokens), input, "{report}");
        }
    }

    #[test]
    fn a_report_has_figures_alone() {
        let object =
            r#"{"model":"m","message":{"content":"x_count"},"eval_count":3,"total_duration":9,"load_duration":null}"#;
        assert_eq!(report_of(object).as_deref(), Some(r#"{"eval_count":3,"total_duration":9}"#));
        assert_eq!(report_of(r#"{"done":false}"#), None);
    }
}
