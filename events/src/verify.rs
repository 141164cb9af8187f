//! The offline check: trusts nothing but the events, and holds what stands beside them against their fold. Read-only,
//! whether or not a process serves the folder, and names the first position that is not sound.
//!
//! Three threads share the work: the caller's reads rows, one decodes them, one folds them, a few pages apart. What is
//! kept does not grow with the log but with what is open: requests that have not ended, resources of administration
//! (models, keys and prices by version), and windows of budgets.

mod alerts;
mod beside;
mod books;
mod costs;
mod open_requests;
mod order;
mod owners;
mod pages;
mod references;
mod streams;
mod structure;

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::event::{Event, Hold, Inference, Recorded};
use crate::log::owners::Owner;
use crate::log::{LogError, Reader};
use alerts::Alerts;
use beside::Beside;
use books::Books;
use open_requests::OpenRequests;
use order::Order;
use owners::Owners;
use pages::{Histories, Page, RawPage, Unreadable};
use references::References;
use streams::Streams;
use structure::Structure;

/// Pages that one thread may be ahead of the next.
const PAGES_AHEAD: usize = 4;

/// What was found sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Last position that was looked at: all up to it are there.
    pub events: u64,
    /// Requests whose hold has not ended.
    pub open_holds: u64,
}

/// How much of an event is held against others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the log and the ledger promise whoever appends: order, life cycles, money and budgets.
    Ledger,
    /// Also what the gateway promises of its requests: the model, key and prices that they name are there and fit, and
    /// nothing was charged that was not priced.
    Gateway,
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
    #[error("start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl VerifyError {
    /// Where it is broken; `None` where it could not be looked at.
    pub const fn position(&self) -> Option<u64> {
        match self {
            Self::Broken { position, .. } | Self::BesideTheLog { position, .. } => Some(*position),
            Self::Unreadable(_) | Self::Thread(_) => None,
        }
    }
}

/// Checks order, life cycles, costs, every prefix of every budget, balances and open holds.
pub fn verify(reader: &dyn Reader) -> Result<Sound, VerifyError> {
    verify_to(reader, Depth::Ledger)
}

/// Checks as deep as is asked for, up to the position at which the log stands now.
pub fn verify_to(reader: &dyn Reader, depth: Depth) -> Result<Sound, VerifyError> {
    verify_watched(reader, depth, &mut |_, _| {})
}

/// The same, telling now and then which position was read, and which is the last.
pub fn verify_watched(
    reader: &dyn Reader,
    depth: Depth,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<Sound, VerifyError> {
    let beside = Beside::read(reader)?;
    let head = beside.head;
    let mut streams = Streams::new(head);
    let (raw_out, raw_in) = sync_channel::<RawPage>(PAGES_AHEAD);
    let (spare_out, spare_in) = sync_channel(PAGES_AHEAD);
    let (page_out, page_in) = sync_channel(PAGES_AHEAD);
    let (read, folded) = thread::scope(|scope| {
        let decode = move || {
            for mut raw in raw_in {
                // Nobody takes a page any more once something is broken.
                if page_out.send(raw.decode()).is_err() {
                    return;
                }
                // Its memory is used again; where that is not waited for, it is freed.
                let _ = spare_out.try_send(raw);
            }
        };
        named("verify-decode").spawn_scoped(scope, decode)?;
        let fold = move || Check::new(beside, depth).run(&page_in);
        let fold = named("verify-fold").spawn_scoped(scope, fold)?;
        let exchange = pages::Exchange { full: &raw_out, spare: &spare_in };
        let read = pages::read(reader, head, &exchange, &mut streams, watch);
        drop(raw_out);
        let folded = fold.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok::<_, VerifyError>((read, folded))
    })?;
    let folded = folded.and_then(|check| read.and_then(|()| check.finish(reader)));
    let streams = streams.finish(reader);
    earliest(folded, streams)
}

fn named(thread: &str) -> thread::Builder {
    thread::Builder::new().name(thread.to_owned())
}

/// Of two checks of the same log: the first position that either names.
fn earliest(folded: Result<Sound, VerifyError>, streams: Result<(), VerifyError>) -> Result<Sound, VerifyError> {
    match (folded, streams) {
        (folded, Ok(())) => folded,
        (Ok(_), Err(error)) => Err(error),
        (Err(a), Err(b)) => match (a.position(), b.position()) {
            (Some(at), Some(other)) if other < at => Err(b),
            (None, Some(_)) => Err(b),
            _ => Err(a),
        },
    }
}

struct Check {
    depth: Depth,
    order: Order,
    lives: OpenRequests,
    references: References,
    books: Books,
    alerts: Alerts,
    owners: Owners<Owner>,
    beside: Beside,
    structure: Structure,
}

impl Check {
    fn new(beside: Beside, depth: Depth) -> Self {
        Self {
            depth,
            order: Order::default(),
            lives: OpenRequests::new(depth),
            references: References::default(),
            books: Books::default(),
            alerts: Alerts::default(),
            owners: Owners::default(),
            beside,
            structure: Structure::default(),
        }
    }

    /// Folds what comes until there is no more.
    fn run(mut self, pages: &Receiver<Page>) -> Result<Self, VerifyError> {
        self.hold_against_state(0)?;
        for page in pages {
            for row in page.rows {
                let recorded = row.map_err(|Unreadable { position, reason }| self.unreadable(position, reason))?;
                let position = recorded.position;
                self.take(&recorded, &page.histories).map_err(|reason| VerifyError::Broken { position, reason })?;
                self.hold_against_state(position)?;
            }
            self.books.forget_changes();
        }
        Ok(self)
    }

    /// A row that is no event; one that stands at the wrong place is named by what is missing.
    fn unreadable(&self, position: u64, reason: String) -> VerifyError {
        let reason = match self.order.follows(position) {
            Ok(()) => format!("it cannot be read: {reason}"),
            Err(missing) => missing,
        };
        VerifyError::Broken { position, reason }
    }

    fn take(&mut self, recorded: &Recorded, histories: &Histories) -> Result<(), String> {
        self.order.take(recorded)?;
        self.structure.take(recorded);
        self.lives.must_go_on(recorded)?;
        self.alerts.take(recorded)?;
        match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => {
                if self.depth == Depth::Gateway {
                    self.references.must_fit(recorded, admitted)?;
                }
                self.lives.begin(recorded, admitted)?;
            }
            Event::Hold(Hold::Reserved(reserved)) => {
                let life = self.lives.hold(recorded, reserved)?;
                self.books.must_bind_all(recorded, reserved, life)?;
            }
            Event::Inference(Inference::AttemptFailed(attempt)) => {
                let life = self.lives.attempt(recorded, attempt)?;
                costs::of_failed_call_must_be_right(attempt, life, &self.references, self.depth)?;
            }
            Event::Inference(Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended)) => {
                let life = self.lives.end(recorded, ended)?;
                costs::must_be_right(ended, life, &self.references, self.depth)?;
            }
            Event::Hold(Hold::Settled(settled)) => self.lives.settle(recorded, settled)?,
            Event::Hold(Hold::Released(_)) => self.lives.release(recorded)?,
            Event::Hold(Hold::Expired(expired)) => self.lives.expire(recorded, expired)?,
            Event::Hold(Hold::Adjusted(adjusted)) => open_requests::must_correct(recorded, adjusted, histories)?,
            Event::Inference(Inference::Refused(refused)) => self.lives.refuse(recorded, refused)?,
            Event::Resource(fact) => self.references.take(recorded.position, fact),
            // Of these, order and balances are all that there is to check.
            _ => {}
        }
        self.owners.take(recorded);
        self.books.fold(recorded)?;
        self.alerts.owe(&recorded.event, self.books.balances());
        Ok(())
    }

    /// Holds the rows beside the log against the fold, at the position that they are of.
    fn hold_against_state(&self, position: u64) -> Result<(), VerifyError> {
        if position != self.beside.state_at {
            return Ok(());
        }
        let found = self.beside.must_equal(self.books.balances(), &self.owners);
        found.map_err(|reason| VerifyError::BesideTheLog { position, reason })
    }

    fn finish(self, reader: &dyn Reader) -> Result<Sound, VerifyError> {
        let position = self.order.position();
        self.lives
            .finish()
            .and_then(|()| self.alerts.must_be_said())
            .map_err(|reason| VerifyError::Broken { position, reason })?;
        if self.beside.state_at > position {
            let reason = format!("the log ends at position {position}");
            return Err(VerifyError::BesideTheLog { position: self.beside.state_at, reason });
        }
        self.structure.must_be_sound(reader, position)?;
        Ok(Sound { events: position, open_holds: self.books.balances().open_holds().count() as u64 })
    }
}
