//! Loads and saves aggregates: reads the last events of a stream, folds them, handles a command, and appends its events, provided
//! that the stream has not changed meanwhile.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::event::{Context, Event, Recorded, Stream, StreamKind};
use events_log::{Append, AppendError, Appended, Log};
use projections::resource::Lifetime;

use super::lifecycle::{Command, Fact, Lifecycle, Rules};
use crate::admin::error::CommandError;

/// The stream of a resource, with its last event of each type: a change carries the whole state, so no earlier one matters.
#[derive(Clone, Debug)]
pub struct StoredStream {
    pub stream: Stream,
    /// In their order; empty if the resource does not exist.
    pub events: Vec<Recorded>,
}

impl StoredStream {
    /// The stream of a resource that does not exist yet.
    pub fn absent(kind: StreamKind, id: impl std::fmt::Display) -> Self {
        Self { stream: Stream::new(kind, id), events: Vec::new() }
    }

    /// The stream at `position`; `None` means now.
    pub async fn read(log: &Log, stream: Stream, position: Option<u64>) -> Result<Self, CommandError> {
        Ok(Self::read_all(log, vec![stream], position).await?.remove(0))
    }

    /// The streams at `position`, in the same order.
    pub async fn read_all(log: &Log, streams: Vec<Stream>, position: Option<u64>) -> Result<Vec<Self>, CommandError> {
        let read = log.read(move |reader| {
            let one = |stream| Ok(Self { events: reader.last_of_each_type(&stream, position)?, stream });
            streams.into_iter().map(one).collect()
        });
        Ok(read.await?)
    }

    /// The log position of its last event; 0 if there is none.
    pub fn position(&self) -> u64 {
        self.events.last().map_or(0, |last| last.position)
    }

    fn sequence(&self) -> u64 {
        self.events.last().map_or(0, |last| last.sequence)
    }

    /// The append of these events alone, if the stream has not changed meanwhile.
    pub fn append_of(&self, events: Vec<Event>, context: Context) -> Append {
        Append::new(self.stream.clone(), self.sequence(), events, context)
    }

    /// Adds events that were appended, as the log has them. Returns how many.
    pub fn extend(&mut self, events: Vec<Event>, context: &Context, appended: Appended) -> u64 {
        let count = events.len() as u64;
        for (position, event) in (appended.first..).zip(events) {
            let (stream, sequence, recorded_at) = (self.stream.clone(), self.sequence() + 1, appended.recorded_at);
            self.events.push(Recorded { position, recorded_at, stream, sequence, context: context.clone(), event });
        }
        count
    }
}

/// An aggregate that was loaded from the log.
#[derive(Debug)]
pub struct Loaded<R: Rules> {
    pub lifecycle: Lifecycle<R>,
    pub stored: StoredStream,
    /// `None` if it does not exist.
    pub lifetime: Option<Lifetime>,
}

impl<R: Rules> Loaded<R> {
    /// An aggregate that does not exist yet.
    pub fn absent(id: impl std::fmt::Display) -> Self {
        Self { lifecycle: Lifecycle::Absent, stored: StoredStream::absent(R::KIND, id), lifetime: None }
    }

    /// The aggregate after the events of its stream.
    ///
    /// Errors: the stream has an event of another kind.
    pub fn of(stored: StoredStream) -> Result<Self, CommandError> {
        let (mut lifecycle, mut lifetime) = (Lifecycle::<R>::Absent, None);
        for Recorded { recorded_at, event, .. } in &stored.events {
            let fact = Fact::of(R::KIND, event.clone()).map_err(|foreign| CommandError::Defect(foreign.to_string()))?;
            lifecycle.apply(fact);
            let Lifetime { created_at, ended_at } =
                lifetime.unwrap_or(Lifetime { created_at: *recorded_at, ended_at: None });
            let ended = matches!(lifecycle, Lifecycle::Ended(_));
            lifetime = Some(Lifetime { created_at, ended_at: ended.then_some(ended_at.unwrap_or(*recorded_at)) });
        }
        Ok(Self { lifecycle, stored, lifetime })
    }

    /// The state of an aggregate that exists, also after its end.
    pub fn state(&self) -> Result<&R::State, CommandError> {
        self.lifecycle.state().ok_or(CommandError::NotFound { kind: R::KIND })
    }

    pub async fn read(log: &Log, id: impl std::fmt::Display) -> Result<Self, CommandError> {
        Self::of(StoredStream::read(log, Stream::new(R::KIND, id), None).await?)
    }

    /// Handles the command: the events to append, or none if it changes nothing.
    pub async fn handle(&mut self, command: Command<R>) -> Result<Vec<Event>, CommandError> {
        let sink = EventSink::default();
        let handled = self.lifecycle.handle(command, &(), &sink).await;
        handled.map_err(|error| CommandError::of_rule(R::KIND, error))?;
        Ok(sink.collect().await.into_iter().map(|Fact(fact)| fact.into()).collect())
    }

    /// Appends the events that `handle` returned; nothing if there are none. Returns the position of the aggregate's last event.
    pub async fn write(&self, log: &Log, append: Append) -> Result<u64, AppendError> {
        if append.events.is_empty() { Ok(self.stored.position()) } else { Ok(log.append(append).await?.last) }
    }
}
