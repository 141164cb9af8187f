//! The end of a model's life: deprecated from one day on, retired from another.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::time::wire;

/// When a model is deprecated and retired, and which one takes its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// From then on, its answers say that it is deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire::option")]
    pub deprecated_at: Option<DateTime<Utc>>,
    /// From then on, it does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wire::option")]
    pub retires_at: Option<DateTime<Utc>>,
    /// The name of the model to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

impl Retirement {
    /// Whether a date of it is known.
    pub const fn has_dates(&self) -> bool {
        self.deprecated_at.is_some() || self.retires_at.is_some()
    }

    /// Since when it is deprecated; `None` if it is not yet.
    pub fn deprecated_since(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.deprecated_at.filter(|since| *since <= at)
    }

    /// Since when it is retired; `None` if it is not yet.
    pub fn retired_since(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.retires_at.filter(|since| *since <= at)
    }
}
