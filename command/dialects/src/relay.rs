//! Relays a stream from an upstream to a client.

mod translation;

use bytes::{Bytes, BytesMut};
use events::content::AnswerText;
use intermediate::framing::{EVENT_BYTES_MAX, Event, FramingParser};
use intermediate::shared_dialect::SharedDialect;
use intermediate::{Metered, Receipt, UpstreamFault};
use provider_dialects::{ProviderKind, StreamState};
use surfaces::{AnyStreamWriter, StreamHead};

use super::ClientRequest;
use super::kept_calls::KeptCalls;
use super::passthrough::anthropic::AnthropicStream;
use super::passthrough::openai::OpenAiStream;
use super::passthrough::shortcut;
use translation::Translation;

/// Bytes sent per byte received, over the whole stream and beyond [`OUT_BYTES_FREE`]. An event is a few times as long
/// in another dialect, and longer if it repeats a long name.
const OUT_PER_BYTE_MAX: usize = 16;
const OUT_BYTES_FREE: usize = 64 * 1024;
/// About how many bytes the end of a stream takes that repeats nothing.
const CLOSING_BYTES: usize = 512;

/// Relays one stream, and measures everything that passes. The terminal marker and the final usage are held back:
/// [`Relay::closing`] gives them once the money is settled.
pub struct Relay {
    parser: FramingParser,
    progress: Progress,
}

struct Progress {
    kind: ProviderKind,
    metered: Metered,
    conversion: Conversion,
    bytes_in: usize,
    bytes_out: usize,
    /// The terminal marker was seen.
    ended: bool,
    /// Content was appended to `out`.
    has_relayed: bool,
}

/// How events are converted for the client.
enum Conversion {
    OpenAi(OpenAiStream),
    Anthropic(AnthropicStream),
    Translated(Box<Translation>),
}

impl Relay {
    /// `created_unix_s` dates the chunks that the gateway writes itself.
    pub fn new(
        kind: ProviderKind,
        request: &ClientRequest,
        request_id: &str,
        frontend_model: &str,
        created_unix_s: i64,
    ) -> Self {
        let include_usage = request.facts.include_usage;
        let conversion = match shortcut(request.surface(), kind) {
            Some(SharedDialect::OpenAi) => Conversion::OpenAi(OpenAiStream::new(frontend_model, include_usage)),
            Some(SharedDialect::Anthropic) => Conversion::Anthropic(AnthropicStream::new(frontend_model)),
            None => {
                let echo = &request.echo();
                let head = StreamHead { request_id, frontend_model, created_unix_s, include_usage, echo };
                let to = AnyStreamWriter::new(request.surface(), &head);
                Conversion::Translated(Box::new(Translation::new(kind, request, request_id, to)))
            }
        };
        let metered = Metered::default();
        let progress =
            Progress { kind, metered, conversion, bytes_in: 0, bytes_out: 0, ended: false, has_relayed: false };
        Self { parser: provider_dialects::of(kind).framing.parser(), progress }
    }

    /// The relay of a stream whose text goes through `answer`.
    #[must_use]
    pub fn through(mut self, answer: Option<Box<AnswerText>>) -> Self {
        self.progress.metered = Metered::of_answer(answer);
        self
    }

    /// The relay of a stream of which the client gets these tool calls, if it is translated.
    #[must_use]
    pub fn keeping(mut self, calls: KeptCalls) -> Self {
        if let Conversion::Translated(translation) = &mut self.progress.conversion {
            translation.keep(calls);
        }
        self
    }

    /// Reads upstream bytes, and appends to `out` what may go to the client now. Bytes after the terminal marker are
    /// ignored. After an error only [`Relay::metered`] may still be called.
    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let progress = &mut self.progress;
        if progress.ended {
            return Ok(());
        }
        progress.bytes_in += chunk.len();
        let fed = self.parser.feed(chunk, |event| progress.handle(event, out));
        // A fault after the marker does not matter, whether it came in the same chunk or in a later one.
        if progress.ended { Ok(()) } else { fed }
    }

    /// Bytes received of the answer. Comments and empty events are none.
    pub const fn answer_bytes(&self) -> usize {
        self.parser.answer_bytes()
    }

    /// True if the terminal marker (`[DONE]`, `message_stop`) was seen: nothing more needs to be read.
    pub const fn ended(&self) -> bool {
        self.progress.ended
    }

    /// Handles the end of the upstream's body. Errors: [`UpstreamFault::Truncated`] if the response is incomplete, that
    /// is, neither the terminal marker nor a finish reason of every choice was seen.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let progress = &mut self.progress;
        if !progress.ended {
            let last = self.parser.finish(|event| progress.handle(event, out));
            // Half an event is truncated, not malformed.
            last.map_err(|fault| match fault {
                UpstreamFault::Malformed(_) => UpstreamFault::Truncated,
                fault => fault,
            })?;
        }
        if progress.ended {
            return Ok(());
        }
        if progress.is_complete() { progress.tell_errors(out) } else { Err(UpstreamFault::Truncated) }
    }

    /// The measurements so far. Reads all usage reports, so call it at the end and not for each chunk.
    pub fn metered(&self) -> Metered {
        let mut metered = self.progress.metered.clone();
        metered.read_reports(provider_dialects::of(self.progress.kind).read_report);
        metered
    }

    /// Bytes received of an incomplete event, bytes of the text that is kept, bytes of the response that later events repeat, and
    /// about as many as those events will have: the last of them are written at once.
    pub fn buffered_bytes(&self) -> usize {
        let repeated = self.progress.writer().map_or(0, |to| to.kept_bytes().saturating_add(to.bytes_to_come()));
        self.parser.buffered_bytes().saturating_add(repeated).saturating_add(self.progress.metered.kept_bytes())
    }

    /// Events written so far, for dialects that number them; an error is one more.
    pub fn events(&self) -> u64 {
        self.progress.writer().map_or(0, AnyStreamWriter::events)
    }

    /// Bytes of memory that the stream takes.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let Progress { metered, conversion, .. } = &self.progress;
        let converting = match conversion {
            Conversion::OpenAi(stream) => stream.held_bytes(),
            Conversion::Anthropic(stream) => stream.held_bytes(),
            Conversion::Translated(translation) => translation.held_bytes(),
        };
        self.parser.held_bytes() + metered.held_bytes() + converting
    }

    /// True if `out` has had content. Until then, the bytes in `out` (a role, an opening event) may be thrown away and
    /// another target tried.
    pub const fn has_relayed(&self) -> bool {
        self.progress.has_relayed
    }

    /// The end of the stream, once its settlement is recorded. OpenAI: the usage chunk if the client asked for it, and
    /// `[DONE]`; native: `completed`; Anthropic: `message_delta` and `message_stop`.
    pub fn closing(&self, receipt: &Receipt<'_>) -> Bytes {
        self.closing_after(&[], receipt)
    }

    /// Does the same as [`Self::closing`], after bytes that the client has not been sent.
    pub fn closing_after(&self, before: &[u8], receipt: &Receipt<'_>) -> Bytes {
        // Room for all of it at once: an output that grows as it is written may take twice as much.
        let to_come = self.progress.writer().map_or(0, AnyStreamWriter::bytes_to_come);
        let mut out = BytesMut::with_capacity(before.len().saturating_add(to_come).saturating_add(CLOSING_BYTES));
        out.extend_from_slice(before);
        match &self.progress.conversion {
            Conversion::OpenAi(stream) => {
                stream.close(receipt, self.progress.metered.upstream_id.as_deref(), &mut out);
            }
            Conversion::Anthropic(stream) => stream.close(receipt, &mut out),
            Conversion::Translated(translation) => translation.writer().close(receipt, &mut out),
        }
        out.freeze()
    }
}

impl Progress {
    fn is_complete(&self) -> bool {
        match &self.conversion {
            Conversion::OpenAi(stream) => stream.is_complete(),
            Conversion::Anthropic(stream) => stream.is_complete(&self.metered),
            Conversion::Translated(translation) => translation.is_complete(&self.metered),
        }
    }

    /// Tells the client of choices that ended with an error. Errors: there is nothing else.
    fn tell_errors(&mut self, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        match &mut self.conversion {
            Conversion::Translated(translation) => translation.tell_errors(out),
            _ => Ok(()),
        }
    }

    /// `None` if the bytes are passed through.
    const fn writer(&self) -> Option<&AnyStreamWriter> {
        match &self.conversion {
            Conversion::OpenAi(_) | Conversion::Anthropic(_) => None,
            Conversion::Translated(translation) => Some(translation.writer()),
        }
    }

    /// Converts one event. Errors: a fault in it, more output than [`OUT_PER_BYTE_MAX`] allows, or more of the response
    /// to repeat in one event than an event may have.
    fn handle(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let before = out.len();
        let converted = self.convert(event, out);
        self.bytes_out += out.len() - before;
        let (kept, to_come) = self.writer().map_or((0, 0), |to| (to.kept_bytes(), to.bytes_to_come()));
        let bytes_out_max = OUT_BYTES_FREE.saturating_add(self.bytes_in.saturating_mul(OUT_PER_BYTE_MAX));
        match self.bytes_out.saturating_add(to_come) > bytes_out_max || kept > EVENT_BYTES_MAX {
            true => converted.and(Err(UpstreamFault::TooLarge)),
            false => converted,
        }
    }

    fn convert(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        if self.ended || !event.is_error && event.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let Self { metered, conversion, has_relayed, .. } = self;
        let (state, has_content) = match conversion {
            Conversion::OpenAi(stream) => stream.event(event, metered, out)?,
            Conversion::Anthropic(stream) => stream.event(event, metered, out)?,
            Conversion::Translated(translation) => translation.event(event, metered, out)?,
        };
        *has_relayed |= has_content;
        if state == StreamState::Ended {
            self.tell_errors(out)?;
            self.ended = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use surfaces::Surface;

    use super::*;
    use crate::golden::minimal_request;

    #[test]
    fn bytes_after_the_terminal_marker_are_ignored_in_the_same_chunk_and_later() {
        let stream =
            b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        for surface in [Surface::Native, Surface::OpenAi] {
            let request = minimal_request(surface, false);
            let (mut relay, mut out) = (Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0), BytesMut::new());
            assert_eq!(relay.feed(&[&stream[..], b"data: \xFF\n\n"].concat(), &mut out), Ok(()));
            assert_eq!((relay.ended(), relay.finish(&mut out)), (true, Ok(())));
        }
    }

    /// Servers before Anthropic's models write 0 into `message_delta` for what `message_start` has counted.
    #[test]
    fn the_input_of_a_streams_beginning_is_billed_although_its_end_says_none() {
        let stream = concat!(
            r#"data: {"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":9,"#,
            r#""cache_creation_input_tokens":4,"output_tokens":1}}}"#,
            "\n\n",
            r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"#,
            r#""cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":15}}"#,
            "\n\ndata: {\"type\":\"message_stop\"}\n\n",
        );
        for surface in Surface::CHAT.iter().copied() {
            let request = minimal_request(surface, false);
            let mut relay = Relay::new(ProviderKind::Anthropic, &request, "req_1", "m", 0);
            assert_eq!(relay.feed(stream.as_bytes(), &mut BytesMut::new()), Ok(()));
            let metered = relay.metered();
            let reported = metered.reported().expect("a report");
            let input = [reported.input_uncached_tokens, reported.input_cache_read_tokens];
            assert_eq!((input, reported.input_cache_write_tokens, reported.output()), ([25, 9], 4, 15), "{surface:?}");
            assert!(metered.provider_usage.is_some_and(|raw| raw.get().contains(r#""input_tokens":25"#)));
        }
    }

    #[test]
    fn an_object_without_a_list_of_choices_is_not_a_chunk() {
        let request = minimal_request(Surface::OpenAi, true);
        let (mut relay, mut out) = (Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0), BytesMut::new());
        relay.feed(b"data: {}\n\ndata: {\"type\":\"ping\"}\n\n", &mut out).unwrap();
        assert_eq!(out, "");
        relay.feed(b"data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n", &mut out).unwrap();
        assert_eq!(out, "data: {\"model\":\"m\",\"choices\":[],\"prompt_filter_results\":[]}\n\n");
    }
}
