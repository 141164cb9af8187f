//! Loads and saves aggregates: folds the last events of a stream, handles a command, and appends its events, provided that the
//! stream has not changed meanwhile.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::event::{Context, Event, Recorded, Stream};
use events_log::{Append, AppendError, Log};
use projections::resource::Lifetime;

use super::lifecycle::{Command, Fact, Lifecycle, Rules};
use crate::admin::error::CommandError;

/// An aggregate that was loaded from the log.
#[derive(Debug)]
pub struct Loaded<R: Rules> {
    pub lifecycle: Lifecycle<R>,
    stream: Stream,
    sequence: u64,
    /// The log position of its last event; 0 if it does not exist.
    pub position: u64,
    /// `None` if it does not exist.
    pub lifetime: Option<Lifetime>,
}

impl<R: Rules> Loaded<R> {
    /// An aggregate that does not exist yet.
    pub fn absent(id: impl std::fmt::Display) -> Self {
        let stream = Stream::new(R::KIND, id);
        Self { lifecycle: Lifecycle::Absent, stream, sequence: 0, position: 0, lifetime: None }
    }

    /// The aggregate at `position`; `None` means now. It is folded from the last event of each type: a change carries the
    /// whole state, so no earlier one matters.
    /// Errors: the log cannot be read; the stream has an event of another kind.
    pub async fn read(log: &Log, id: impl std::fmt::Display, position: Option<u64>) -> Result<Self, CommandError> {
        let mut loaded = Self::absent(id);
        let stream = loaded.stream.clone();
        for recorded in log.read(move |reader| reader.last_of_each_type(&stream, position)).await? {
            let Recorded { position, recorded_at, sequence, event, .. } = recorded;
            let fact = Fact::of(R::KIND, event).map_err(|foreign| CommandError::Defect(foreign.to_string()))?;
            loaded.lifecycle.apply(fact);
            (loaded.sequence, loaded.position) = (sequence, position);
            loaded.lifetime = Some(loaded.lifetime_at(recorded_at));
        }
        Ok(loaded)
    }

    /// The lifetime after an event of this time.
    fn lifetime_at(&self, recorded_at: chrono::DateTime<chrono::Utc>) -> Lifetime {
        let created_at = self.lifetime.map_or(recorded_at, |lifetime| lifetime.created_at);
        let ended_before = self.lifetime.and_then(|lifetime| lifetime.ended_at);
        let ended = matches!(self.lifecycle, Lifecycle::Ended(_));
        Lifetime { created_at, ended_at: ended.then_some(ended_before.unwrap_or(recorded_at)) }
    }

    /// Handles the command: the events to append, or none if it changes nothing.
    pub async fn handle(&mut self, command: Command<R>) -> Result<Vec<Event>, CommandError> {
        let sink = EventSink::default();
        let handled = self.lifecycle.handle(command, &(), &sink).await;
        handled.map_err(|error| CommandError::of_rule(R::KIND, error))?;
        Ok(sink.collect().await.into_iter().map(|Fact(fact)| fact.into()).collect())
    }

    /// The append of these events alone, if the stream has not changed meanwhile.
    pub fn append_of(&self, events: Vec<Event>, context: Context) -> Append {
        Append::new(self.stream.clone(), self.sequence, events, context)
    }

    /// Appends the events that `handle` returned; nothing if there are none.
    pub async fn write(mut self, log: &Log, append: Append) -> Result<Self, AppendError> {
        if append.events.is_empty() {
            return Ok(self);
        }
        let appended = log.append(append).await?;
        self.sequence += appended.last - appended.first + 1;
        self.position = appended.last;
        self.lifetime = Some(self.lifetime_at(appended.recorded_at));
        Ok(self)
    }
}
