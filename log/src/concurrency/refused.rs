//! The refusals for callers that find no room.

use events::limit::{BuiltInMeasure, LimitName, LimitReached, LimitedMeasure};
use events::refusal::{ErrorCode, Refusal};
use serde_json::{Value, json};

use super::{Holder, NoRoom};

impl NoRoom {
    /// The limit that was reached; `None` if it is none of the requester's own.
    pub const fn limit_reached(&self) -> Option<LimitReached> {
        match self {
            Self::Limited { measure, limit, .. } => {
                let measure = LimitedMeasure::BuiltIn(*measure);
                Some(LimitReached { name: LimitName::BuiltIn, measure, limit: *limit })
            }
            Self::Busy => None,
        }
    }

    pub fn refusal(&self) -> Refusal {
        let refusal = match self {
            Self::Limited { holder, measure, limit } => {
                Refusal::new(ErrorCode::RateLimited, message(*holder, *measure, *limit))
                    .with("limit_id", LimitName::BuiltIn.to_string())
                    .with("scope", holder.scope())
                    .with("measure", measure.as_str())
                    .with("limit", *limit)
                    .with("retry_after", Refusal::TRY_AGAIN_AFTER.as_secs())
                    .with("resets_at", Value::Null)
            }
            Self::Busy => Refusal::new(ErrorCode::QueryTimeout, "other callers use all of what is shared: try again"),
        };
        // A guess: nobody knows when a query or stream will end.
        refusal.try_again()
    }
}

impl Holder {
    fn scope(self) -> Value {
        match self {
            Self::Operator => json!({ "key_id": "operator" }),
            Self::Key(id) => json!({ "key_id": id }),
            Self::Tenant(id) => json!({ "tenant_id": id }),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "the operator's key",
            Self::Key(_) => "a key",
            Self::Tenant(_) => "a tenant",
        }
    }
}

fn message(holder: Holder, measure: BuiltInMeasure, limit: u64) -> String {
    let holder = holder.as_str();
    let has = match measure {
        BuiltInMeasure::ConcurrentQueries => format!("runs {limit} queries"),
        BuiltInMeasure::ConcurrentCommands if limit == 1 => "has one creation or change under way".to_owned(),
        BuiltInMeasure::ConcurrentCommands => format!("has {limit} commands under way"),
        BuiltInMeasure::EventStreams => format!("keeps {limit} event streams open"),
        BuiltInMeasure::UnreadBytes => {
            return format!("{holder} has {limit} bytes of answers or more still to read: read them, then try again");
        }
    };
    format!("{holder} {has}, as many as it may: try again when one of them has ended")
}
