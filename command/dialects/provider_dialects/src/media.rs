//! Audio and images among the tokens of a report, which have prices of their own.

use events::usage::TokenClasses;

/// Tokens of audio and of images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Media {
    pub audio: u64,
    pub image: u64,
}

/// The tokens of a prompt by a report: those that were neither read from a cache nor written to one, those read from
/// one, those written to one, and the media among all of them.
#[derive(Clone, Copy, Debug)]
pub struct PromptParts {
    pub uncached: u64,
    pub cache_read: u64,
    pub cache_written: u64,
    pub media: Media,
    /// Those of the media that are known to have been read from the cache.
    pub cached_media: Media,
}

impl Media {
    pub const fn all(self) -> u64 {
        self.audio.saturating_add(self.image)
    }

    /// Those that are not among `others`. More of a kind than there is cannot be part of it.
    fn without(self, others: Self) -> Self {
        let rest = |all: u64, part: u64| all.checked_sub(part).unwrap_or(all);
        Self { audio: rest(self.audio, others.audio), image: rest(self.image, others.image) }
    }

    /// At most so many of them, images first.
    fn at_most(self, tokens: u64) -> Self {
        let image = self.image.min(tokens);
        Self { image, audio: self.audio.min(tokens - image) }
    }

    fn and(self, more: Self) -> Self {
        Self { audio: self.audio.saturating_add(more.audio), image: self.image.saturating_add(more.image) }
    }

    /// Returns the rest of `text`, the part of a side that has no class of its own. Media that exceed it are beside it,
    /// which is the more expensive reading.
    pub const fn taken_from(self, text: u64) -> u64 {
        text.saturating_sub(self.all())
    }
}

impl PromptParts {
    /// The input in disjoint classes, but for cache writes. Media that are more than the uncached tokens were read from the
    /// cache, as few of them as the figures allow. Those that are more than both were written to it, where media have no class
    /// of their own. Media that are more than the whole prompt are beside it. Each is the more expensive reading of those that
    /// the figures allow; nothing is negative, and no token is lost.
    pub fn classes(self) -> TokenClasses {
        let Self { uncached, cache_read, cache_written, media, cached_media } = self;
        let fresh = media.without(cached_media);
        let is_beside = media.all() > uncached.saturating_add(cache_read).saturating_add(cache_written);
        let text = if is_beside { uncached } else { fresh.taken_from(uncached) };
        let excess = if is_beside { 0 } else { fresh.all().saturating_sub(uncached) };
        let cached_text = cached_media.taken_from(cache_read);
        let moved = fresh.at_most(excess.min(cached_text));
        let (fresh, cached_media) = (fresh.without(moved), cached_media.and(moved));
        let written = fresh.at_most((excess - moved.all()).min(cache_written));
        let fresh = fresh.without(written);
        TokenClasses {
            input_uncached_tokens: text,
            input_cache_read_tokens: moved.taken_from(cached_text),
            input_audio_tokens: fresh.audio,
            input_cache_read_audio_tokens: cached_media.audio,
            input_image_tokens: fresh.image,
            input_cache_read_image_tokens: cached_media.image,
            ..TokenClasses::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media([audio, image]: [u64; 2]) -> Media {
        Media { audio, image }
    }

    #[test]
    fn media_are_classes_of_their_own_and_no_token_is_lost() {
        // Uncached and cached tokens, media and cached media; text, audio and image, uncached and cached.
        for (uncached, cache_read, all, cached, [text, audio, image], [cached_text, cached_audio, cached_image]) in [
            (60, 40, [0, 0], [0, 0], [60, 0, 0], [40, 0, 0]),
            (60, 40, [30, 20], [0, 0], [10, 30, 20], [40, 0, 0]),
            (60, 40, [30, 20], [10, 20], [40, 20, 0], [10, 10, 20]),
            // More media than uncached tokens: the rest was cached, images first.
            (60, 40, [50, 30], [0, 0], [0, 50, 10], [20, 0, 20]),
            (10, 90, [50, 30], [0, 0], [0, 10, 0], [20, 40, 30]),
            (60, 40, [70, 5], [5, 0], [0, 60, 0], [25, 10, 5]),
            // More media than prompt.
            (60, 40, [101, 0], [0, 0], [60, 101, 0], [40, 0, 0]),
            // More of them in the cache than there are.
            (6, 4, [8, 0], [9, 0], [0, 8, 0], [0, 9, 0]),
        ] {
            let (media, cached_media) = (media(all), media(cached));
            let parts = PromptParts { uncached, cache_read, cache_written: 0, media, cached_media };
            let read = parts.classes();
            assert_eq!(
                [read.input_uncached_tokens, read.input_audio_tokens, read.input_image_tokens],
                [text, audio, image],
                "{parts:?}"
            );
            assert_eq!(
                [read.input_cache_read_tokens, read.input_cache_read_audio_tokens, read.input_cache_read_image_tokens],
                [cached_text, cached_audio, cached_image],
                "{parts:?}"
            );
        }
    }

    #[test]
    fn media_that_were_written_to_the_cache_are_no_second_time_in_the_prompt() {
        let parts = |uncached, cache_read, image| {
            let media = media([0, image]);
            let all = PromptParts { uncached, cache_read, cache_written: 950, media, cached_media: Media::default() };
            let read = all.classes();
            [
                read.input_uncached_tokens,
                read.input_image_tokens,
                read.input_cache_read_tokens,
                read.input_cache_read_image_tokens,
            ]
        };
        assert_eq!(parts(50, 0, 900), [0, 50, 0, 0]);
        assert_eq!(parts(50, 20, 900), [0, 50, 0, 20]);
        assert_eq!(parts(50, 20, 40), [10, 40, 20, 0]);
        // More than there is.
        assert_eq!(parts(50, 20, 1021), [50, 1021, 20, 0]);
    }

    #[test]
    fn whatever_is_reported_all_of_the_prompt_is_counted_and_all_media() {
        let figures = [0, 1, 39, 41, 1_000_000_000_000];
        for draw in 0..figures.len().pow(7) {
            let [uncached, cache_read, cache_written, audio, image, cached_audio, cached_image] =
                [0, 1, 2, 3, 4, 5, 6].map(|place| figures[draw / figures.len().pow(place) % figures.len()]);
            let parts = PromptParts {
                uncached,
                cache_read,
                cache_written,
                media: media([audio, image]),
                cached_media: media([cached_audio, cached_image]),
            };
            let read = parts.classes();
            assert!(read.input() >= uncached + cache_read, "{parts:?}");
            let all_audio = read.input_audio_tokens + read.input_cache_read_audio_tokens;
            let all_images = read.input_image_tokens + read.input_cache_read_image_tokens;
            assert!(all_audio + all_images + cache_written >= audio + image, "{parts:?}");
            assert!(cache_written > 0 || all_audio >= audio && all_images >= image, "{parts:?}");
            let fits = cached_audio <= audio && cached_image <= image && cached_audio + cached_image <= cache_read;
            if fits && audio + image <= uncached + cache_read + cache_written {
                assert_eq!(read.input(), uncached + cache_read, "what agrees adds up: {parts:?}");
            }
        }
    }
}
