//! Records what the gateway does to resources by itself, as commands do it: the rules of their kinds hold.

use events::event::{Actor, Change, Context};
use events_log::{Append, Basis, Log};
use tokio::task::JoinSet;

use super::lifecycle::{Command, Rules};
use super::names::release;
use super::store::Loaded;
use crate::admin::error::CommandError;

const ACTOR: Actor = Actor::System("environment");
/// How many changes wait for the log at a time, which records in one step those that wait together.
const AT_ONCE_MAX: usize = 512;

/// The actor of a change, and the right it acts by.
#[derive(Clone, Debug)]
pub struct Author {
    pub context: Context,
    pub basis: Basis,
}

impl Author {
    /// The gateway itself, which needs no right.
    pub fn gateway() -> Self {
        Self { context: Context::of(ACTOR), basis: Basis::default() }
    }
}

/// A change that the gateway makes to a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<R> {
    Create(R),
    /// To this state.
    Change(R),
    End(R),
}

impl<R> Step<R> {
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::End(_))
    }
}

/// Records these steps, in any order; returns the position of the last event, or 0 if there is none.
///
/// Errors: one of the steps could not be recorded; others may have been.
pub async fn record<R: Rules>(log: &Log, author: &Author, steps: Vec<Step<R>>) -> Result<u64, CommandError> {
    let (mut position, mut steps) = (0, steps.into_iter());
    loop {
        let mut recording = JoinSet::new();
        for step in steps.by_ref().take(AT_ONCE_MAX) {
            recording.spawn(record_one(log.clone(), author.clone(), step));
        }
        if recording.is_empty() {
            return Ok(position);
        }
        while let Some(recorded) = recording.join_next().await {
            let recorded = recorded.map_err(|error| CommandError::Defect(error.to_string()))?;
            position = position.max(recorded?);
        }
    }
}

async fn record_one<R: Rules>(log: Log, author: Author, step: Step<R>) -> Result<u64, CommandError> {
    let (mut loaded, command, side) = match step {
        Step::Create(made) => {
            let claim = made.claim();
            (Loaded::<R>::absent(made.id()), Command::Create(made), claim)
        }
        Step::Change(state) => {
            let loaded = Loaded::<R>::read(&log, state.id()).await?;
            let state = state.validated().map_err(|error| CommandError::of_rule(R::KIND, error))?;
            (loaded, Command::Record(Change::changed(state).into()), None)
        }
        Step::End(state) => {
            (Loaded::<R>::read(&log, state.id()).await?, Command::End, state.claim().map(|_| release(state.id())))
        }
    };
    let events = loaded.handle(command).await?;
    let Author { context, basis } = author;
    let mut append = Append { basis, ..loaded.stored.append_of(events, context) };
    append.side.extend(side);
    loaded.write(&log, append).await.map_err(|error| CommandError::of_append(R::KIND, error))
}
