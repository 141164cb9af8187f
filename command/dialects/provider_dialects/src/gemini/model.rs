//! Model names as Gemini reads them: the path, and the generation, which decides what requests may have.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but the characters that a segment of a path needs no escape for. Vertex AI has versions of models after an `@`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');

/// The collections that a name may begin with.
const COLLECTIONS: [&str; 2] = ["models", "tunedModels"];

/// The path of a call. Both `gemini-x` and `models/gemini-x` are names of a model.
pub fn path(model: &str, method: &str) -> String {
    let (collection, model) = in_collection(model);
    ["/", collection, "/", &escaped(model), method].concat()
}

/// The full name of a model, as bodies have it.
pub fn resource(model: &str) -> String {
    let (collection, model) = in_collection(model);
    [collection, "/", model].concat()
}

/// A name as one segment of a path.
pub fn escaped(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The end of a call's path. Without `alt=sse`, a stream is one JSON array.
pub const fn method(streamed: bool) -> &'static str {
    if streamed { ":streamGenerateContent?alt=sse" } else { ":generateContent" }
}

fn in_collection(model: &str) -> (&str, &str) {
    let split = model.split_once('/').filter(|(collection, _)| COLLECTIONS.contains(collection));
    split.unwrap_or((COLLECTIONS[0], model))
}

/// True for Gemini 3 and later. They take thinking levels, ids of calls, and media in results of tools, and refuse calls
/// without a signature. Older models refuse some of these, so a name that does not say its generation counts as older.
pub fn is_third_generation(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default();
    let Some(version) = name.strip_prefix("gemini-") else { return false };
    // `gemini-flash-latest` and the like follow the newest generation.
    let digits = version.find(|c: char| !c.is_ascii_digit()).map_or(version, |end| version.get(..end).unwrap_or(""));
    digits.parse::<u32>().map_or_else(|_| version.ends_with("-latest"), |generation| generation >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_one_segment_of_the_path() {
        for (model, streamed, wanted) in [
            ("gemini-2.5-pro", false, "/models/gemini-2.5-pro:generateContent"),
            ("models/gemini-2.5-pro", true, "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
            ("tunedModels/mine", false, "/tunedModels/mine:generateContent"),
            ("../files/x?key=1#", false, "/models/..%2Ffiles%2Fx%3Fkey%3D1%23:generateContent"),
            ("models/a/b:c", false, "/models/a%2Fb%3Ac:generateContent"),
            ("é", false, "/models/%C3%A9:generateContent"),
        ] {
            assert_eq!(path(model, method(streamed)), wanted);
        }
    }

    #[test]
    fn a_name_that_does_not_say_its_generation_counts_as_older() {
        for name in ["gemini-3-pro-preview", "models/gemini-3.5-flash", "gemini-10-pro", "gemini-flash-latest"] {
            assert!(is_third_generation(name), "{name}");
        }
        for name in [
            "gemini-2.5-flash",
            "gemini-2.0-flash",
            "gemini-1.5-pro-latest",
            "gemini-pro",
            "gemini-",
            "gemma-3-27b-it",
            "4711",
            "tunedModels/mine",
            "",
            "gemini-99999999999999999999",
        ] {
            assert!(!is_third_generation(name), "{name}");
        }
    }
}
