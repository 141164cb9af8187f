//! Writes Gemini's probabilities of tokens as OpenAI does.

use intermediate::json::{self, Kind, elements_if_array};

/// The most alternatives that a client can ask for.
const TOP_MAX: usize = 20;

/// A `logprobsResult` as an object with `content`; `None` if it has no tokens.
pub fn as_openai(result: &str) -> Option<String> {
    let [chosen, top] = json::find(result, ["chosenCandidates", "topCandidates"]);
    let mut alternatives = top.into_iter().flat_map(elements_if_array).map(|step| json::field(step, "candidates"));
    let mut content = Vec::new();
    for token in chosen.into_iter().flat_map(elements_if_array) {
        let top = alternatives.next().flatten().into_iter().flat_map(elements_if_array).take(TOP_MAX);
        let top: Vec<_> = top.filter_map(|token| entry(token).map(|entry| entry + "}")).collect();
        content.push(entry(token)? + r#","top_logprobs":["# + &top.join(",") + "]}");
    }
    (!content.is_empty()).then(|| [r#"{"content":["#, &content.join(","), "]}"].concat())
}

/// The value that OpenAI writes for a token that the model would never draw. Google writes `"-Infinity"`.
const IMPOSSIBLE: &str = "-9999.0";

/// An object without its end. Google leaves out a logarithm of 0, which is that of a certain token.
fn entry(token: &str) -> Option<String> {
    let [text, probability] = json::find(token, ["token", "logProbability"]);
    let text = text.filter(|text| json::kind(text) == Kind::String)?;
    let decoded = json::string(text)?;
    let bytes: Vec<_> = decoded.bytes().map(|byte| byte.to_string()).collect();
    let probability = match probability {
        None => "0",
        Some(number) if json::kind(number) == Kind::Number => number,
        Some(_) => IMPOSSIBLE,
    };
    Some(format!(r#"{{"token":{text},"logprob":{probability},"bytes":[{}]"#, bytes.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_written_as_openai_does() {
        let result = r#"{"topCandidates":[{"candidates":[{"token":"é","tokenId":7,"logProbability":-0.25},{"token":"b","logProbability":"-Infinity"}]}],"chosenCandidates":[{"token":"é","tokenId":7,"logProbability":-0.25},{"token":"!"}]}"#;
        let wanted = r#"{"content":[{"token":"é","logprob":-0.25,"bytes":[195,169],"top_logprobs":[{"token":"é","logprob":-0.25,"bytes":[195,169]},{"token":"b","logprob":-9999.0,"bytes":[98]}]},{"token":"!","logprob":0,"bytes":[33],"top_logprobs":[]}]}"#;
        assert_eq!(as_openai(result).as_deref(), Some(wanted));
        for none in ["{}", r#"{"chosenCandidates":{}}"#, r#"{"chosenCandidates":[{"logProbability":-1}]}"#, "[]"] {
            assert_eq!(as_openai(none), None, "{none}");
        }
    }
}
