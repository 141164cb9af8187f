//! One stream on its way from an upstream to a client.

use bytes::{Bytes, BytesMut};

use super::delta::{Delta, DeltaKind};
use super::framing::{Event, FrameParser};
use super::passthrough::openai::OpenAiStream;
use super::passthrough::shortcut;
use super::shared_dialect::SharedDialect;
use super::surfaces::{AnyStreamWriter, StreamHead};
use super::upstreams::{self, AnyStreamReader, ProviderKind, StreamState};
use super::{ClientRequest, Metered, Receipt, UpstreamFault};

/// Bytes for the client that a byte of the upstream may become, over the whole stream, beyond the first so many. An event
/// is a few times as long in another dialect, more where it repeats a long name.
const OUT_PER_BYTE_MAX: usize = 16;
const OUT_BYTES_FREE: usize = 64 * 1024;

/// Relays one stream: bytes in, bytes out, and everything that passes is measured. The terminal marker and what carries
/// the final usage are held back: they come from [`Relay::closing`], once the money is settled.
pub struct Relay {
    parser: FrameParser,
    progress: Progress,
}

struct Progress {
    kind: ProviderKind,
    metered: Metered,
    conversion: Conversion,
    /// Bytes that came, and those that they became.
    came: usize,
    gave: usize,
    /// The terminal marker was seen.
    ended: bool,
    relayed: bool,
}

/// What becomes of the events.
enum Conversion {
    Passthrough(OpenAiStream),
    Translated { from: AnyStreamReader, to: AnyStreamWriter },
}

impl Relay {
    /// `created_unix_s` is for chunks that we make ourselves.
    pub fn new(
        kind: ProviderKind,
        request: &ClientRequest,
        request_id: &str,
        frontend_model: &str,
        created_unix_s: i64,
    ) -> Self {
        let include_usage = request.include_usage();
        let conversion = match shortcut(request.surface(), kind) {
            Some(SharedDialect::OpenAi) => Conversion::Passthrough(OpenAiStream::new(frontend_model, include_usage)),
            None => {
                let head = StreamHead { request_id, frontend_model, created_unix_s, include_usage };
                let to = AnyStreamWriter::new(request.surface(), &head);
                Conversion::Translated { from: AnyStreamReader::of(kind), to }
            }
        };
        let metered = Metered::default();
        let progress = Progress { kind, metered, conversion, came: 0, gave: 0, ended: false, relayed: false };
        Self { parser: upstreams::of(kind).framing.parser(), progress }
    }

    /// Takes upstream bytes and appends to `out` what may go to the client now. What comes behind the terminal marker
    /// is not looked at. After an error the relay is of no more use, but [`Relay::metered`] still holds.
    pub fn feed(&mut self, chunk: &[u8], out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let progress = &mut self.progress;
        if progress.ended {
            return Ok(());
        }
        progress.came += chunk.len();
        let fed = self.parser.feed(chunk, |event| progress.take(event, out));
        // What is wrong behind the marker does not matter, whether it came with it or a moment later.
        if progress.ended { Ok(()) } else { fed }
    }

    /// The terminal marker (`[DONE]`, `message_stop`) was seen: nothing more needs to be read.
    pub const fn ended(&self) -> bool {
        self.progress.ended
    }

    /// The upstream's body has ended. Errors: [`UpstreamFault::Truncated`] where the answer is not complete: neither
    /// the terminal marker nor the finish reason of every choice was seen.
    pub fn finish(&mut self, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let progress = &mut self.progress;
        if !progress.ended {
            let last = self.parser.finish(|event| progress.take(event, out));
            // Half an event is not malformed, it is cut off.
            last.map_err(|fault| match fault {
                UpstreamFault::Malformed(_) => UpstreamFault::Truncated,
                fault => fault,
            })?;
        }
        if progress.ended || progress.is_complete() { Ok(()) } else { Err(UpstreamFault::Truncated) }
    }

    /// What has gone through so far. Reads all reports: to be asked for at the end, not with every chunk.
    pub fn metered(&self) -> Metered {
        let mut metered = self.progress.metered.clone();
        metered.read_reports(upstreams::of(self.progress.kind).reported);
        metered
    }

    /// What has come of an event that is not whole.
    pub const fn buffered_bytes(&self) -> usize {
        self.parser.buffered_bytes()
    }

    /// What is kept until the stream ends, or its event.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let Progress { metered, conversion, .. } = &self.progress;
        let converting = match conversion {
            Conversion::Passthrough(stream) => stream.held_bytes(),
            Conversion::Translated { from, to } => from.held_bytes() + to.held_bytes(),
        };
        self.parser.held_bytes() + metered.held_bytes() + converting
    }

    /// Something with content was handed out. Until then what stands in `out` (a role, an opening event) may still be
    /// thrown away and another target tried.
    pub const fn has_relayed(&self) -> bool {
        self.progress.relayed
    }

    /// The stream's end, once its settlement is a fact. OpenAI: the usage chunk if the client asked for it, and
    /// `[DONE]`; native: `completed`.
    pub fn closing(&self, receipt: &Receipt<'_>) -> Bytes {
        let mut out = BytesMut::with_capacity(512);
        match &self.progress.conversion {
            Conversion::Passthrough(stream) => {
                stream.close(receipt, self.progress.metered.upstream_id.as_deref(), &mut out);
            }
            Conversion::Translated { to, .. } => to.close(receipt, &mut out),
        }
        out.freeze()
    }
}

impl Progress {
    fn is_complete(&self) -> bool {
        match &self.conversion {
            Conversion::Passthrough(stream) => stream.is_complete(),
            Conversion::Translated { from, .. } => from.is_complete(&self.metered),
        }
    }

    /// Hands on what an event says, as far as there is a measure in it.
    fn take(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        let before = out.len();
        let taken = self.tell(event, out);
        self.gave += out.len() - before;
        match self.gave > OUT_BYTES_FREE.saturating_add(self.came.saturating_mul(OUT_PER_BYTE_MAX)) {
            true => taken.and(Err(UpstreamFault::TooLarge)),
            false => taken,
        }
    }

    fn tell(&mut self, event: Event<'_>, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        if self.ended || event.data.trim_ascii().is_empty() {
            return Ok(());
        }
        let Self { metered, conversion, ended, relayed, .. } = self;
        let state = match conversion {
            Conversion::Passthrough(stream) => {
                let (state, says_something) = stream.event(event, metered, out)?;
                *relayed |= says_something;
                state
            }
            Conversion::Translated { from, to } => from.event(event, metered, &mut |delta: Delta<'_>| {
                *relayed |= !matches!(delta.kind, DeltaKind::Finish(_));
                to.write(&delta, out);
            })?,
        };
        *ended = state == StreamState::Ended;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Surface;
    use crate::golden::asking;

    #[test]
    fn what_comes_with_the_end_matters_as_little_as_what_comes_behind_it() {
        let said =
            b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        for surface in [Surface::Native, Surface::OpenAi] {
            let request = asking(surface, false);
            let (mut relay, mut out) = (Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0), BytesMut::new());
            assert_eq!(relay.feed(&[&said[..], b"data: \xFF\n\n"].concat(), &mut out), Ok(()));
            assert_eq!((relay.ended(), relay.finish(&mut out)), (true, Ok(())));
        }
    }

    #[test]
    fn what_has_no_list_of_choices_is_no_chunk() {
        let request = asking(Surface::OpenAi, true);
        let (mut relay, mut out) = (Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0), BytesMut::new());
        relay.feed(b"data: {}\n\ndata: {\"type\":\"ping\"}\n\n", &mut out).unwrap();
        assert_eq!(out, "");
        relay.feed(b"data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n", &mut out).unwrap();
        assert_eq!(out, "data: {\"model\":\"m\",\"choices\":[],\"prompt_filter_results\":[]}\n\n");
    }
}
