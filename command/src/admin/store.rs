//! Where aggregates come from and go to: the last events of a stream are read and folded, a command is handled, and what
//! it brings forth is appended by the log's one writer, where the stream has not moved on meanwhile.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use events::event::{Context, Event, Recorded, Stream};
use events::log::{Append, AppendError, Basis, Idempotency, Log, LogError, SideRow};
use projections::resource::Lifetime;

use super::lifecycle::{CommandOf, Fact, Lifecycle, Rules};
use crate::admin::error::CommandError;

/// An aggregate as the log has it.
#[derive(Debug)]
pub struct Loaded<R: Rules> {
    pub lifecycle: Lifecycle<R>,
    stream: Stream,
    sequence: u64,
    /// Log position of its last event; 0 for one that does not exist.
    pub position: u64,
    /// `None` for one that does not exist.
    pub lifetime: Option<Lifetime>,
}

/// A command and what goes along with its facts.
pub struct Write<R: Rules> {
    pub command: CommandOf<R>,
    pub context: Context,
    pub side: Vec<SideRow>,
    pub idempotency: Option<Idempotency>,
    pub basis: Basis,
}

/// Why nothing was written.
pub enum Unwritten<E> {
    Refused(E),
    Append(AppendError),
}

impl<R: Rules> Loaded<R> {
    /// One that is still to be made.
    pub fn absent(id: impl std::fmt::Display) -> Self {
        let stream = Stream::new(R::KIND, id);
        Self { lifecycle: Lifecycle::Absent, stream, sequence: 0, position: 0, lifetime: None }
    }

    /// As it stood at `position`, the newest where that is `None`. Folded from the last event of each type: a change
    /// carries the whole state, so that none before the last one matters.
    /// Errors: the log cannot be read; an event of another kind stands on the stream.
    pub async fn read(log: &Log, id: impl std::fmt::Display, position: Option<u64>) -> Result<Self, CommandError> {
        let mut loaded = Self::absent(id);
        let stream = loaded.stream.clone();
        for recorded in log.read(move |reader| reader.last_of_each_type(&stream, position)).await? {
            loaded.take(recorded)?;
        }
        Ok(loaded)
    }

    fn take(&mut self, recorded: Recorded) -> Result<(), CommandError> {
        let Recorded { position, recorded_at, sequence, event, .. } = recorded;
        let fact = Fact::of(R::KIND, event).map_err(|foreign| CommandError::Defect(foreign.to_string()))?;
        self.lifecycle.apply(fact);
        (self.sequence, self.position) = (sequence, position);
        self.lifetime = Some(self.lifetime_at(recorded_at));
        Ok(())
    }

    /// What the lifetime is once an event of this time has been applied.
    fn lifetime_at(&self, recorded_at: chrono::DateTime<chrono::Utc>) -> Lifetime {
        let created_at = self.lifetime.map_or(recorded_at, |lifetime| lifetime.created_at);
        let ended_before = self.lifetime.and_then(|lifetime| lifetime.ended_at);
        let ended = matches!(self.lifecycle, Lifecycle::Ended(_));
        Lifetime { created_at, ended_at: ended.then_some(ended_before.unwrap_or(recorded_at)) }
    }

    /// Handles the command and appends its facts. A command without facts appends nothing, and changes nothing.
    pub async fn write(mut self, log: &Log, write: Write<R>) -> Result<Self, Unwritten<R::Error>> {
        let sink = EventSink::default();
        self.lifecycle.handle(write.command, &(), &sink).await.map_err(Unwritten::Refused)?;
        let events: Vec<Event> = sink.collect().await.into_iter().map(|Fact(fact)| fact.into()).collect();
        if events.is_empty() {
            return Ok(self);
        }
        let count = u64::try_from(events.len()).map_err(|_| overflow())?;
        let append = Append {
            stream: self.stream.clone(),
            expected_sequence: self.sequence,
            events,
            context: write.context,
            side: write.side,
            idempotency: write.idempotency,
            basis: write.basis,
        };
        let appended = log.append(append).await.map_err(Unwritten::Append)?;
        self.sequence += count;
        self.position = appended.last;
        self.lifetime = Some(self.lifetime_at(appended.recorded_at));
        Ok(self)
    }
}

const fn overflow<E>() -> Unwritten<E> {
    Unwritten::Append(AppendError::Unavailable(LogError::Overflow))
}
