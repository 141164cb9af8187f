//! What the clients asked for and what they were told; who was told that a thing is a fact must find it in the log for
//! ever, and nothing may count twice whatever was said, lost and said again.

use events::ids::{BudgetId, RequestId};
use events::ledger::{Admission, Ending, UnknownUsage};
use events::log::Append;

use super::books::{Books, Checked, must};
use super::facts::id;

#[derive(Default)]
pub struct Clients {
    /// Number `n` is the request `req_…n`.
    pub requests: Vec<Request>,
    pub changes: Vec<Change>,
    pub refused: usize,
    /// Denials whose record was acknowledged, and those that were sent.
    pub denied: (u64, u64),
    /// Positions that were acknowledged, with the event's name and stream.
    acknowledged: Vec<(u64, &'static str, String)>,
}

pub struct Request {
    pub admission: Admission,
    pub known_outcome: KnownOutcome,
    /// The one end that its client or the client's absence made.
    pub ending: Option<Ending>,
    /// What must come of it if the process lives on.
    pub left: Option<Left>,
    /// Whether the end was acknowledged.
    pub has_ended: bool,
    /// Whether it was sent more than once.
    pub was_repeated: bool,
}

/// An end, with figures or by a client that went away, that the process knows of.
#[derive(Clone, Copy)]
pub struct Left {
    /// The number of the process that knows it.
    pub process: u32,
    pub charged: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownOutcome {
    Nothing,
    Held,
    Refused,
    /// That nothing was recorded.
    Failed,
}

pub struct Change {
    pub budget: BudgetId,
    pub append: Append,
    pub applied_at: Option<u64>,
}

impl Clients {
    /// A fact that somebody was told stands at that position.
    pub fn acknowledge(&mut self, position: u64, name: &'static str, stream: String) {
        self.acknowledged.push((position, name, stream));
    }

    /// Nothing that was acknowledged is lost, and nothing counts that must not.
    pub fn check(&self, books: &Books, policy: UnknownUsage) -> Checked {
        for (position, name, stream) in &self.acknowledged {
            let found = books.at(*position);
            must(found.is_some_and(|(_, on)| on == stream), || {
                format!("position {position} was acknowledged on {stream}, and is {found:?}")
            })?;
            // The end of a hold has several names.
            let is_it = found.is_some_and(|(is, _)| is == name || (*name == "budget.*" && is.starts_with("budget.")));
            must(is_it, || format!("position {position} was acknowledged as {name}, and is {found:?}"))?;
        }
        for (number, request) in self.requests.iter().enumerate() {
            request.check(id(number), books, policy).map_err(|reason| format!("request {number}: {reason}"))?;
        }
        let (heard, sent) = self.denied;
        must((heard..=sent).contains(&books.denied), || {
            format!("{} denials are counted of {heard} acknowledged and {sent} sent", books.denied)
        })
    }

    /// Checks that no end that this process was given is lost: everybody has been silent for longer than any hold lasts.
    pub fn check_at_rest(&self, books: &Books, life: u32) -> Checked {
        for (number, request) in self.requests.iter().enumerate() {
            let Some(left) = request.left.filter(|left| left.process == life) else { continue };
            let charged = books.account(id(number)).and_then(|account| account.charged);
            must(charged.is_none_or(|charged| charged == left.charged), || {
                format!("request {number} was left with a charge of {}, and {charged:?} are charged", left.charged)
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
            "it is admitted, and its client was told that it is not".to_owned()
        })?;
        let wanted = self.ending.as_ref().map(|ending| ending.charge.amount().nanos());
        let Some(charged) = account.charged else {
            return must(!self.has_ended, || "its end was acknowledged, and its hold is open".to_owned());
        };
        if self.has_ended {
            return must(Some(charged) == wanted, || {
                format!("{charged} are charged, and {wanted:?} were acknowledged")
            });
        }
        let by_policy = match policy {
            UnknownUsage::ChargeHold => account.held,
            UnknownUsage::Release => 0,
        };
        // A client that has gone, or whose hold was never taken, releases it.
        let allowed = [Some(by_policy), wanted, self.ending.is_none().then_some(0)];
        must(allowed.contains(&Some(charged)), || format!("{charged} are charged, which is none of {allowed:?}"))
    }
}
