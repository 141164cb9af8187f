//! The language of a text, one of sixteen.

use whichlang::{Lang, detect_language};

/// The part of a longer text that is read: its beginning.
const BYTES_MAX: usize = 512;
/// The letters without which a text says nothing of its language.
const LETTERS_MIN: usize = 12;
/// The same of a script whose letters are words or syllables.
const SYLLABLES_MIN: usize = 4;

/// The code of ISO 639-1. `None` if the text is too short to tell. A text in another language is taken for the nearest one.
pub fn of(text: &str) -> Option<&'static str> {
    let text = &text[..text.floor_char_boundary(BYTES_MAX)];
    // Code is in no language.
    let text = text.split("```").next().unwrap_or_default();
    let letters = text.chars().filter(|letter| letter.is_alphabetic());
    let (wide, narrow): (Vec<_>, Vec<_>) = letters.take(LETTERS_MIN).partition(|letter| *letter >= '\u{2E80}');
    let is_enough = wide.len() >= SYLLABLES_MIN || narrow.len() >= LETTERS_MIN;
    is_enough.then(|| code(detect_language(text)))
}

const fn code(language: Lang) -> &'static str {
    match language {
        Lang::Ara => "ar",
        Lang::Cmn => "zh",
        Lang::Deu => "de",
        Lang::Eng => "en",
        Lang::Fra => "fr",
        Lang::Hin => "hi",
        Lang::Ita => "it",
        Lang::Jpn => "ja",
        Lang::Kor => "ko",
        Lang::Nld => "nl",
        Lang::Por => "pt",
        Lang::Rus => "ru",
        Lang::Spa => "es",
        Lang::Swe => "sv",
        Lang::Tur => "tr",
        Lang::Vie => "vi",
    }
}
