//! A stream from an OpenAI-compatible upstream to a client of the OpenAI surface.

use bytes::BytesMut;

use crate::framing::Event;
use crate::passthrough::rewrite::{Change, plan, rewritten};
use crate::surfaces::openai::{END, put_data, put_usage_chunk};
use crate::upstreams::StreamState;
use crate::upstreams::openai::chunk::{Choices, TopLevel, chunk_of, measure_choices, top_level};
use crate::{Metered, Receipt, UpstreamFault, json};

/// Longest usage chunk that is kept until the end, in bytes. A longer one is replaced by the gateway's own.
const USAGE_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A stream to a client of the same dialect: the upstream's chunks with the frontend model, and without usage unless
/// the client asked for it.
pub struct OpenAiStream {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    include_usage: bool,
    choices: Choices,
    /// The usage chunk, held back for the end.
    usage_chunk: Option<Vec<u8>>,
}

impl OpenAiStream {
    pub fn new(frontend_model: &str, include_usage: bool) -> Self {
        Self { model: json::written(frontend_model), include_usage, choices: Choices::default(), usage_chunk: None }
    }

    pub const fn is_complete(&self) -> bool {
        self.choices.all_finished()
    }

    /// Relays one event. Returns the state of the stream, and true if the event has content.
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
        let (has_content, any) = measure_choices(top.choices, metered, &mut self.choices)?;
        if !any {
            // Azure's first chunk (`prompt_filter_results`) and usage chunks have an empty list of choices. Neither
            // goes to clients that did not ask for usage, and usage waits for the end. An object without a list is not
            // a chunk.
            if top.usage.is_some() {
                let is_short = text.len() <= USAGE_CHUNK_BYTES_MAX;
                self.usage_chunk = (self.include_usage && is_short).then(|| self.edited(text, &top, true));
            } else if self.include_usage && top.choices.is_some() {
                put_data(out, &self.edited(text, &top, true));
            }
            return Ok(false);
        }
        put_data(out, &self.edited(text, &top, false));
        Ok(has_content)
    }

    /// The chunk with the frontend model. The usage of an ordinary chunk becomes null, or is removed if not requested.
    fn edited(&self, text: &str, top: &TopLevel<'_>, keeps_usage: bool) -> Vec<u8> {
        let change = |name: &str| match name {
            "usage" if keeps_usage => Change::Keep,
            "usage" if self.include_usage => Change::SetNull,
            "usage" | "x_groq" if !self.include_usage => Change::Remove,
            _ => Change::Keep,
        };
        rewritten(text, &plan(&top.members, change), &self.model)
    }

    /// Writes the end of the stream: the usage chunk if the client asked for it (the gateway's own if the upstream sent
    /// none), and the terminal marker.
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
