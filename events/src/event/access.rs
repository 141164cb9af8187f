//! Events of requests that were refused before they were routed. Stream `access-{key_id}`, or `access-anonymous`. They are
//! rolled up by second, so that a flood cannot flood the log: the first is recorded at once, the rest as one event.

use serde::{Deserialize, Serialize};

use super::family::family;
use crate::limit::{LimitName, LimitedMeasure};
use crate::refusal::ErrorCode;

family! {
    /// Events of requests that were refused before they were routed.
    Access {
        /// Bad keys and missing permissions, rolled up.
        Denied(AccessDenied) "access.denied" v 1 in set 1 at Anywhere;
        /// Requests above a rate limit, rolled up.
        RateLimited(AccessRateLimited) "access.rate_limited" v 1 in set 1 at Anywhere;
    }
}

/// A bad key or a missing permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessDenied {
    pub code: ErrorCode,
    /// The number of requests that this stands for.
    pub count: u64,
}

/// Requests above a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRateLimited {
    pub limit_id: LimitName,
    pub measure: LimitedMeasure,
    pub limit: u64,
    /// The number of requests that this stands for.
    pub count: u64,
}
