//! Facts about requests that were turned away at the door. Stream: `access-{key_id}`, or `access-anonymous`. Rolled up
//! by second: the first of a second at once, the rest of it as one event, so that a flood cannot flood the log.

use serde::{Deserialize, Serialize};

use super::family::family;
use crate::limit::{LimitName, LimitedMeasure};
use crate::refusal::ErrorCode;

family! {
    /// Facts about requests that were turned away at the door.
    Access {
        /// Bad keys and missing permissions, rolled up.
        Denied(AccessDenied) "access.denied" v 1 at Anywhere;
        /// Requests above a rate limit, rolled up.
        RateLimited(AccessRateLimited) "access.rate_limited" v 1 at Anywhere;
    }
}

/// A bad key or a missing permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDenied {
    pub code: ErrorCode,
    /// How many requests this stands for.
    pub count: u64,
}

/// Requests above a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRateLimited {
    pub limit_id: LimitName,
    pub measure: LimitedMeasure,
    pub limit: u64,
    /// How many requests this stands for.
    pub count: u64,
}
