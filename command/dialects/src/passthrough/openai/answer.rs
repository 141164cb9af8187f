//! A whole response from an OpenAI-compatible upstream to a client of the OpenAI surface: its bytes, with the frontend
//! model.

use bytes::Bytes;
use intermediate::json::{self, Edit, Member};
use intermediate::{Metered, UpstreamFault};
use provider_dialects::openai::chunk::{Choices, measure_choices, top_level};

use crate::passthrough::rewrite::{Change, PlannedEdit, plan, rewritten_with};

/// See [`OpenAiAnswer::render`].
pub struct OpenAiAnswer {
    body: Bytes,
    plan: Vec<PlannedEdit>,
    /// Further edits, for strict clients.
    edits: Vec<Edit>,
}

impl OpenAiAnswer {
    /// Reads a response. Drops white space around the JSON, since DeepSeek sends blank lines as a keep-alive. Errors:
    /// not a JSON object, an error in band, no choices or too many.
    pub fn read(body: &Bytes, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let body = body.slice_ref(body.trim_ascii());
        let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
        let top = top_level(text, metered)?;
        let measured = measure_choices(text, &top, metered, &mut Choices::default())?;
        if !measured.has_choices {
            return Err(UpstreamFault::Malformed("no choices"));
        }
        let edits = measured.edits;
        Ok(Self { edits, ..Self::renaming(body.clone(), &top.members) })
    }

    /// A body with these members at its top level, of which only the model is changed.
    pub fn renaming(body: Bytes, members: &[Member<'_>]) -> Self {
        Self { body, plan: plan(members, |_| Change::Keep), edits: Vec::new() }
    }

    pub fn render(&self, frontend_model: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.to_vec() };
        rewritten_with(text, &self.plan, &json::written(frontend_model), self.edits.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_with_tool_calls_has_them_as_its_finish_reason() {
        let call = r#"{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}"#;
        for (message, reason, wanted) in [
            (format!(r#"{{"tool_calls":[{call}]}}"#), "stop", "tool_calls"),
            (format!(r#"{{"tool_calls":[{call}]}}"#), "length", "length"),
            (format!(r#"{{"tool_calls":[{call}]}}"#), "tool_calls", "tool_calls"),
            (r#"{"content":"x","tool_calls":[]}"#.to_owned(), "stop", "stop"),
            // The deprecated member has a reason of its own.
            (r#"{"function_call":{"name":"f","arguments":"{}"}}"#.to_owned(), "stop", "stop"),
        ] {
            let body = |reason: &str| {
                let other = r#"{"index":1,"message":{"content":"x"},"finish_reason":"stop"}"#;
                format!(r#"{{"model":"m","choices":[{{"message":{message},"finish_reason":"{reason}"}},{other}]}}"#)
            };
            let answer = OpenAiAnswer::read(&body(reason).into(), &mut Metered::default()).expect("an answer");
            assert_eq!(String::from_utf8(answer.render("m")).expect("text"), body(wanted));
        }
    }
}
