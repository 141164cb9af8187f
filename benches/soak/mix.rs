//! The mix of requests in a soak. It is the same in every run: request N always has the same kind.

use std::sync::Arc;

use harness::admin::{Account, Admin, OPERATOR_KEY};
use harness::connection::Expected;
use harness::fixed_rate::Request;
use harness::request;
use serde_json::json;
use testing::upstream::prepared::model;

const STREAM_TOKENS: u64 = 8;
/// The client aborts a stream after this many events.
const EVENTS_BEFORE_ABORT: usize = 3;
// The number of requests of each kind in a hundred; the rest are queries.
const WHOLE: u64 = 70;
const STREAMS: u64 = 22;
const ABORTS: u64 = 2;
const REFUSALS: u64 = 3;
const CHANGES: u64 = 1;
/// Coprime to a hundred, so that the kinds alternate.
const STRIDE: u64 = 37;
const QUERIES: [&str; 5] = [
    "/v1/usage?group_by=model,hour",
    "/v1/budgets?limit=20",
    "/v1/inferences?limit=10",
    "/v1/audit?limit=20",
    "/v1/log/head",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Whole,
    Stream,
    /// The client closes the connection in the middle of a stream.
    Abort,
    /// The key's budget is empty.
    Refused,
    /// An admin changes a limit or a budget.
    Change,
    Query,
}

impl Kind {
    pub const fn of(number: u64) -> Self {
        const AFTER_STREAMS: u64 = WHOLE + STREAMS;
        const AFTER_ABORTS: u64 = AFTER_STREAMS + ABORTS;
        const AFTER_REFUSALS: u64 = AFTER_ABORTS + REFUSALS;
        const AFTER_CHANGES: u64 = AFTER_REFUSALS + CHANGES;
        match number * STRIDE % 100 {
            0..WHOLE => Self::Whole,
            WHOLE..AFTER_STREAMS => Self::Stream,
            AFTER_STREAMS..AFTER_ABORTS => Self::Abort,
            AFTER_ABORTS..AFTER_REFUSALS => Self::Refused,
            AFTER_REFUSALS..AFTER_CHANGES => Self::Change,
            _ => Self::Query,
        }
    }

    fn expected(self) -> Expected {
        match self {
            Self::Whole => Expected::Whole { ending: r#""completion_tokens":9,"total_tokens":21}}"# },
            Self::Stream => Expected::Stream { tokens: usize::try_from(STREAM_TOKENS).unwrap_or_default() },
            Self::Refused => Expected::Status(429),
            Self::Abort | Self::Change | Self::Query => Expected::Status(200),
        }
    }
}

/// The requests of one gateway.
pub struct Mix {
    whole: Arc<[u8]>,
    stream: Arc<[u8]>,
    refused: Arc<[u8]>,
    queries: Vec<Arc<[u8]>>,
    account: Account,
}

impl Mix {
    pub fn new(admin: Admin, account: Account) -> Self {
        let poor = admin.create_key_with_empty_budget(&account);
        Self {
            whole: request::whole(&account.secret).into(),
            stream: request::stream(model::PACED, STREAM_TOKENS, &account.secret).into(),
            refused: request::whole(&poor).into(),
            queries: QUERIES.iter().map(|path| request::with_body("GET", path, OPERATOR_KEY, b"").into()).collect(),
            account,
        }
    }

    pub fn request(&self, number: u64) -> Request {
        let kind = Kind::of(number);
        let abort_after = (kind == Kind::Abort).then_some(EVENTS_BEFORE_ABORT);
        Request { bytes: self.bytes(kind, number), expected: kind.expected(), abort_after }
    }

    fn bytes(&self, kind: Kind, number: u64) -> Arc<[u8]> {
        match kind {
            Kind::Whole => Arc::clone(&self.whole),
            Kind::Stream | Kind::Abort => Arc::clone(&self.stream),
            Kind::Refused => Arc::clone(&self.refused),
            Kind::Change => self.change(number),
            Kind::Query => {
                // The queries take turns from one hundred requests to the next.
                let at = usize::try_from(number / 100).unwrap_or_default() % self.queries.len();
                self.queries.get(at).map_or_else(|| Arc::clone(&self.whole), Arc::clone)
            }
        }
    }

    /// A new value each time, so that every request changes something.
    fn change(&self, number: u64) -> Arc<[u8]> {
        let (path, body) = if (number / 100).is_multiple_of(2) {
            let body = json!({ "requests_per_minute": 100_000_000 + number });
            (format!("/v1/admin/rate-limits/{}", self.account.rate_limit), body)
        } else {
            let body = json!({ "limit_usd": (1_000_000 + number).to_string() });
            (format!("/v1/admin/budgets/{}", self.account.budget), body)
        };
        request::with_body("PATCH", &path, OPERATOR_KEY, body.to_string().as_bytes()).into()
    }
}
