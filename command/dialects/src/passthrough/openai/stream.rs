//! A stream from an OpenAI-compatible upstream to a client of the OpenAI surface.

use bytes::BytesMut;

use crate::framing::Event;
use crate::passthrough::renaming::{Fate, places, renamed};
use crate::surfaces::openai::{END, put_data, put_usage_chunk};
use crate::upstreams::StreamState;
use crate::upstreams::openai::reading::{Choices, TopLevel, chunk_of, measure_choices, top_level};
use crate::{Metered, Receipt, UpstreamFault, json};

/// Bytes of a usage chunk that is kept until the end. For a longer one we write our own.
const USAGE_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A stream that goes to a client of the same dialect: chunks as they came but for the model's name, and without
/// usage where it was not asked for.
pub struct OpenAiStream {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    include_usage: bool,
    choices: Choices,
    /// The chunk that says nothing but usage, held back for the end.
    usage_chunk: Option<Vec<u8>>,
}

impl OpenAiStream {
    pub fn new(frontend_model: &str, include_usage: bool) -> Self {
        Self { model: json::written(frontend_model), include_usage, choices: Choices::default(), usage_chunk: None }
    }

    pub const fn is_complete(&self) -> bool {
        self.choices.all_finished()
    }

    /// Takes one event; the answer's second part is true if it says something.
    pub fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        out: &mut BytesMut,
    ) -> Result<(StreamState, bool), UpstreamFault> {
        match chunk_of(event, metered)? {
            Some(chunk) => Ok((StreamState::Open, self.chunk(chunk.trim_ascii(), metered, out)?)),
            None => Ok((StreamState::Ended, false)),
        }
    }

    fn chunk(&mut self, text: &str, metered: &mut Metered, out: &mut BytesMut) -> Result<bool, UpstreamFault> {
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

    /// The stream's end: the usage chunk, of our own making where the upstream sent none, if the client asked for it.
    pub fn close(&self, receipt: &Receipt<'_>, upstream_id: Option<&str>, out: &mut BytesMut) {
        match &self.usage_chunk {
            Some(chunk) => put_data(out, chunk),
            None if self.include_usage => put_usage_chunk(receipt, upstream_id, out),
            None => {}
        }
        put_data(out, END);
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.model.capacity() + self.usage_chunk.as_ref().map_or(0, Vec::capacity)
    }
}
