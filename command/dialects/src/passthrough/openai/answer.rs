//! A whole response from an OpenAI-compatible upstream to a client of the OpenAI surface: its bytes, with the frontend
//! model.

use bytes::Bytes;
use intermediate::json::{self, Member};
use intermediate::{Metered, UpstreamFault};
use provider_dialects::openai::chunk::{Choices, measure_choices, top_level};

use crate::passthrough::rewrite::{Change, PlannedEdit, plan, rewritten};

/// See [`OpenAiAnswer::render`].
pub struct OpenAiAnswer {
    body: Bytes,
    plan: Vec<PlannedEdit>,
}

impl OpenAiAnswer {
    /// Reads a response. Drops white space around the JSON, since DeepSeek sends blank lines as a keep-alive. Errors:
    /// not a JSON object, an error in band, no choices or too many.
    pub fn read(body: &Bytes, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let body = body.slice_ref(body.trim_ascii());
        let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
        let top = top_level(text, metered)?;
        let has_choices = measure_choices(&top, metered, &mut Choices::default())?.has_choices;
        if !has_choices {
            return Err(UpstreamFault::Malformed("no choices"));
        }
        Ok(Self::renaming(body.clone(), &top.members))
    }

    /// A body with these members at its top level, of which only the model is changed.
    pub fn renaming(body: Bytes, members: &[Member<'_>]) -> Self {
        Self { body, plan: plan(members, |_| Change::Keep) }
    }

    pub fn render(&self, frontend_model: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.to_vec() };
        rewritten(text, &self.plan, &json::written(frontend_model))
    }
}
