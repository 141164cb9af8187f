//! The offline check: trusts nothing but the events, and holds what stands beside them against their fold. Read-only,
//! on one snapshot, whether or not a process serves the folder. It stops at the first position that is not sound.

mod books;
mod lives;

use std::collections::HashMap;

use crate::event::{Recorded, Stream};
use crate::log::{LogError, Reader};
use books::Books;
use lives::Lives;

/// Events read at a time.
const PAGE: usize = 2000;

/// What was found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Last position that was looked at: all up to it are there.
    pub events: u64,
    /// Requests whose hold has not ended.
    pub open_holds: u64,
}

/// Why a log is not sound, or could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The first position at which something is wrong, and what.
    #[error("position {position}: {reason}")]
    Broken { position: u64, reason: String },
    /// The rows beside the log are not what the events up to that position say.
    #[error("the state as of position {position}: {reason}")]
    BesideTheLog { position: u64, reason: String },
    #[error(transparent)]
    Unreadable(#[from] LogError),
}

/// Checks order, life cycles, costs, every prefix of every budget, balances and open holds.
pub fn verify(reader: &Reader) -> Result<Sound, VerifyError> {
    // One snapshot: a writer that goes on meanwhile does not move the balances from under the fold.
    reader.connection().execute_batch("BEGIN").map_err(LogError::from)?;
    let found = Check::new(reader).and_then(|check| check.run(reader));
    let _ = reader.connection().execute_batch("COMMIT");
    found
}

struct Check {
    /// Position as of which the rows beside the log were written.
    state_at: u64,
    last: Option<Place>,
    sequences: HashMap<Stream, u64>,
    lives: Lives,
    books: Books,
}

/// Where the check stands.
#[derive(Clone, Copy)]
struct Place {
    position: u64,
    recorded_at: chrono::DateTime<chrono::Utc>,
}

impl Check {
    fn new(reader: &Reader) -> Result<Self, VerifyError> {
        let state_at = books::state_position(reader.connection())?;
        let check =
            Self { state_at, last: None, sequences: HashMap::new(), lives: Lives::default(), books: Books::default() };
        check.state(reader, 0)?;
        Ok(check)
    }

    fn run(mut self, reader: &Reader) -> Result<Sound, VerifyError> {
        loop {
            let position = self.last.map_or(0, |last| last.position);
            let page = match reader.after(position, PAGE) {
                Ok(page) => page,
                Err(error) => return Err(self.unreadable(reader, error)),
            };
            if page.is_empty() {
                return self.finish();
            }
            for recorded in &page {
                self.take(recorded)?;
                self.state(reader, recorded.position)?;
            }
        }
    }

    fn take(&mut self, recorded: &Recorded) -> Result<(), VerifyError> {
        let broken = |reason: String| VerifyError::Broken { position: recorded.position, reason };
        self.order(recorded).map_err(broken)?;
        self.sequence(recorded).map_err(broken)?;
        self.lives.take(recorded).map_err(broken)?;
        self.books.take(recorded).map_err(broken)?;
        self.last = Some(Place { position: recorded.position, recorded_at: recorded.recorded_at });
        Ok(())
    }

    fn order(&self, recorded: &Recorded) -> Result<(), String> {
        let wanted = self.last.map_or(1, |last| last.position + 1);
        if recorded.position != wanted {
            return Err(format!("position {wanted} is missing"));
        }
        match self.last {
            Some(last) if recorded.recorded_at < last.recorded_at => {
                Err("it was recorded before the event in front of it".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Streams of requests are forgotten when the request is over: nothing but a correction may follow.
    fn sequence(&mut self, recorded: &Recorded) -> Result<(), String> {
        use crate::event::{Event, StreamKind};
        if matches!(recorded.stream.kind, StreamKind::Inference | StreamKind::Hold) {
            let wanted = match &recorded.event {
                Event::BudgetAdjusted(_) => return Ok(()),
                Event::InferenceRefused(_) => 1,
                _ => self.sequences.get(&recorded.stream).copied().unwrap_or(0) + 1,
            };
            must_be(recorded, wanted)?;
            if lives::is_last(&recorded.event) {
                self.sequences.remove(&recorded.stream);
            } else {
                self.sequences.insert(recorded.stream.clone(), wanted);
            }
            return Ok(());
        }
        let last = self.sequences.entry(recorded.stream.clone()).or_default();
        *last += 1;
        must_be(recorded, *last)
    }

    /// Holds the rows beside the log against the fold, at the position that they are of.
    fn state(&self, reader: &Reader, position: u64) -> Result<(), VerifyError> {
        if position != self.state_at {
            return Ok(());
        }
        self.books.compare(reader.connection())?.map_err(|reason| VerifyError::BesideTheLog { position, reason })
    }

    fn finish(self) -> Result<Sound, VerifyError> {
        let position = self.last.map_or(0, |last| last.position);
        self.lives.finish().map_err(|reason| VerifyError::Broken { position, reason })?;
        if self.state_at > position {
            let reason = format!("the log ends at position {position}");
            return Err(VerifyError::BesideTheLog { position: self.state_at, reason });
        }
        Ok(Sound { events: position, open_holds: self.books.open_holds() })
    }

    /// Which event it is that cannot be read.
    fn unreadable(&mut self, reader: &Reader, error: LogError) -> VerifyError {
        if !matches!(error, LogError::Decode(_) | LogError::Stored(_)) {
            return error.into();
        }
        loop {
            let position = self.last.map_or(0, |last| last.position);
            match reader.after(position, 1).as_deref() {
                Ok([recorded]) => {
                    if let Err(broken) = self.take(recorded) {
                        return broken;
                    }
                }
                Ok(_) => return error.into(),
                Err(reason) => {
                    return VerifyError::Broken {
                        position: position + 1,
                        reason: format!("it cannot be read: {reason}"),
                    };
                }
            }
        }
    }
}

fn must_be(recorded: &Recorded, wanted: u64) -> Result<(), String> {
    if recorded.sequence == wanted {
        return Ok(());
    }
    Err(format!("{} continues with {}, not {wanted}", recorded.stream, recorded.sequence))
}
