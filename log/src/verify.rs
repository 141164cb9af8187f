//! The offline check of a log. It trusts only the events: it folds them again, compares everything stored next to them with
//! the fold, and names the first unsound position. Read-only, whether or not a process serves the folder.
//!
//! It checks that positions and streams have no gaps, that each request is admitted, held and ended exactly once, that costs
//! follow from tokens and prices, also those that were corrected later, that every prefix of every budget is within its limit, and that balances, open holds and
//! indexes match the events. It does not repair, and it cannot detect a consistent forgery: the log has no signatures.
//!
//! It shares the fold of balances and the arithmetic of prices with the gateway. Life cycles and references are checked by rules
//! of their own, not by the code that writes the events. Three threads share the work, a few pages apart: the caller's reads
//! rows, one decodes them, one folds them. Memory grows with open requests, windows of budgets and versions of
//! administrative resources, but not with the length of the log; requests are dropped when they end, and the sequences of
//! streams are checked along their index instead of being kept.

mod alerts;
mod books;
mod copies;
mod costs;
mod memberships;
mod open_requests;
mod order;
mod owners;
mod pages;
mod part;
mod price_lists;
mod references;
mod request;
mod request_rules;
mod revaluations;
mod stored_state;
mod streams;
mod structure;

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use events::event::{Event, Hold, Inference, Recorded};

use crate::owners::Owner;
use crate::{LogError, Reader};
use alerts::Alerts;
use books::Books;
use order::OrderCheck;
use owners::Owners;
use pages::{DecodedPage, Histories, RawPage};
pub use part::{CheckedPart, PartCheck};
pub use request::{BrokenRequest, check_request};
use request_rules::RequestRules;
use stored_state::StoredState;
use streams::Streams;
use structure::Structure;

/// Maximum number of pages that one thread may be ahead of the next.
const PAGES_AHEAD: usize = 4;

/// The result for a sound log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// The last position that was checked: none before it is missing.
    pub events: u64,
    /// The number of open holds.
    pub open_holds: u64,
}

/// How thoroughly events are compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The guarantees of the log and the ledger: order, life cycles, money and budgets.
    Ledger,
    /// Also the guarantees of the gateway: the model, key and prices that a request names exist and match it, and everything
    /// charged was priced.
    Gateway,
}

/// The log is not sound, or could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The first unsound position, and what is wrong there.
    #[error("position {position}: {reason}")]
    Broken { position: u64, reason: String },
    /// The rows or indexes next to the events do not match the events up to this position.
    #[error("the state as of position {position}: {reason}")]
    StoredState { position: u64, reason: String },
    #[error(transparent)]
    Unreadable(#[from] LogError),
    #[error("start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl VerifyError {
    /// The unsound position; `None` if the log could not be checked.
    pub const fn position(&self) -> Option<u64> {
        match self {
            Self::Broken { position, .. } | Self::StoredState { position, .. } => Some(*position),
            Self::Unreadable(_) | Self::Thread(_) => None,
        }
    }
}

/// Checks to the given depth, up to the log's current head. Calls `progress` with the position read so far and the last one.
pub fn verify(reader: &dyn Reader, depth: Depth, progress: &mut dyn FnMut(u64, u64)) -> Result<Sound, VerifyError> {
    let stored_state = StoredState::read(reader)?;
    let head = stored_state.head;
    let mut streams = Streams::new(head);
    let (raw_out, raw_in) = sync_channel::<RawPage>(PAGES_AHEAD);
    let (spare_out, spare_in) = sync_channel(PAGES_AHEAD);
    let (page_out, page_in) = sync_channel(PAGES_AHEAD);
    let (read, folded) = thread::scope(|scope| {
        let decode = move || {
            for mut raw in raw_in {
                // The fold stops taking pages at the first unsound position.
                if page_out.send(raw.decode()).is_err() {
                    return;
                }
                // Return the page's memory for reuse; if there is no room, it is freed.
                let _ = spare_out.try_send(raw);
            }
        };
        named("verify-decode").spawn_scoped(scope, decode)?;
        let fold = move || Check::new(stored_state, depth).run(&page_in);
        let fold = named("verify-fold").spawn_scoped(scope, fold)?;
        let exchange = pages::Exchange { full: &raw_out, spare: &spare_in };
        let read = pages::read(reader, head, &exchange, &mut streams, progress);
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

/// The result of two checks of the same log: the earlier unsound position.
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
    order: OrderCheck,
    requests: RequestRules,
    books: Books,
    alerts: Alerts,
    owners: Owners<Owner>,
    stored_state: StoredState,
    structure: Structure,
}

impl Check {
    fn new(stored_state: StoredState, depth: Depth) -> Self {
        Self {
            depth,
            order: OrderCheck::default(),
            requests: RequestRules::default(),
            books: Books::default(),
            alerts: Alerts::default(),
            owners: Owners::default(),
            stored_state,
            structure: Structure::default(),
        }
    }

    /// Checks pages until there are no more.
    fn run(mut self, pages: &Receiver<DecodedPage>) -> Result<Self, VerifyError> {
        self.compare_with_stored_state(0)?;
        for page in pages {
            for (position, row) in page.rows {
                let recorded = row.map_err(|reason| self.unreadable(position, &reason))?;
                self.check(&recorded, &page.histories).map_err(|reason| VerifyError::Broken { position, reason })?;
                self.compare_with_stored_state(position)?;
            }
            // Nothing writes rows here, and the list of changes must not grow.
            self.books.balances.rows_are_written();
        }
        Ok(self)
    }

    /// The error for a row that is not a readable event. If positions are missing before it, that is reported instead.
    fn unreadable(&self, position: u64, reason: &str) -> VerifyError {
        let reason = match self.order.follows(position) {
            Ok(()) => format!("it cannot be read: {reason}"),
            Err(missing) => missing,
        };
        VerifyError::Broken { position, reason }
    }

    fn check(&mut self, recorded: &Recorded, histories: &Histories) -> Result<(), String> {
        self.order.check(recorded)?;
        self.structure.count(recorded);
        self.requests.must_continue(recorded)?;
        self.alerts.check(recorded)?;
        if let Event::Inference(Inference::Admitted(admitted)) = &recorded.event
            && self.depth == Depth::Gateway
        {
            self.requests.references.must_fit(recorded, admitted)?;
        }
        if let Event::Hold(Hold::Reserved(reserved)) = &recorded.event {
            let open = self.requests.hold(recorded, reserved)?;
            self.books.must_bind_all(recorded, reserved, open)?;
        }
        let before = histories.get(&recorded.position).map(Vec::as_slice).unwrap_or_default();
        if let Event::Inference(Inference::Admitted(admitted)) = &recorded.event
            && let Some(copied) = admitted.shadow_of
        {
            copies::must_be_of_answered_request(copied, before)?;
        }
        self.requests.check(recorded, before, self.depth)?;
        self.owners.add_event(recorded);
        self.books.fold(recorded)?;
        self.alerts.expect(&recorded.event, &self.books.balances);
        Ok(())
    }

    /// Compares the stored state with the fold, at the position that the state is as of.
    fn compare_with_stored_state(&self, position: u64) -> Result<(), VerifyError> {
        if position != self.stored_state.state_at {
            return Ok(());
        }
        let compared = self.stored_state.must_equal(&self.books.balances, &self.owners);
        compared.map_err(|reason| VerifyError::StoredState { position, reason })
    }

    fn finish(self, reader: &dyn Reader) -> Result<Sound, VerifyError> {
        let position = self.order.position;
        self.requests
            .finish()
            .and_then(|()| self.alerts.must_be_announced())
            .map_err(|reason| VerifyError::Broken { position, reason })?;
        if self.stored_state.state_at > position {
            let reason = format!("the log ends at position {position}");
            return Err(VerifyError::StoredState { position: self.stored_state.state_at, reason });
        }
        self.structure.must_be_sound(reader, position)?;
        Ok(Sound { events: position, open_holds: self.books.balances.open_holds().count() as u64 })
    }
}
