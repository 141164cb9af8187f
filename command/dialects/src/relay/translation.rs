//! A stream on its way from the upstream's dialect to another one.

use bytes::BytesMut;
use intermediate::chat::{ANSWER_BLOCKS_MAX, CallIds};
use intermediate::delta::{Delta, DeltaKind};
use intermediate::framing::Event;
use intermediate::metered::Metered;
use intermediate::{FinishReason, UpstreamFault};
use provider_dialects::{AnyStreamReader, ProviderKind, StreamState};
use surfaces::AnyStreamWriter;

use crate::ClientRequest;
use crate::kept_calls::{FirstCalls, KeptCalls};

/// Ends of choices with an error that are kept: a client can ask for as many choices.
const ERROR_ENDS_MAX: usize = 128;

pub struct Translation {
    from: AnyStreamReader,
    client: Client,
}

/// The client's side of the stream.
struct Client {
    to: AnyStreamWriter,
    /// For calls that the upstream gave no id; `None` if the writer makes ids of its own.
    ids: Option<CallIds>,
    /// If the client gets the first call alone.
    first_calls: Option<FirstCalls>,
    /// If the client's dialect has no word for a choice that ended with an error.
    errors: Option<ErrorEnds>,
}

impl Translation {
    pub fn new(kind: ProviderKind, request: &ClientRequest, request_id: &str, to: AnyStreamWriter) -> Self {
        let ids = (!matches!(to, AnyStreamWriter::Anthropic(_))).then(|| CallIds::of(request_id));
        let errors = (!request.surface().spec().has_error_reason).then(ErrorEnds::default);
        Self { from: AnyStreamReader::of(kind), client: Client { to, ids, first_calls: None, errors } }
    }

    pub fn keep(&mut self, calls: KeptCalls) {
        self.client.first_calls = (calls == KeptCalls::First).then(FirstCalls::default);
    }

    pub const fn writer(&self) -> &AnyStreamWriter {
        &self.client.to
    }

    pub fn is_complete(&self, metered: &Metered) -> bool {
        self.from.is_complete(metered)
    }

    /// Translates one event; true if the client was given content. Errors: a fault in it, or too many blocks.
    pub fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        out: &mut BytesMut,
    ) -> Result<(StreamState, bool), UpstreamFault> {
        let Self { from, client } = self;
        let (mut has_too_many, mut has_content) = (false, false);
        let state = from.event(event, metered, &mut |delta: Delta<'_>| {
            // The end of a choice comes after its last block.
            has_too_many |= delta.block > ANSWER_BLOCKS_MAX;
            if !has_too_many {
                has_content |= client.write(delta, out);
            }
        })?;
        match has_too_many {
            true => Err(UpstreamFault::TooLarge),
            false => Ok((state, has_content)),
        }
    }

    /// Tells the client of choices that ended with an error. Errors: there is nothing else.
    pub fn tell_errors(&mut self, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        match &mut self.client.errors {
            Some(errors) => errors.tell(&mut self.client.to, out),
            None => Ok(()),
        }
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let Client { to, first_calls, errors, .. } = &self.client;
        let ends = errors.as_ref().map_or(0, |errors| errors.ends.capacity() * size_of::<(u32, usize)>());
        self.from.held_bytes() + to.held_bytes() + first_calls.as_ref().map_or(0, FirstCalls::held_bytes) + ends
    }
}

impl Client {
    /// Writes a delta, if the client gets it; true if that is content.
    fn write(&mut self, delta: Delta<'_>, out: &mut BytesMut) -> bool {
        let kept = match &mut self.first_calls {
            Some(first_calls) => first_calls.kept(delta),
            None => Some(delta),
        };
        let Some(delta) = kept else { return false };
        if self.errors.as_mut().is_some_and(|errors| errors.keeps(&delta)) {
            return false;
        }
        let is_content = delta.kind.is_content();
        match (delta, self.ids) {
            (Delta { choice, block, kind: DeltaKind::CallBegins { ordinal, id: "", name, signature } }, Some(ids)) => {
                let id = &ids.id(choice, ordinal);
                let kind = DeltaKind::CallBegins { ordinal, id, name, signature };
                self.to.write(&Delta { choice, block, kind }, out);
            }
            (delta, _) => self.to.write(&delta, out),
        }
        is_content
    }
}

/// Choices that ended with an error, for clients whose dialect has no word for that. They are told if another choice is
/// good; otherwise the stream is an error, once the usage that may follow is read.
#[derive(Default)]
struct ErrorEnds {
    /// The numbers of the choices, and of the blocks after their last.
    ends: Vec<(u32, usize)>,
    /// A choice has ended without an error.
    has_good: bool,
}

impl ErrorEnds {
    /// Keeps the end of a choice if it is an error; true if it does.
    fn keeps(&mut self, delta: &Delta<'_>) -> bool {
        let DeltaKind::Finish(reason) = delta.kind else { return false };
        self.has_good |= reason != FinishReason::Error;
        let keeps = reason == FinishReason::Error && self.ends.len() < ERROR_ENDS_MAX;
        if keeps {
            self.ends.push((delta.choice, delta.block));
        }
        keeps
    }

    /// Tells the kept ends. Errors: there is nothing else.
    fn tell(&mut self, to: &mut AnyStreamWriter, out: &mut BytesMut) -> Result<(), UpstreamFault> {
        if !self.ends.is_empty() && !self.has_good {
            return Err(UpstreamFault::UNEXPLAINED);
        }
        for (choice, block) in self.ends.drain(..) {
            to.write(&Delta { choice, block, kind: DeltaKind::Finish(FinishReason::Error) }, out);
        }
        Ok(())
    }
}
