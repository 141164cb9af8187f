//! Reads Gemini's usage into disjoint token classes. The prompt includes what was cached, but neither the thoughts nor the
//! results of Google's own tools are in another figure.

use events::usage::TokenClasses;
use intermediate::json;
use intermediate::metered::{ReadReport, ReportedUsage};
use intermediate::report::{COUNT_MAX, count};

use crate::media::{Media, PromptParts};

/// The token classes of a report: all of them, and the input's alone.
pub fn read_report(report: &str) -> ReadReport<'_> {
    let counts = GeminiCounts::of(report);
    let usage = match counts.classes() {
        Some(all) => ReportedUsage::whole(all),
        None => counts.prompt.and_then(|prompt| ReportedUsage::of_input(counts.input(prompt))),
    };
    // Vertex has its own name.
    let [tier, traffic] = json::find(report, ["serviceTier", "trafficType"]);
    ReadReport { usage, service_tier: traffic.or(tier) }
}

/// The counts of a report.
#[derive(Clone, Copy, Default)]
struct GeminiCounts {
    prompt: Option<u64>,
    candidates: Option<u64>,
    total: Option<u64>,
    /// Part of the prompt.
    cached: u64,
    of_tools: u64,
    thoughts: u64,
    /// Part of the prompt, cached or not.
    in_prompt: Media,
    in_cache: Media,
    in_candidates: Media,
}

/// The media in a list of modalities and their counts. Videos and documents are billed as text.
fn media(details: Option<&str>) -> Media {
    let mut media = Media::default();
    for detail in details.into_iter().flat_map(json::elements_if_array) {
        let [modality, tokens] = json::find(detail, ["modality", "tokenCount"]);
        let tokens = tokens.and_then(count).unwrap_or(0);
        match modality.and_then(json::string).as_deref() {
            Some("AUDIO") => media.audio = media.audio.saturating_add(tokens).min(COUNT_MAX),
            Some("IMAGE") => media.image = media.image.saturating_add(tokens).min(COUNT_MAX),
            _ => {}
        }
    }
    media
}

impl GeminiCounts {
    fn of(usage: &str) -> Self {
        let names = [
            "promptTokenCount", "candidatesTokenCount", "totalTokenCount", "cachedContentTokenCount",
            "toolUsePromptTokenCount", "thoughtsTokenCount",
        ];
        let [prompt, candidates, total, cached, of_tools, thoughts] =
            json::find(usage, names).map(|figure| figure.and_then(count));
        let details = ["promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails"];
        let [in_prompt, in_cache, in_candidates] = json::find(usage, details).map(media);
        let (cached, of_tools, thoughts) = (cached.unwrap_or(0), of_tools.unwrap_or(0), thoughts.unwrap_or(0));
        Self { prompt, candidates, total, cached, of_tools, thoughts, in_prompt, in_cache, in_candidates }
    }

    /// Prompt and candidates. If one is missing, it follows from the total; Google leaves out figures that are 0.
    fn sides(self) -> Option<(u64, u64)> {
        let rest = |known: u64| self.total?.checked_sub(known)?.checked_sub(self.of_tools + self.thoughts);
        match (self.prompt, self.candidates) {
            (Some(prompt), Some(candidates)) => Some((prompt, candidates)),
            (Some(prompt), None) => Some((prompt, rest(prompt)?)),
            (None, Some(candidates)) => Some((rest(candidates)?, candidates)),
            (None, None) => None,
        }
    }

    fn input(self, prompt: u64) -> TokenClasses {
        let parts = PromptParts {
            cache_written: 0,
            // More cached tokens than prompt cannot be part of it. This is the more expensive reading.
            uncached: prompt.checked_sub(self.cached).unwrap_or(prompt),
            cache_read: self.cached,
            media: self.in_prompt,
            cached_media: self.in_cache,
        };
        let classes = parts.classes();
        TokenClasses { input_uncached_tokens: classes.input_uncached_tokens + self.of_tools, ..classes }
    }

    /// The token classes. Their sum is the report's total, or the sum of its parts if that is larger. `None` if a side is
    /// missing and does not follow from the total, or if everything is zero.
    fn classes(self) -> Option<TokenClasses> {
        let (prompt, candidates) = self.sides()?;
        let without_thoughts = prompt + candidates + self.of_tools;
        // Some models count thoughts among the candidates, which only the total shows.
        let thoughts_are_inside = self.total == Some(without_thoughts) && self.thoughts <= candidates;
        let explained = without_thoughts + if thoughts_are_inside { 0 } else { self.thoughts };
        let text = if thoughts_are_inside { candidates - self.thoughts } else { candidates };
        let classes = TokenClasses {
            output_text_tokens: self.in_candidates.taken_from(text),
            output_audio_tokens: self.in_candidates.audio,
            output_image_tokens: self.in_candidates.image,
            // Tokens that no part explains are thoughts.
            output_reasoning_tokens: self.thoughts + self.total.unwrap_or(0).saturating_sub(explained),
            ..self.input(prompt)
        };
        (classes.input() + classes.output() > 0).then_some(classes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(usage: &str) -> Option<[u64; 4]> {
        let classes = |c: TokenClasses| {
            [c.input_uncached_tokens, c.input_cache_read_tokens, c.output_text_tokens, c.output_reasoning_tokens]
        };
        read_report(usage).sides().0.map(classes)
    }

    /// Holds: inf.token-classes
    #[test]
    fn counts_become_disjoint() {
        for (usage, wanted) in [
            (r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}"#, [10, 0, 5, 0]),
            (
                r#"{"promptTokenCount":1200,"candidatesTokenCount":2,"thoughtsTokenCount":40,"cachedContentTokenCount":1024,"totalTokenCount":1242}"#,
                [176, 1024, 2, 40],
            ),
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":5,"toolUsePromptTokenCount":7,"thoughtsTokenCount":3,"totalTokenCount":25}"#,
                [17, 0, 5, 3],
            ),
            // thoughts among the candidates
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":50,"thoughtsTokenCount":30,"totalTokenCount":60}"#,
                [10, 0, 20, 30],
            ),
            // no total: they are beside them
            (r#"{"promptTokenCount":10,"candidatesTokenCount":50,"thoughtsTokenCount":30}"#, [10, 0, 50, 30]),
            // Google leaves out zeros: nothing but thoughts, and a prompt that was blocked
            (r#"{"promptTokenCount":10,"thoughtsTokenCount":30,"totalTokenCount":40}"#, [10, 0, 0, 30]),
            (r#"{"promptTokenCount":10,"totalTokenCount":10}"#, [10, 0, 0, 0]),
            (r#"{"candidatesTokenCount":4,"totalTokenCount":10}"#, [6, 0, 4, 0]),
            // parts above the whole, totals above or below their parts
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":5,"cachedContentTokenCount":40,"totalTokenCount":15}"#,
                [10, 40, 5, 0],
            ),
            (r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":20}"#, [10, 0, 5, 5]),
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":5,"thoughtsTokenCount":9,"totalTokenCount":15}"#,
                [10, 0, 5, 9],
            ),
            (r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":1}"#, [10, 0, 5, 0]),
            (r#"{"promptTokenCount":1e30,"candidatesTokenCount":2.5}"#, [COUNT_MAX, 0, 3, 0]),
        ] {
            assert_eq!(of(usage), Some(wanted), "{usage}");
        }
        for usage in ["{}", r#"{"promptTokenCount":10}"#, r#"{"promptTokenCount":0,"totalTokenCount":0}"#] {
            assert_eq!(of(usage), None, "{usage}");
        }
    }

    /// Holds: inf.token-classes
    #[test]
    fn audio_and_images_are_classes_of_their_own_cached_or_not() {
        let read = |usage: &str| {
            let all = read_report(usage).sides().0.expect("a report");
            let input = [all.input_uncached_tokens, all.input_audio_tokens, all.input_image_tokens];
            let cached =
                [all.input_cache_read_tokens, all.input_cache_read_audio_tokens, all.input_cache_read_image_tokens];
            (input, cached, [all.output_text_tokens, all.output_audio_tokens, all.output_image_tokens])
        };
        for (usage, wanted) in [
            (
                r#"{"promptTokenCount":1000,"cachedContentTokenCount":700,"candidatesTokenCount":1300,"totalTokenCount":2300,
                    "promptTokensDetails":[{"modality":"TEXT","tokenCount":500},{"modality":"AUDIO","tokenCount":300},{"modality":"IMAGE","tokenCount":200}],
                    "cacheTokensDetails":[{"modality":"TEXT","tokenCount":400},{"modality":"AUDIO","tokenCount":250},{"modality":"IMAGE","tokenCount":50}],
                    "candidatesTokensDetails":[{"modality":"IMAGE","tokenCount":1290},{"modality":"TEXT","tokenCount":10}]}"#,
                ([100, 50, 150], [400, 250, 50], [10, 0, 1290]),
            ),
            // Video and documents are text.
            (
                r#"{"promptTokenCount":100,"candidatesTokenCount":5,"promptTokensDetails":[{"modality":"VIDEO","tokenCount":60},{"modality":"DOCUMENT","tokenCount":40}]}"#,
                ([100, 0, 0], [0, 0, 0], [5, 0, 0]),
            ),
            // Parts above their whole: nothing is negative, and everything counts.
            (
                r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":5,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":8}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":9}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":7}]}"#,
                ([0, 8, 0], [0, 9, 0], [0, 7, 0]),
            ),
            (
                r#"{"promptTokenCount":10,"candidatesTokenCount":5,"promptTokensDetails":null,"cacheTokensDetails":{},"candidatesTokensDetails":[null,{"modality":7},{"tokenCount":5}]}"#,
                ([10, 0, 0], [0, 0, 0], [5, 0, 0]),
            ),
        ] {
            assert_eq!(read(usage), wanted, "{usage}");
        }
    }

    #[test]
    fn the_input_is_read_where_nothing_else_is_reported_yet() {
        let input = |usage| read_report(usage).sides().1.map(|c| [c.input_uncached_tokens, c.input_cache_read_tokens]);
        assert_eq!(input(r#"{"promptTokenCount":40,"cachedContentTokenCount":30}"#), Some([10, 30]));
        assert_eq!(input(r#"{"candidatesTokenCount":40}"#), None);
    }

    /// With any of the figures at a limit, nothing is lost and no sum overflows.
    #[test]
    fn no_token_of_the_total_or_of_its_parts_is_left_out() {
        let figures = [0, 1, 39, 40, COUNT_MAX - 1, COUNT_MAX];
        for draw in 0..figures.len().pow(6) {
            let [prompt, candidates, total, cached, of_tools, thoughts] =
                [0, 1, 2, 3, 4, 5].map(|place| figures[draw / figures.len().pow(place) % figures.len()]);
            let read = GeminiCounts {
                prompt: Some(prompt),
                candidates: Some(candidates),
                total: Some(total),
                cached,
                of_tools,
                thoughts,
                ..GeminiCounts::default()
            };
            let read = read.classes().unwrap_or_default();
            let drawn = (prompt, candidates, total, cached, of_tools, thoughts);
            assert!(read.input() + read.output() >= total.max(prompt + candidates + of_tools), "{drawn:?}");
            assert!(read.input() >= prompt + of_tools && read.output() >= candidates, "{drawn:?}");
            assert!(read.output_reasoning_tokens >= thoughts && read.input_cache_read_tokens == cached, "{drawn:?}");
        }
    }
}
