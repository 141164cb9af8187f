//! Events of circuit breakers. A target that fails again and again is left alone for a while, by all nodes: its breaker is open.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::ProviderId;
use crate::time::wire;

/// A provider's model has failed so often that requests go to other targets until then. Then one request tries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerOpened {
    pub provider_id: ProviderId,
    /// The provider's name for the model.
    pub model: String,
    /// The failed calls that counted.
    pub failures: u32,
    /// Why the last call failed, as in `inference.attempt_failed`; if any failed by an error of the target's own, the last one of these.
    pub reason: String,
    /// The HTTP status of that call, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(with = "wire")]
    pub until: DateTime<Utc>,
}

/// A provider's model has answered again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerClosed {
    pub provider_id: ProviderId,
    pub model: String,
}
