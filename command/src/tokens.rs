//! Counts a prompt's tokens: with its backend's tokenizer for requests whose bound by bytes exceeds what budgets have left (ADR-0006), or
//! the context window of a target (ADR-0039). One prompt at a time, off the async threads, in turns by tenant, and bounded in bytes and time. Text that is not
//! counted keeps its bound by bytes.

use std::time::{Duration, Instant};

use blocking_work::{ESTIMATES, Owner, TOKENS};
use bytes::Bytes;
use dialects::{PromptText, prompt_texts};
use events::event::admin::Tokenizer;
use tiktoken_rs::CoreBPE;
use tokio::time::timeout;

mod ranks;

use ranks::encoder;

/// The longest wait for a turn, and then for the count.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The longest wait for the turn of an estimate, for which bytes are an answer as well, although a worse one.
const ESTIMATE_WAIT_MAX: Duration = Duration::from_millis(500);
/// The most text of one prompt that is counted; a megabyte is about a quarter of a million tokens.
const BYTES_MAX: usize = 1024 * 1024;
/// The longest time that is spent on one prompt, for all its tokenizers together.
const COUNTING_MAX: Duration = Duration::from_millis(500);
/// The longest text without a cut that is counted. Longer ones would be slow, and are not prose.
const SEGMENT_BYTES_MAX: usize = 4096;
/// The shortest text that is worth counting.
const TEXT_BYTES_MIN: usize = 64;

/// The excess of a body's bytes over its tokens with a tokenizer.
#[derive(Clone, Copy, Debug)]
pub struct TokenSavings {
    pub tokenizer: Tokenizer,
    pub tokens: u64,
}

/// For each of these tokenizers, by how much the body's bytes exceed its tokens. `None` if its turn did not come in time.
pub async fn savings(owner: Owner, body: Bytes, tokenizers: Vec<Tokenizer>) -> Option<Vec<TokenSavings>> {
    let turn = TOKENS.turn_until(owner, tokio::time::Instant::now() + WAIT_MAX).await.ok()?;
    let counting = turn.start(move || {
        let body = std::str::from_utf8(&body).ok()?;
        // The first use of a tokenizer loads its ranks, which is not part of the counting time.
        let encoders: Vec<_> = tokenizers.into_iter().map(|tokenizer| (tokenizer, encoder(tokenizer))).collect();
        let until = Instant::now() + COUNTING_MAX;
        let savings = |(tokenizer, encoder)| TokenSavings { tokenizer, tokens: saving(body, encoder, until) };
        Some(encoders.into_iter().map(savings).collect())
    });
    // If loading the ranks takes too long, the next request finds them loaded.
    timeout(WAIT_MAX, counting).await.ok()?.ok()?
}

/// The tokens of a prompt by tokenizer, for the windows of its targets. Of what surrounds its texts nothing is counted.
#[derive(Clone, Debug, Default)]
pub struct CountedPrompt {
    counts: Vec<PromptCount>,
}

#[derive(Clone, Copy, Debug)]
struct PromptCount {
    tokenizer: Tokenizer,
    /// Those of all texts together.
    together: u64,
    /// Those of the longest one.
    longest: u64,
}

impl CountedPrompt {
    /// Those that have to fit into a window together: of texts to embed, those of the longest one. `None` if they were not counted.
    pub fn tokens(&self, tokenizer: Tokenizer, is_embedding: bool) -> Option<u64> {
        let count = self.counts.iter().find(|count| count.tokenizer == tokenizer)?;
        Some(if is_embedding { count.longest } else { count.together })
    }
}

/// A prompt to be counted.
pub struct PromptToCount {
    pub body: Bytes,
    /// The system message that its model puts before it.
    pub system_prefix: Option<String>,
    /// The tokenizers to count it by; empty if it need not be counted.
    pub tokenizers: Vec<Tokenizer>,
    /// No more tokens than these need to be counted: they fit into no window.
    pub enough: u64,
}

/// Counts a prompt. Nothing is counted if its turn does not come in time; when the counting time is up, the rest has as many tokens for
/// its bytes as what was counted.
pub async fn prompt(owner: Owner, prompt: PromptToCount) -> CountedPrompt {
    let turn = ESTIMATES.turn_until(owner, tokio::time::Instant::now() + ESTIMATE_WAIT_MAX).await;
    let Ok(turn) = turn else { return CountedPrompt::default() };
    let counting = turn.start(move || {
        let PromptToCount { body, system_prefix, tokenizers, enough } = prompt;
        let Ok(body) = std::str::from_utf8(&body) else { return CountedPrompt::default() };
        let count = |tokenizer| {
            // The first use of a tokenizer loads its ranks, which is not part of the counting time.
            let encoder = encoder(tokenizer);
            let counting = WindowCounting { encoder, until: Instant::now() + COUNTING_MAX, enough };
            let mut together = system_prefix.as_deref().map_or(0, |text| counting.tokens(text));
            let mut longest = 0;
            for PromptText { text, .. } in prompt_texts(body) {
                let tokens = counting.tokens(&text);
                together += tokens;
                longest = tokens.max(longest);
                if together > enough && longest > enough {
                    break;
                }
            }
            PromptCount { tokenizer, together, longest }
        };
        CountedPrompt { counts: tokenizers.into_iter().map(count).collect() }
    });
    timeout(WAIT_MAX, counting).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// Counting for windows, which ends when it is known that a text fits into none.
struct WindowCounting<'a> {
    encoder: &'a CoreBPE,
    until: Instant,
    enough: u64,
}

impl WindowCounting<'_> {
    /// A text that cannot be cut is counted piece by piece: each cut may add a token.
    fn tokens(&self, text: &str) -> u64 {
        let (mut tokens, mut counted_bytes) = (0, 0);
        for segment in (Segments { rest: text }) {
            let mut rest = segment;
            while !rest.is_empty() {
                if tokens > self.enough || Instant::now() >= self.until {
                    return self.extrapolated(tokens, counted_bytes, text.len());
                }
                let (piece, after) = rest.split_at(rest.floor_char_boundary(SEGMENT_BYTES_MAX));
                tokens += self.encoder.count_ordinary(piece) as u64;
                counted_bytes += piece.len();
                rest = after;
            }
        }
        tokens
    }

    /// The tokens of a text of which so many bytes were counted. Without a count, those of prose in few tokens.
    fn extrapolated(&self, tokens: u64, counted_bytes: usize, bytes: usize) -> u64 {
        if tokens > self.enough {
            return tokens;
        }
        let bytes = bytes as u64;
        match counted_bytes as u64 {
            0 => few_tokens(bytes),
            counted => tokens.saturating_mul(bytes) / counted,
        }
    }
}

/// The tokens that so many bytes of a prompt have at least, but for texts of repetitions: prose has four or five bytes for each.
pub const fn few_tokens(bytes: u64) -> u64 {
    bytes / 6
}

/// The texts of a prompt, as they were counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountedTexts {
    /// Bytes that they take in the body.
    pub bytes: u64,
    pub tokens: u64,
}

/// The tokens of a prompt's texts with a common tokenizer, as an estimate for any other. Texts beyond the bounds of
/// counting are left out. `None` if others are being made and its turn did not come in time. Estimates cost nothing, so
/// they have a pool of their own, and do not hold up those who are short of money.
pub async fn texts(owner: Owner, body: Bytes) -> Option<CountedTexts> {
    let turn = ESTIMATES.turn_until(owner, tokio::time::Instant::now() + ESTIMATE_WAIT_MAX).await.ok()?;
    let counting = turn.start(move || {
        let body = std::str::from_utf8(&body).ok()?;
        let encoder = encoder(Tokenizer::O200kBase);
        Some(counted_texts(body, encoder, Instant::now() + COUNTING_MAX))
    });
    timeout(WAIT_MAX, counting).await.ok()?.ok()?
}

fn counted_texts(body: &str, encoder: &CoreBPE, until: Instant) -> CountedTexts {
    let mut counted = CountedTexts::default();
    let mut bytes_left = BYTES_MAX;
    for text in prompt_texts(body).filter(|text| text.text.len() <= BYTES_MAX) {
        let Some(left) = bytes_left.checked_sub(text.text.len()) else { break };
        let Some(tokens) = count(encoder, &text.text, until) else { break };
        bytes_left = left;
        counted.bytes += text.bound_bytes as u64;
        counted.tokens += tokens;
    }
    counted
}

/// The bytes of the prompt's texts less their tokens. The JSON around the texts keeps its bound by bytes: the published
/// recipe adds 3 tokens per message, and the JSON of the shortest message has 28 bytes.
fn saving(body: &str, encoder: &CoreBPE, until: Instant) -> u64 {
    let mut bytes_left = BYTES_MAX;
    let mut saved = 0;
    for text in prompt_texts(body) {
        let is_countable = (TEXT_BYTES_MIN..=bytes_left).contains(&text.text.len());
        if !is_countable {
            continue;
        }
        bytes_left -= text.text.len();
        let Some(tokens) = count(encoder, &text.text, until) else { return saved };
        saved += (text.bound_bytes as u64).saturating_sub(tokens);
    }
    saved
}

/// An upper bound of a text's tokens, exact if the text can be cut; `None` when the time is up.
fn count(encoder: &CoreBPE, text: &str, until: Instant) -> Option<u64> {
    let mut tokens = 0;
    for segment in (Segments { rest: text }) {
        tokens += match segment.len() {
            0..=SEGMENT_BYTES_MAX => encoder.count_ordinary(segment),
            bytes => bytes,
        } as u64;
        if Instant::now() >= until {
            return None;
        }
    }
    Some(tokens)
}

/// Cuts a text into segments whose tokens together are those of the text. It cuts between an ASCII letter or digit and white
/// space: no alternative of either tokenizer's pattern matches both, and none looks back, so the pattern always ends a match
/// there.
struct Segments<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        /// Shorter segments are not worth a call.
        const LEN_WANTED: usize = 1024;
        if self.rest.is_empty() {
            return None;
        }
        let bytes = self.rest.as_bytes();
        let cuts = |at: &usize| {
            let (before, behind) = (bytes.get(at.wrapping_sub(1)), bytes.get(*at));
            before.is_some_and(u8::is_ascii_alphanumeric)
                && behind.is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\t'))
        };
        // The last cut within the wanted length, else the first cut after it.
        let near = (1..bytes.len().min(LEN_WANTED)).rev().find(cuts);
        let at = near.or_else(|| (LEN_WANTED..bytes.len()).find(cuts)).unwrap_or(bytes.len());
        let at = if bytes.len() <= LEN_WANTED { bytes.len() } else { at };
        let (segment, rest) = self.rest.split_at_checked(at)?;
        self.rest = rest;
        Some(segment)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [Tokenizer; 2] = [Tokenizer::O200kBase, Tokenizer::Cl100kBase];

    fn forever() -> Instant {
        Instant::now() + Duration::from_secs(600)
    }

    /// Prose, code, other scripts, white space and special tokens.
    fn texts() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            8 => "[a-zA-Z]{1,12}",
            2 => "[0-9]{1,9}",
            2 => "[ \t\r\n]{1,9}",
            2 => "[.,;:!?'\"/(){}<>|_-]{1,5}",
            1 => "[äßéñøλжあ漢字한😀\u{301}]{1,6}",
            1 => "('s|'LL|it's|<\\|endoftext\\|>)",
            1 => "\\PC{1,8}",
        ];
        proptest::collection::vec((word, prop_oneof![4 => Just(" "), 1 => Just(""), 1 => Just("\n")]), 0..900)
            .prop_map(|words| words.into_iter().flat_map(|(word, gap)| [word, gap.to_owned()]).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

        #[test]
        fn a_text_that_is_cut_has_the_tokens_of_the_whole(text in texts()) {
            for tokenizer in BOTH {
                let whole = encoder(tokenizer).count_ordinary(&text) as u64;
                let counted = count(encoder(tokenizer), &text, forever()).expect("time enough");
                let can_be_cut = Segments { rest: &text }.all(|segment| segment.len() <= SEGMENT_BYTES_MAX);
                prop_assert!(counted >= whole && counted <= text.len() as u64, "{counted} of {whole}");
                prop_assert!(!can_be_cut || counted == whole, "{counted} of {whole}");
            }
        }

        #[test]
        fn the_bound_by_tokens_is_between_the_texts_tokens_and_the_bytes(texts in proptest::collection::vec(texts(), 1..4)) {
            let message = |text: &String| serde_json::json!({ "role": "user", "content": text });
            let body = serde_json::json!({ "model": "m", "messages": texts.iter().map(message).collect::<Vec<_>>() });
            let (body, together) = (body.to_string(), texts.concat());
            for tokenizer in BOTH {
                let bound = body.len() as u64 - saving(&body, encoder(tokenizer), forever());
                let tokens = encoder(tokenizer).count_ordinary(&together) as u64;
                prop_assert!((tokens..=body.len() as u64).contains(&bound), "{bound} for {tokens} tokens");
            }
            // Of embeddings the bound has each text's own bytes.
            let (body, bytes) = (serde_json::json!({ "input": texts }).to_string(), together.len() as u64);
            for tokenizer in BOTH {
                let bound = bytes - saving(&body, encoder(tokenizer), forever());
                let tokens: usize = texts.iter().map(|text| encoder(tokenizer).count_ordinary(text)).sum();
                prop_assert!((tokens as u64..=bytes).contains(&bound), "{bound} for {tokens} tokens");
            }
        }
    }

    #[test]
    fn segments_are_the_text() {
        for text in ["", "a", &"word ".repeat(5000), &"x".repeat(10_000), &"漢字 ".repeat(3000), &" ".repeat(9000)] {
            assert_eq!(Segments { rest: text }.collect::<String>(), text);
        }
    }

    #[test]
    fn text_that_cannot_be_cut_or_is_too_long_keeps_its_bound_by_bytes() {
        let blob = "x".repeat(SEGMENT_BYTES_MAX + 1);
        assert_eq!(count(encoder(Tokenizer::O200kBase), &blob, forever()), Some(blob.len() as u64));
        let body = serde_json::json!({ "messages": [{ "content": "word ".repeat(BYTES_MAX / 4) }] }).to_string();
        assert_eq!(saving(&body, encoder(Tokenizer::O200kBase), forever()), 0);
        assert_eq!(count(encoder(Tokenizer::O200kBase), "a word", Instant::now()), None);
    }

    #[tokio::test]
    async fn prose_has_a_quarter_of_its_bytes_in_tokens() {
        let prose = "The quick brown fox jumps over the lazy dog. ".repeat(200);
        let body =
            serde_json::json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": prose }] }] });
        // Their tables are read at the first use, which takes longer than a count may on a busy machine.
        for tokenizer in BOTH {
            encoder(tokenizer);
        }
        let savings = savings(None, body.to_string().into(), BOTH.to_vec()).await.expect("a turn");
        for TokenSavings { tokenizer, tokens: saved } in savings {
            assert!(saved > prose.len() as u64 * 7 / 10, "{saved} of {} by {tokenizer:?}", prose.len());
        }
    }

    #[tokio::test]
    async fn estimates_that_are_asked_for_at_once_are_the_same() {
        let body = serde_json::json!({ "messages": [{ "role": "user", "content": "one two three. ".repeat(200) }] });
        // Its table is read at the first use, which takes longer than an estimate waits.
        encoder(Tokenizer::O200kBase);
        let body = Bytes::from(body.to_string());
        let (one, other) = tokio::join!(super::texts(None, body.clone()), super::texts(None, body));
        let tokens = one.expect("a turn").tokens;
        assert_eq!((tokens > 500, other.expect("a turn").tokens), (true, tokens));
    }
}
