//! A whole answer from an OpenAI-compatible upstream to a client of the OpenAI surface: its bytes, but for the model's
//! name.

use bytes::Bytes;

use crate::json;
use crate::passthrough::renaming::{Fate, Place, places, renamed};
use crate::upstreams::openai::reading::{Choices, measure_choices, top_level};
use crate::{Metered, UpstreamFault};

pub struct OpenAiAnswer {
    body: Bytes,
    places: Vec<Place>,
}

impl OpenAiAnswer {
    /// White space around the JSON (DeepSeek keeps a connection with blank lines) is left out. Errors: no JSON object, an
    /// error in band, no choices or too many.
    pub fn read(body: &Bytes, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let body = body.slice_ref(body.trim_ascii());
        let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
        let top = top_level(text, metered)?;
        let (_, any) = measure_choices(top.choices, metered, &mut Choices::default())?;
        if !any {
            return Err(UpstreamFault::Malformed("no choices"));
        }
        let places = places(&top.members, |_| Fate::Kept);
        Ok(Self { body, places })
    }

    pub fn render(&self, frontend_model: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.to_vec() };
        renamed(text, &self.places, &json::written(frontend_model))
    }
}
