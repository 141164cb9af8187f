//! A whole answer from an OpenAI-compatible upstream to a client of the OpenAI surface: its bytes, but for the model's
//! name.

use bytes::Bytes;

use super::reading::{Choices, measure_choices, top_level};
use crate::dialect::json::{self, Edit};
use crate::dialect::{Metered, UpstreamFault};

pub struct OpenAiAnswer {
    body: Bytes,
    top: Top,
}

/// Places of the top level.
struct Top {
    /// Where the model's name stands; everywhere, should it stand there twice.
    models: Vec<std::ops::Range<usize>>,
    /// Where a member may be put before all others.
    first_member: usize,
}

impl OpenAiAnswer {
    /// Blank lines before the JSON (DeepSeek keeps a connection with them) are left out. Errors: no JSON object, an
    /// error in band, no choices.
    pub fn read(body: &Bytes, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let body = body.slice_ref(body.trim_ascii());
        let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
        let top = top_level(text, metered)?;
        let (_, any) = measure_choices(top.choices, metered, &mut Choices::default())?;
        if !any {
            return Err(UpstreamFault::Malformed("no choices"));
        }
        let models = top.members.iter().filter(|member| member.key == "model").map(|member| member.value_span.clone());
        let top =
            Top { models: models.collect(), first_member: top.members.first().map_or(1, |member| member.span.start) };
        Ok(Self { body, top })
    }

    pub fn render(&self, frontend_model: &str) -> Bytes {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.clone() };
        let mut name = Vec::with_capacity(frontend_model.len() + 2);
        json::push_string(&mut name, frontend_model);
        let mut edits: Vec<Edit> =
            self.top.models.iter().map(|range| Edit { range: range.clone(), replacement: name.clone() }).collect();
        if edits.is_empty() {
            edits.push(model_member(self.top.first_member, &name));
        }
        json::splice(text, &mut edits).into()
    }
}

/// Puts the model, `name` as a JSON string, before the first member of an object that does not say it.
pub(super) fn model_member(first_member: usize, name: &[u8]) -> Edit {
    Edit { range: first_member..first_member, replacement: [br#""model":"#, name, b","].concat() }
}
