//! A stream from an OpenAI-compatible upstream to a client of the OpenAI surface.

use bytes::BytesMut;

use crate::dialects::passthrough::renaming::{Fate, places, renamed};
use crate::dialects::surfaces::openai::put_data;
use crate::dialects::upstreams::openai::reading::{Choices, TopLevel, measure_choices, top_level};
use crate::dialects::{Metered, UpstreamFault, json};

/// Bytes of a usage chunk that is kept until the end. For a longer one we write our own.
const USAGE_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A stream that goes to a client of the same dialect: chunks as they came but for the model's name, and without
/// usage where it was not asked for.
pub struct Passthrough {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    include_usage: bool,
    choices: Choices,
    /// The chunk that says nothing but usage, held back for the end.
    usage_chunk: Option<Vec<u8>>,
}

impl Passthrough {
    pub fn new(frontend_model: &str, include_usage: bool) -> Self {
        let mut model = Vec::with_capacity(frontend_model.len() + 2);
        json::push_string(&mut model, frontend_model);
        Self { model, include_usage, choices: Choices::default(), usage_chunk: None }
    }

    pub const fn is_complete(&self) -> bool {
        self.choices.all_finished()
    }

    /// Takes one chunk; true if it says something.
    pub fn chunk(&mut self, text: &str, metered: &mut Metered, out: &mut BytesMut) -> Result<bool, UpstreamFault> {
        let top = top_level(text, metered)?;
        let (said, any) = measure_choices(top.choices, metered, &mut self.choices)?;
        if !any {
            // Azure's first chunk (`prompt_filter_results`) and usage chunks have an empty list of choices: neither is
            // for clients that did not ask, and usage waits for the end. What has no list at all is no chunk.
            if top.usage.is_some() {
                let is_short = text.len() <= USAGE_CHUNK_BYTES_MAX;
                self.usage_chunk = (self.include_usage && is_short).then(|| self.edited(text, &top, true));
            } else if self.include_usage && top.choices.is_some() {
                put_data(out, &self.edited(text, &top, true));
            }
            return Ok(false);
        }
        put_data(out, &self.edited(text, &top, false));
        Ok(said)
    }

    /// With our model's name, also where it has none; a report on an ordinary chunk becomes null, or goes altogether.
    fn edited(&self, text: &str, top: &TopLevel<'_>, keeps_usage: bool) -> Vec<u8> {
        let fate = |name: &str| match name {
            "usage" if keeps_usage => Fate::Kept,
            "usage" if self.include_usage => Fate::Null,
            "usage" | "x_groq" if !self.include_usage => Fate::Removed,
            _ => Fate::Kept,
        };
        renamed(text, &places(&top.members, fate), &self.model)
    }

    /// The usage chunk, if the client is to have it and the upstream sent one.
    pub fn usage_chunk(&self) -> Option<&[u8]> {
        self.usage_chunk.as_deref()
    }

    pub const fn wants_usage(&self) -> bool {
        self.include_usage
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.model.capacity() + self.usage_chunk.as_ref().map_or(0, Vec::capacity)
    }
}
