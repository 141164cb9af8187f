//! Replays recorded requests under other budgets, rate limits, prices and routes. Read-only.
//!
//! The log is read once, in order. Up to the beginning of the period it is folded as recorded. In the period, every recorded request
//! is decided again by the ledger's own function ([`events::ledger`]) on balances that follow the rules, priced by the ledger's own
//! tariffs, and counted by the gateway's own rate limiter. The difference from what is recorded is the answer. Whatever the rules
//! leave alone comes out as it is recorded.
//!
//! Memory grows with open holds, windows of budgets, and resources of administration, but not with the length of the log.
//!
//! - `rules` reads the rules. `replay` takes one event after the other and decides again: `replay/requests.rs` follows
//!   admitted requests, `refusals.rs` has refused ones, `corrections.rs` later corrections, and `decision.rs` asks the
//!   ledger.
//! - `budgets`, `limits`, `pricing`: those under the rules. `ending` has ends as the ledger takes them, and `report` the
//!   answer.

mod budgets;
mod ending;
mod limits;
mod pricing;
mod replay;
mod report;
mod rules;

use chrono::{DateTime, Utc};
use events::event::{Recorded, Stream};
use events::ids::{ProviderId, RequestId};
use events::log::{LogError, PAGE_EVENTS, Reader};

use replay::Replay;
pub use report::{Figures, RefusedBy, RefusingRule, Report};
pub use rules::{Rules, RulesError};

/// The period in which the rules are in force, and whose requests are reported. `from` is the first instant, `to` the first one after
/// it; without them it begins and ends with the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl Period {
    pub(crate) fn has_begun(self, at: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= at)
    }

    pub(crate) fn has_ended(self, at: DateTime<Utc>) -> bool {
        self.to.is_some_and(|to| to <= at)
    }

    pub(crate) fn includes(self, at: DateTime<Utc>) -> bool {
        self.has_begun(at) && !self.has_ended(at)
    }
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum WhatIfError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// The rules name a resource that the log has never had.
    #[error("{path}: this ledger has no {id}")]
    Unknown { path: String, id: String },
    /// A route leads to a backend without a price.
    #[error("position {position}: {provider}/{model} has no price at that time: give it one under \"prices\"")]
    Unpriced { position: u64, provider: ProviderId, model: String },
    #[error("position {position}: a cost under these rules is larger than money can count")]
    Overflow { position: u64 },
    #[error("position {position}: {reason}; run `ledgerway verify`")]
    Unsound { position: u64, reason: String },
}

/// Answers what the rules would have changed. `progress` is called with the position read so far and the last one.
pub fn what_if(
    reader: &dyn Reader,
    rules: &Rules,
    period: Period,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, WhatIfError> {
    for (path, stream) in rules.named_streams() {
        if reader.stream(&stream)?.is_empty() {
            return Err(WhatIfError::Unknown { path, id: stream.id });
        }
    }
    let head = reader.head()?.position;
    let mut replay = Replay::new(rules, period);
    let mut life = |request: RequestId| reader.stream(&Stream::inference(request));
    let mut after = 0;
    while after < head {
        let page = reader.after(after, PAGE_EVENTS)?;
        for recorded in page.iter().take_while(|recorded| recorded.position <= head) {
            replay.apply(recorded, &mut life)?;
        }
        replay.end_page();
        after = page.last().map_or(head, |recorded| recorded.position);
        progress(after, head);
    }
    Ok(replay.finish())
}

/// Looks up the events of one request.
pub(crate) type LifeOf<'a> = &'a mut dyn FnMut(RequestId) -> Result<Vec<Recorded>, LogError>;
