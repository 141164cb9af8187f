//! The requests of the clients and the responses that they got. Everything that was acknowledged must stay in the log, and a
//! request that is repeated must not count twice.

use events::ids::{BudgetId, RequestId};
use events::ledger::{Admission, Ending, UnknownUsage};
use events::log::Append;

use super::books::{Books, Checked, must};
use super::facts::id;

#[derive(Default)]
pub struct Clients {
    /// The request `req_…n` has the index `n`.
    pub requests: Vec<Request>,
    pub changes: Vec<Change>,
    pub corrections: Vec<Correction>,
    pub refused: usize,
    pub denied: Denials,
    /// Acknowledged positions, with the event's name and stream.
    acknowledged: Vec<(u64, &'static str, String)>,
}

#[derive(Default)]
pub struct Denials {
    pub sent: u64,
    pub acknowledged: u64,
}

pub struct Request {
    pub admission: Admission,
    pub known_outcome: KnownOutcome,
    /// The end with figures that its client sent.
    pub ending: Option<Ending>,
    /// The end that must be recorded if the process does not die.
    pub due_end: Option<DueEnd>,
    /// The end was acknowledged.
    pub has_ended: bool,
    /// The request was sent more than once.
    pub was_repeated: bool,
    /// The request was refused, and its refusal has no event of its own.
    pub was_only_counted: bool,
}

/// An end that the process knows of, with figures or by a client that disconnected.
#[derive(Clone, Copy)]
pub struct DueEnd {
    /// The number of the process.
    pub process: u32,
    pub charged: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownOutcome {
    Unknown,
    Held,
    Refused,
    /// An error, which means that nothing was recorded.
    Failed,
}

pub struct Change {
    pub budget: BudgetId,
    pub append: Append,
    pub applied_at: Option<u64>,
}

/// Corrections by one version of a price.
pub struct Correction {
    pub version: u64,
    /// The numbers of the requests, with their values.
    pub values: Vec<(usize, i64)>,
    pub is_acknowledged: bool,
}

impl Clients {
    /// Notes that a client was told of this event.
    pub fn acknowledge(&mut self, position: u64, name: &'static str, stream: String) {
        self.acknowledged.push((position, name, stream));
    }

    /// Checks that everything acknowledged is in the log, and that every charge is allowed.
    pub fn check(&self, books: &Books, policy: UnknownUsage) -> Checked {
        for (position, name, stream) in &self.acknowledged {
            let found = books.at(*position);
            must(found.is_some_and(|(_, on)| on == stream), || {
                format!("position {position} was acknowledged on {stream}, and is {found:?}")
            })?;
            // The end of a hold has several names.
            let has_name =
                found.is_some_and(|(is, _)| is == name || (*name == "budget.*" && is.starts_with("budget.")));
            must(has_name, || format!("position {position} was acknowledged as {name}, and is {found:?}"))?;
        }
        for (number, request) in self.requests.iter().enumerate() {
            request.check(id(number), books, policy).map_err(|reason| format!("request {number}: {reason}"))?;
        }
        for Correction { version, values, .. } in self.corrections.iter().filter(|other| other.is_acknowledged) {
            for (number, value) in values {
                let is_valued = books.account(id(*number)).is_some_and(|account| account.is_valued(*version, *value));
                must(is_valued, || format!("request {number} was to be {value} by version {version}"))?;
            }
        }
        let Denials { sent, acknowledged } = self.denied;
        must((acknowledged..=sent).contains(&books.denied), || {
            format!("{} denials are counted of {acknowledged} acknowledged and {sent} sent", books.denied)
        })
    }

    /// Checks that every end that this process was given is recorded. The clients must have been silent for longer than any
    /// hold lasts.
    pub fn check_at_rest(&self, books: &Books, process: u32) -> Checked {
        for (number, request) in self.requests.iter().enumerate() {
            let Some(end) = request.due_end.filter(|end| end.process == process) else { continue };
            let charged = books.account(id(number)).and_then(|account| account.charged);
            must(charged.is_none_or(|charged| charged == end.charged), || {
                format!("request {number} was left with a charge of {}, and {charged:?} are charged", end.charged)
            })?;
        }
        Ok(())
    }
}

impl Request {
    fn check(&self, request: RequestId, books: &Books, policy: UnknownUsage) -> Checked {
        let Some(account) = books.account(request) else {
            return must(self.known_outcome != KnownOutcome::Held, || {
                "its hold was acknowledged and is gone".to_owned()
            });
        };
        must(self.known_outcome != KnownOutcome::Failed, || {
            "it is admitted, but its client was told that it is not".to_owned()
        })?;
        let acknowledged = self.ending.as_ref().map(|ending| ending.charge.amount().nanos());
        let Some(charged) = account.charged else {
            return must(!self.has_ended, || "its end was acknowledged, and its hold is open".to_owned());
        };
        if self.has_ended {
            return must(Some(charged) == acknowledged, || {
                format!("{charged} are charged, and {acknowledged:?} were acknowledged")
            });
        }
        let by_policy = match policy {
            UnknownUsage::ChargeHold => account.held,
            UnknownUsage::Release => 0,
        };
        // A client that disconnects, or never takes its hold, releases it.
        let allowed = [Some(by_policy), acknowledged, self.ending.is_none().then_some(0)];
        must(allowed.contains(&Some(charged)), || format!("{charged} are charged, which is none of {allowed:?}"))
    }
}
