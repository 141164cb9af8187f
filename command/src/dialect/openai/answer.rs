//! A whole answer from an OpenAI-compatible upstream to a client of the OpenAI surface: its bytes, but for the model's
//! name.

use bytes::Bytes;

use super::reading::{Choices, measure_choices, top_level};
use crate::dialect::json::{self, Edit};
use crate::dialect::{Metered, UpstreamFault};

pub struct OpenAiAnswer {
    body: Bytes,
    /// Where the model's name stands, or where a member may be put before all others.
    model: Place,
}

enum Place {
    Value(std::ops::Range<usize>),
    Absent { first_member: usize },
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
        let model = match top.members.iter().find(|member| member.key == "model") {
            Some(member) => Place::Value(member.value_span.clone()),
            None => Place::Absent { first_member: top.members.first().map_or(1, |member| member.span.start) },
        };
        Ok(Self { body, model })
    }

    pub fn render(&self, frontend_model: &str) -> Bytes {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.clone() };
        let mut name = Vec::with_capacity(frontend_model.len() + 16);
        let range = match &self.model {
            Place::Value(range) => {
                json::push_string(&mut name, frontend_model);
                range.clone()
            }
            Place::Absent { first_member } => {
                name.extend_from_slice(br#""model":"#);
                json::push_string(&mut name, frontend_model);
                name.push(b',');
                *first_member..*first_member
            }
        };
        json::splice(text, &mut [Edit { range, replacement: name }]).into()
    }
}
