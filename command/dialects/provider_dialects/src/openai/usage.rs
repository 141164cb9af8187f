//! Reads OpenAI's usage, whose counts are inclusive, into disjoint token classes.

use std::collections::BTreeMap;

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::count;

use crate::media::{Media, PromptParts};

pub fn read_report(usage: &str) -> ReadReport<'_> {
    let (figures, service_tier) = OpenAiCounts::of(usage);
    let of_input = || {
        let prompt = figures.prompt?;
        ReportedUsage::of_input(figures.input(prompt, figures.cached() > prompt))
    };
    let usage = classes(&figures).map_or_else(of_input, ReportedUsage::whole);
    ReadReport { usage, service_tier }
}

/// The counts of a report.
struct OpenAiCounts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cache_read: u64,
    cache_written: u64,
    /// Part of `cache_written`, with the shorter lifetime of the rest.
    written_for_longer: Option<LongerWrites>,
    reasoning: u64,
    input_media: Media,
    output_media: Media,
    citation: u64,
    searches: u64,
}

/// Tokens that were written to a cache for the longer of two lifetimes.
#[derive(Clone, Copy)]
struct LongerWrites {
    tokens: u64,
    lifetime: &'static str,
    shorter: &'static str,
}

/// Media, part of their side.
fn media([audio, image]: [Option<&str>; 2]) -> Media {
    let tokens = |value: Option<&str>| value.and_then(count).unwrap_or(0);
    Media { audio: tokens(audio), image: tokens(image) }
}

impl OpenAiCounts {
    /// The counts, and the service tier as JSON.
    fn of(usage: &str) -> (Self, Option<&str>) {
        json::find_members! { usage =>
            prompt = "prompt_tokens",
            completion = "completion_tokens",
            total = "total_tokens",
            prompt_details = "prompt_tokens_details",
            completion_details = "completion_tokens_details",
            // DeepSeek, Moonshot, and LiteLLM for models of Anthropic.
            cache_hit = "prompt_cache_hit_tokens",
            cached = "cached_tokens",
            anthropic_read = "cache_read_input_tokens",
            anthropic_written = "cache_creation_input_tokens",
            reasoning = "reasoning_tokens",
            // Mistral.
            service_tier = "service_tier",
            // Perplexity.
            citation = "citation_tokens",
            queries = "num_search_queries",
            // OpenRouter and LiteLLM, for models of Anthropic.
            server_tools = "server_tool_use",
        }
        // Writes are of OpenRouter, DashScope and LiteLLM.
        json::find_members! { prompt_details.unwrap_or_default() =>
            read = "cached_tokens",
            written = "cache_write_tokens",
            created = "cache_creation_input_tokens",
            creation = "cache_creation_tokens",
            split_of_openai = "cache_write_tokens_details",
            split = "cache_creation",
            split_of_litellm = "cache_creation_token_details",
            input_audio = "audio_tokens",
            input_image = "image_tokens",
        }
        let [reasoning_detail, output_audio, output_image] =
            json::find(completion_details.unwrap_or_default(), ["reasoning_tokens", "audio_tokens", "image_tokens"]);
        let longer = |split: &str, name, lifetime, shorter| {
            let tokens = json::field(split, name).and_then(count).filter(|tokens| *tokens > 0)?;
            Some(LongerWrites { tokens, lifetime, shorter })
        };
        let of_anthropic = split.or(split_of_litellm);
        let written_for_longer = split_of_openai
            .and_then(|split| longer(split, "ttl_12h_tokens", "12h", "30m"))
            .or_else(|| longer(of_anthropic?, "ephemeral_1h_input_tokens", "1h", "5m"));
        let searches = server_tools.and_then(|tools| json::field(tools, "web_search_requests"));
        let count = |value: Option<&str>| value.and_then(count);
        let written = [written, created, creation, anthropic_written].into_iter().filter_map(count);
        let cache_written = written.max().unwrap_or(0);
        let prompt = count(prompt);
        let counts = Self {
            prompt,
            completion: count(completion),
            total: count(total),
            cache_read: cache_read([read, cache_hit, cached, anthropic_read].map(count), cache_written, prompt),
            cache_written,
            written_for_longer,
            // In the details, or beside them (SGLang, Perplexity).
            reasoning: count(reasoning_detail).or_else(|| count(reasoning)).unwrap_or(0),
            input_media: media([input_audio, input_image]),
            output_media: media([output_audio, output_image]),
            citation: count(citation).unwrap_or(0),
            searches: [queries, searches].into_iter().filter_map(count).max().unwrap_or(0),
        };
        (counts, service_tier)
    }

    /// Prompt and completion. If one is missing, it follows from the total.
    fn sides(&self) -> Option<(u64, u64)> {
        match (self.prompt, self.completion) {
            (Some(prompt), Some(completion)) => Some((prompt, completion)),
            (Some(prompt), None) => Some((prompt, self.total?.checked_sub(prompt)?)),
            (None, Some(completion)) => Some((self.total?.checked_sub(completion)?, completion)),
            (None, None) => None,
        }
    }

    const fn cached(&self) -> u64 {
        self.cache_read + self.cache_written
    }

    /// The input classes. `prompt` includes the cached tokens, unless `cached_is_beside`.
    fn input(&self, prompt: u64, cached_is_beside: bool) -> TokenClasses {
        let parts = PromptParts {
            uncached: if cached_is_beside { prompt } else { prompt - self.cached() },
            cache_read: self.cache_read,
            cache_written: self.cache_written,
            media: self.input_media,
            cached_media: Media::default(),
        };
        TokenClasses {
            input_cache_write_tokens: self.cache_written,
            input_cache_write_by_ttl: self.lifetimes(),
            citation_tokens: self.citation,
            searches: self.searches,
            ..parts.classes()
        }
    }

    /// Cache writes by lifetime, where some are for longer than others are.
    fn lifetimes(&self) -> BTreeMap<String, u64> {
        let Some(LongerWrites { tokens, lifetime, shorter }) = self.written_for_longer else { return BTreeMap::new() };
        let longer = tokens.min(self.cache_written);
        let split = [(shorter, self.cache_written - longer), (lifetime, longer)];
        let split = split.into_iter().filter(|(_, tokens)| *tokens > 0);
        split.map(|(ttl, tokens)| (ttl.to_owned(), tokens)).collect()
    }
}

/// The tokens read from a cache. Of figures that contradict each other, the one of the more expensive reading: the highest
/// if it cannot be in the prompt, otherwise the lowest.
fn cache_read(figures: [Option<u64>; 4], cache_written: u64, prompt: Option<u64>) -> u64 {
    let figures = figures.into_iter().flatten();
    let most = figures.clone().max().unwrap_or(0);
    let is_beside = prompt.is_some_and(|prompt| most + cache_written > prompt);
    if is_beside { most } else { figures.min().unwrap_or(0) }
}

/// The token classes. Their sum is the report's total, or the sum of its parts if that is larger. `None` if a side is
/// missing and does not follow from the total, or if everything is zero.
fn classes(figures: &OpenAiCounts) -> Option<TokenClasses> {
    let (cached, reasoning) = (figures.cached(), figures.reasoning);
    let (prompt, completion) = figures.sides()?;
    // A part that exceeds its whole cannot be in it. This is the more expensive reading.
    let mut cached_is_beside = cached > prompt;
    let mut reasoning_is_beside = reasoning > completion;
    let beside = |is_beside: bool, part: u64| if is_beside { part } else { 0 };
    let explained = prompt + completion + beside(cached_is_beside, cached) + beside(reasoning_is_beside, reasoning);
    let mut unexplained = figures.total.unwrap_or(0).saturating_sub(explained);
    // Some servers leave a part out of its whole, which only the total shows: xAI its reasoning, others cached tokens.
    let cached_inside = beside(!cached_is_beside, cached);
    let reasoning_inside = beside(!reasoning_is_beside, reasoning);
    for (reasoning_leaves, cached_leaves) in [(true, false), (false, true), (true, true)] {
        let left_out = beside(reasoning_leaves, reasoning_inside) + beside(cached_leaves, cached_inside);
        if left_out == unexplained {
            reasoning_is_beside |= reasoning_leaves;
            cached_is_beside |= cached_leaves;
            unexplained = 0;
        }
    }
    let Media { audio, image } = figures.output_media;
    let text = if reasoning_is_beside { completion } else { completion - reasoning };
    // Citations may be in the total only.
    unexplained = unexplained.saturating_sub(figures.citation);
    let classes = TokenClasses {
        output_text_tokens: if figures.output_media.all() > completion {
            text
        } else {
            figures.output_media.taken_from(text)
        },
        output_audio_tokens: audio,
        output_image_tokens: image,
        // Tokens that no part explains are reasoning: Gemini counts it in the total only.
        output_reasoning_tokens: reasoning + unexplained,
        ..figures.input(prompt, cached_is_beside)
    };
    (classes.input() + classes.output() > 0).then_some(classes)
}

#[cfg(test)]
mod tests {
    use intermediate::Metered;
    use intermediate::report::COUNT_MAX;

    use super::*;

    fn of(usage: &str) -> Option<[u64; 5]> {
        classes(&OpenAiCounts::of(usage).0).map(|c| {
            [
                c.input_uncached_tokens, c.input_cache_read_tokens, c.input_cache_write_tokens, c.output_text_tokens,
                c.output_reasoning_tokens,
            ]
        })
    }

    /// Holds: inf.token-classes
    #[test]
    fn inclusive_counts_become_disjoint() {
        for (usage, wanted) in [
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":20}}"#,
                [60, 40, 0, 30, 20],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":50}}"#,
                [10, 40, 50, 50, 0],
            ),
            // xAI: reasoning beside the completion
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":30}}"#,
                [10, 0, 0, 5, 30],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":17,"completion_tokens_details":{"reasoning_tokens":2}}"#,
                [10, 0, 0, 5, 2],
            ),
            // DeepSeek
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#,
                [6, 4, 0, 5, 0],
            ),
            // Moonshot
            (r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"cached_tokens":99}"#, [1, 99, 0, 5, 0]),
            // LiteLLM, in both of its versions
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":9,"cache_creation_tokens":90},"cache_creation_input_tokens":90,"cache_read_input_tokens":9}"#,
                [1, 9, 90, 5, 0],
            ),
            (
                r#"{"prompt_tokens":31,"completion_tokens":467,"total_tokens":498,"prompt_tokens_details":{"cached_tokens":0},"cache_creation_input_tokens":1253,"cache_read_input_tokens":0}"#,
                [31, 0, 1253, 467, 0],
            ),
            (
                r#"{"prompt_tokens":31,"completion_tokens":467,"cache_creation_input_tokens":0,"cache_read_input_tokens":1253}"#,
                [31, 1253, 0, 467, 0],
            ),
            // DashScope
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":0,"cache_creation_input_tokens":90,"cache_creation":{"ephemeral_5m_input_tokens":90},"cache_type":"ephemeral"}}"#,
                [10, 0, 90, 5, 0],
            ),
            // figures that contradict each other: the more expensive reading
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"cached_tokens":99,"prompt_tokens_details":{"cached_tokens":40}}"#,
                [60, 40, 0, 5, 0],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"cached_tokens":101,"prompt_tokens_details":{"cached_tokens":40}}"#,
                [100, 101, 0, 5, 0],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":5,"cache_creation_input_tokens":7,"prompt_tokens_details":{"cache_write_tokens":70}}"#,
                [30, 0, 70, 5, 0],
            ),
            // parts that exceed the whole: the more expensive reading
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":40}}"#,
                [10, 40, 0, 5, 0],
            ),
            // parts equal to the whole are included in it
            (
                r#"{"prompt_tokens":40,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":30,"cache_write_tokens":10},"completion_tokens_details":{"reasoning_tokens":5}}"#,
                [0, 30, 10, 0, 5],
            ),
            (r#"{"prompt_tokens":0.0,"completion_tokens":4}"#, [0, 0, 0, 4, 0]),
            // Gemini: reasoning in the total only
            (r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}"#, [20, 0, 0, 198, 405]),
            (r#"{"prompt_tokens":21,"completion_tokens":0,"total_tokens":81}"#, [21, 0, 0, 0, 60]),
            (r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":60}"#, [0, 0, 0, 0, 60]),
            (
                r#"{"prompt_tokens":21,"completion_tokens":0,"total_tokens":81,"completion_tokens_details":{"reasoning_tokens":60}}"#,
                [21, 0, 0, 0, 60],
            ),
            // a total above its parts: the rest is reasoning
            (
                r#"{"prompt_tokens":10,"completion_tokens":50,"total_tokens":100,"completion_tokens_details":{"reasoning_tokens":20}}"#,
                [10, 0, 0, 30, 60],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":30}}"#,
                [10, 0, 0, 5, 45],
            ),
            // the total shows that the prompt does not include cached tokens
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":190,"prompt_tokens_details":{"cached_tokens":40}}"#,
                [100, 40, 0, 50, 0],
            ),
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":210,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":20}}"#,
                [100, 40, 0, 50, 20],
            ),
            // both explain it: the more expensive reading
            (
                r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":190,"prompt_tokens_details":{"cached_tokens":40},"completion_tokens_details":{"reasoning_tokens":40}}"#,
                [60, 40, 0, 50, 40],
            ),
            // counts beyond 64 bits are still a report
            (r#"{"prompt_tokens":1e30,"completion_tokens":3}"#, [COUNT_MAX, 0, 0, 3, 0]),
            (r#"{"prompt_tokens":99999999999999999999,"completion_tokens":1e999}"#, [COUNT_MAX, 0, 0, COUNT_MAX, 0]),
            (r#"{"prompt_tokens":1,"completion_tokens":3,"total_tokens":1e13}"#, [1, 0, 0, 3, COUNT_MAX - 4]),
            // a total that is less than its parts, negative, or null is ignored
            (r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":5}"#, [20, 0, 0, 198, 0]),
            (r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":-1}"#, [20, 0, 0, 198, 0]),
            (r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":null}"#, [20, 0, 0, 198, 0]),
            // reasoning beside the details (SGLang inside of the completion, Perplexity not)
            (
                r#"{"prompt_tokens":10,"completion_tokens":50,"total_tokens":60,"reasoning_tokens":20}"#,
                [10, 0, 0, 30, 20],
            ),
            (
                r#"{"prompt_tokens":33,"completion_tokens":71,"total_tokens":104,"reasoning_tokens":739}"#,
                [33, 0, 0, 71, 739],
            ),
            // null and absent details, floats, a side that follows from the total
            (r#"{"prompt_tokens":10.0,"completion_tokens":4.2,"prompt_tokens_details":null}"#, [10, 0, 0, 5, 0]),
            (r#"{"prompt_tokens":10,"total_tokens":15}"#, [10, 0, 0, 5, 0]),
            (r#"{"completion_tokens":5,"total_tokens":15}"#, [10, 0, 0, 5, 0]),
        ] {
            assert_eq!(of(usage), Some(wanted), "{usage}");
        }
    }

    /// Holds: inf.token-classes
    #[test]
    fn audio_images_citations_and_searches_are_classes_of_their_own() {
        let read = |usage: &str| {
            let tokens = classes(&OpenAiCounts::of(usage).0).expect("a report");
            let input = [tokens.input_uncached_tokens, tokens.cache_read(), tokens.input_audio_tokens];
            let output = [tokens.output_text_tokens, tokens.output_audio_tokens, tokens.output_reasoning_tokens];
            (input, tokens.input_image_tokens, output, [tokens.citation_tokens, tokens.searches])
        };
        for (usage, wanted) in [
            (
                r#"{"prompt_tokens":100,"completion_tokens":80,"total_tokens":180,"prompt_tokens_details":{"audio_tokens":30,"image_tokens":20,"cached_tokens":10},"completion_tokens_details":{"audio_tokens":60,"reasoning_tokens":5}}"#,
                ([40, 10, 30], 20, [15, 60, 5], [0, 0]),
            ),
            // Ten tokens are both audio and cached.
            (
                r#"{"prompt_tokens":100,"completion_tokens":1,"prompt_tokens_details":{"audio_tokens":50,"cached_tokens":60}}"#,
                ([0, 60, 40], 0, [1, 0, 0], [0, 0]),
            ),
            // Parts above the whole.
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"audio_tokens":11},"completion_tokens_details":{"audio_tokens":6}}"#,
                ([10, 0, 11], 0, [5, 6, 0], [0, 0]),
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"audio_tokens":4,"reasoning_tokens":4}}"#,
                ([10, 0, 0], 0, [0, 4, 4], [0, 0]),
            ),
            // Perplexity, and a total that has the citations.
            (
                r#"{"prompt_tokens":33,"completion_tokens":71,"total_tokens":104,"citation_tokens":500,"num_search_queries":18,"reasoning_tokens":739}"#,
                ([33, 0, 0], 0, [71, 0, 739], [500, 18]),
            ),
            (
                r#"{"prompt_tokens":33,"completion_tokens":71,"total_tokens":604,"citation_tokens":500,"num_search_queries":null}"#,
                ([33, 0, 0], 0, [71, 0, 0], [500, 0]),
            ),
            (
                r#"{"prompt_tokens":3,"completion_tokens":7,"server_tool_use":{"web_search_requests":2}}"#,
                ([3, 0, 0], 0, [7, 0, 0], [0, 2]),
            ),
        ] {
            assert_eq!(read(usage), wanted, "{usage}");
        }
    }

    #[test]
    fn a_cache_of_an_hour_is_told_apart() {
        for (split, wanted) in [
            (
                r#""cache_creation_tokens":90,"cache_creation_token_details":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":30}"#,
                vec![("1h", 30), ("5m", 60)],
            ),
            (r#""cache_creation_input_tokens":90,"cache_creation":{"ephemeral_1h_input_tokens":99}"#, vec![("1h", 90)]),
            (
                r#""cache_write_tokens":90,"cache_write_tokens_details":{"ttl_12h_tokens":40,"ttl_30m_tokens":50}"#,
                vec![("12h", 40), ("30m", 50)],
            ),
            (
                r#""cache_write_tokens":90,"cache_write_tokens_details":{"ttl_12h_tokens":0,"ttl_30m_tokens":90}"#,
                vec![],
            ),
            (r#""cache_write_tokens":90,"cache_creation":{"ephemeral_5m_input_tokens":90}"#, vec![]),
        ] {
            let usage = format!(r#"{{"prompt_tokens":100,"completion_tokens":5,"prompt_tokens_details":{{{split}}}}}"#);
            let read = classes(&OpenAiCounts::of(&usage).0).expect("a report");
            assert_eq!((read.input_uncached_tokens, read.input_cache_write_tokens), (10, 90), "{usage}");
            let by_ttl = read.input_cache_write_by_ttl.iter().map(|(ttl, tokens)| (ttl.as_str(), *tokens));
            assert_eq!(by_ttl.collect::<Vec<_>>(), wanted, "{usage}");
        }
    }

    #[test]
    fn the_input_is_read_where_nothing_else_is_reported_yet() {
        for (usage, wanted) in [
            (r#"{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":30}}"#, Some([10, 30])),
            (r#"{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":40}}"#, Some([0, 40])),
            (r#"{"prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":41}}"#, Some([40, 41])),
            (r#"{"prompt_tokens":0}"#, None),
            (r#"{"completion_tokens":7}"#, None),
        ] {
            let input =
                read_report(usage).sides().1.map(|input| [input.input_uncached_tokens, input.input_cache_read_tokens]);
            assert_eq!(input, wanted, "{usage}");
        }
    }

    #[test]
    fn a_report_without_usable_counts_is_none() {
        for usage in [
            "{}",
            r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#,
            r#"{"prompt_tokens":null,"completion_tokens":3}"#,
            r#"{"prompt_tokens":5,"total_tokens":3}"#,
            r#"{"total_tokens":3}"#,
            r#"{"prompt_tokens":-5,"completion_tokens":3}"#,
        ] {
            assert_eq!(of(usage), None, "{usage}");
        }
    }

    /// With any of the figures at a limit, nothing is lost and no sum overflows.
    #[test]
    fn no_token_of_the_total_or_of_its_parts_is_left_out() {
        let figures = [0, 1, 39, 40, 41, COUNT_MAX - 1, COUNT_MAX];
        for draw in 0..figures.len().pow(5) {
            let [prompt, completion, total, cached, reasoning] =
                [0, 1, 2, 3, 4].map(|place| figures[draw / figures.len().pow(place) % figures.len()]);
            let usage = format!(
                r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":{cached}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}"#
            );
            let (read, input) = read_report(&usage).sides();
            let (read, input) = (read.unwrap_or_default(), input.unwrap_or_default());
            assert!(read.input() + read.output() >= total.max(prompt + completion), "{read:?} of {usage}");
            assert!(read.input() >= prompt && read.output() >= completion, "{read:?} of {usage}");
            assert!(read.output_reasoning_tokens >= reasoning, "{read:?} of {usage}");
            assert_eq!(read.input_cache_read_tokens, cached, "{usage}");
            // The input is the same when it is read before the output.
            assert_eq!((input.input(), input.output()), (read.input(), 0), "{usage}");
        }
    }

    /// Each report of a stream replaces those before it, and the last may have fewer figures.
    #[test]
    fn a_streams_reports_are_read_as_one() {
        for (reports, wanted) in [
            // Gemini, chunk by chunk
            (
                &[
                    r#"{"prompt_tokens":20,"completion_tokens":0,"total_tokens":425}"#,
                    r#"{"prompt_tokens":20,"completion_tokens":100,"total_tokens":525}"#,
                    r#"{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}"#,
                ][..],
                [20, 0, 0, 198, 405],
            ),
            // a total older than the completion removes nothing
            (
                &[
                    r#"{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21}"#,
                    r#"{"prompt_tokens":20,"completion_tokens":198}"#,
                ],
                [20, 0, 0, 198, 0],
            ),
            // a total whose sides were corrected later
            (
                &[
                    r#"{"prompt_tokens":1000,"completion_tokens":0,"total_tokens":1000}"#,
                    r#"{"prompt_tokens":20,"completion_tokens":100}"#,
                ],
                [20, 0, 0, 100, 0],
            ),
            (
                &[
                    r#"{"prompt_tokens":20,"completion_tokens":0,"total_tokens":425}"#,
                    r#"{"prompt_tokens":20,"completion_tokens":100,"total_tokens":null}"#,
                ],
                [20, 0, 0, 100, 0],
            ),
            // a completion older than the total
            (
                &[
                    r#"{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21}"#,
                    r#"{"completion_tokens":null,"total_tokens":623}"#,
                ],
                [20, 0, 0, 1, 602],
            ),
        ] {
            let mut metered = Metered::default();
            for report in reports {
                metered.add_report(report, true);
            }
            metered.read_reports(read_report);
            let read = metered.reported().expect("a report");
            let read = [
                read.input_uncached_tokens,
                read.input_cache_read_tokens,
                read.input_cache_write_tokens,
                read.output_text_tokens,
                read.output_reasoning_tokens,
            ];
            assert_eq!(read, wanted, "{reports:?}");
        }
    }
}
