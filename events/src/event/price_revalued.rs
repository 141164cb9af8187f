//! The requests that a change of a price concerns have its value. Stream `revaluation-{price_id}`: a stream of its own, because it
//! is recorded at any time, and must not come between two changes of the price.

use serde::{Deserialize, Serialize};

use crate::ids::PriceId;
use crate::money::NanoUsd;

/// Every request that this version of a price concerns has been charged by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRevalued {
    pub price_id: PriceId,
    /// The log position of the price's event.
    pub version: u64,
    /// The number of requests whose charge it changed: the corrections that name this version.
    pub requests: u64,
    /// The sum of these corrections; absent if money cannot count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_usd: Option<NanoUsd>,
}
