//! A stream from an Anthropic upstream to a client of the same dialect.

use bytes::BytesMut;
use intermediate::framing::Event;
use intermediate::json::{self, Edit};
use intermediate::{Metered, Receipt, UpstreamFault};
use provider_dialects::anthropic::Reader;
use provider_dialects::{StreamReader, StreamState};
use surfaces::anthropic::put_end;
use surfaces::sse::put_event;

use crate::passthrough::rewrite::{Change, plan, rewritten};

/// Most bytes of `message_delta` that are kept until the end. If there are more, the gateway writes its own.
const END_BYTES_MAX: usize = 64 * 1024;

/// Longest name of an event that is passed on.
const NAME_BYTES_MAX: usize = 64;

/// The upstream's events with the frontend model. They are measured as for a translation, by the same reader. The final
/// usage waits for the end.
pub struct AnthropicStream {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    reader: Reader,
    /// The events `message_delta`, held back for the end.
    end: BytesMut,
    /// The end was longer than is kept.
    is_end_lost: bool,
}

impl AnthropicStream {
    pub fn new(frontend_model: &str) -> Self {
        Self {
            model: json::written(frontend_model),
            reader: Reader::default(),
            end: BytesMut::new(),
            is_end_lost: false,
        }
    }

    pub fn is_complete(&self, metered: &Metered) -> bool {
        self.reader.is_complete(metered)
    }

    /// Relays one event. Returns the state of the stream, and true if the event has content.
    pub fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        out: &mut BytesMut,
    ) -> Result<(StreamState, bool), UpstreamFault> {
        let data = event.data;
        let mut has_content = false;
        let state = self.reader.event(event, metered, &mut |delta| has_content |= delta.kind.is_content())?;
        // The type, and not the name of the event, which some servers leave out.
        let kind = json::field(data, "type").and_then(json::string).unwrap_or_default();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match &*kind {
            "message_stop" => {}
            "message_start" => put_event(out, &kind, &self.renamed(data)?),
            "message_delta" => self.hold(data),
            name if name.len() <= NAME_BYTES_MAX && !name.is_empty() && name.bytes().all(is_name) => {
                put_event(out, name, data.trim_ascii().as_bytes());
            }
            // Clients ignore events without a name of theirs.
            _ => {}
        }
        Ok((state, has_content))
    }

    /// `message_start` with the frontend model.
    fn renamed(&self, data: &str) -> Result<Vec<u8>, UpstreamFault> {
        let members = json::known_members(data).collect::<Result<Vec<_>, _>>()?;
        let mut messages = members.iter().filter(|member| member.name() == "message");
        let (Some(message), None) = (messages.next(), messages.next()) else {
            return Err(UpstreamFault::Malformed("not one message at the beginning of a stream"));
        };
        let inside = json::known_members(message.value).collect::<Result<Vec<_>, _>>()?;
        let replacement = rewritten(message.value, &plan(&inside, |_| Change::Keep), &self.model);
        Ok(json::splice(data, &mut [Edit { range: message.value_span.clone(), replacement }]))
    }

    fn hold(&mut self, data: &str) {
        self.is_end_lost |= self.end.len().saturating_add(data.len()) > END_BYTES_MAX;
        if self.is_end_lost {
            self.end = BytesMut::new();
        } else {
            put_event(&mut self.end, "message_delta", data.trim_ascii().as_bytes());
        }
    }

    /// Writes the end of the stream: what was held back, or the gateway's own if the upstream sent none.
    pub fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
        if self.end.is_empty() {
            put_end(receipt, out);
        } else {
            out.extend_from_slice(&self.end);
            put_event(out, "message_stop", br#"{"type":"message_stop"}"#);
        }
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.model.capacity() + self.end.capacity() + self.reader.held_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{receipt, usage};

    fn relayed(events: &[&str]) -> (AnthropicStream, Metered, String) {
        let (mut stream, mut metered, mut out) = (AnthropicStream::new("front"), Metered::default(), BytesMut::new());
        for data in events {
            stream.event(Event { name: "message", data, is_error: false }, &mut metered, &mut out).expect("an event");
        }
        (stream, metered, String::from_utf8(out.to_vec()).expect("text"))
    }

    fn closing(stream: &AnthropicStream, metered: &Metered) -> String {
        let mut out = BytesMut::new();
        stream.close(&receipt(&usage(metered), metered), &mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    const TEXT: &str = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"x"}}"#;

    #[test]
    fn events_get_their_types_as_names_and_the_end_waits() {
        let start = r#"{"type":"message_start","x":1,"message":{"id":"msg_1","model":"claude","model":"again"}}"#;
        let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","of_tomorrow":1},"usage":{"output_tokens":3}}"#;
        let (stream, metered, out) = relayed(&[
            start,
            TEXT,
            r#"{"type":"ping"}"#,
            end,
            r#"{"type":"of_tomorrow"}"#,
            r#"{"type":"message_stop"}"#,
        ]);
        let wanted = [
            "event: message_start\ndata: {\"type\":\"message_start\",\"x\":1,\"message\":{\"id\":\"msg_1\",\"model\":\"front\"}}\n\n",
            &format!("event: content_block_start\ndata: {TEXT}\n\n"),
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            "event: of_tomorrow\ndata: {\"type\":\"of_tomorrow\"}\n\n",
        ];
        assert_eq!(out, wanted.concat());
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        assert_eq!(closing(&stream, &metered), format!("event: message_delta\ndata: {end}\n\n{stop}"));
        assert_eq!((metered.text_bytes, metered.upstream_model.as_deref()), (1, Some("claude")));
    }

    #[test]
    fn an_end_that_is_missing_or_too_long_is_the_gateways_own() {
        let (stream, metered, _) = relayed(&[TEXT]);
        assert!(closing(&stream, &metered).contains(r#""delta":{"stop_reason":"end_turn","stop_sequence":null}"#));
        let long = format!(r#"{{"type":"message_delta","x":"{}"}}"#, "x".repeat(END_BYTES_MAX));
        let (stream, metered, _) = relayed(&[TEXT, &long, r#"{"type":"message_delta"}"#]);
        assert!(closing(&stream, &metered).contains(r#""stop_reason":"end_turn""#));
        assert!(stream.held_bytes() < 1024, "{}", stream.held_bytes());
    }

    #[test]
    fn two_messages_in_one_event_are_a_fault_because_clients_would_read_the_other() {
        let (mut stream, mut metered, mut out) = (AnthropicStream::new("m"), Metered::default(), BytesMut::new());
        let data = r#"{"type":"message_start","message":{"model":"a"},"message":{"model":"b"}}"#;
        assert!(stream.event(Event { name: "message_start", data, is_error: false }, &mut metered, &mut out).is_err());
    }
}
