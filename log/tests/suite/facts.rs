//! Sample events for the tests of the log: those of the ledger's tests, and what it takes to append and to check them.

use std::sync::Arc;

use events::event::admin::Budget;
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::ids::BudgetId;
use events::time::ManualClock;
use events_log::verify::{Depth, Sound, VerifyError};
use events_log::{Append, Basis, Reader};

#[path = "../../../events/tests/suite/facts.rs"]
mod ledger_facts;

pub use ledger_facts::{admission, budget, context, ended, ending, id, start};

/// The context of an event in SQL, also if it is stored once for many.
pub const WHOLE_CONTEXT: &str = "coalesce((SELECT json_set(context, '$.request_id', aggregate_id) FROM contexts
    WHERE number = CAST(metadata AS INTEGER)), metadata)";

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(start()))
}

pub fn opened(budget: Budget) -> Event {
    Event::from(Change::created(budget))
}

/// An append of one event to a stream that had `before` events.
pub fn append(kind: StreamKind, number: BudgetId, before: u64, event: Event) -> Append {
    Append {
        stream: Stream::new(kind, number),
        expected_sequence: before,
        events: vec![event],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    }
}

/// The check of a log without models and prices.
pub fn verify(reader: &dyn Reader) -> Result<Sound, VerifyError> {
    events_log::verify::verify(reader, Depth::Ledger, &mut |_, _| {})
}
