//! Rate limits: how much their owner may ask for at a time.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Labels, NarrowedScope, Scope};
use crate::event::Shown;
use crate::ids::LimitId;
use crate::limit::{Bounds, Measure};
use crate::named;

named! {
    /// How a node applies a rate limit while it cannot count in Redis.
    #[derive(Default)]
    pub enum WhenUnshared {
        /// Admits the node's share.
        #[default]
        Local = "local",
        /// Refuses every request.
        Closed = "closed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    pub limit_id: LimitId,
    pub scope: NarrowedScope,
    #[serde(flatten)]
    pub bounds: Bounds,
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub when_unshared: WhenUnshared,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl RateLimit {
    pub const fn new(limit_id: LimitId, scope: Scope, bounds: Bounds) -> Self {
        let scope = NarrowedScope::of(scope);
        Self { limit_id, scope, bounds, when_unshared: WhenUnshared::Local, labels: Labels::none() }
    }
}

impl Shown for RateLimit {
    fn left_out() -> Value {
        let measures = Measure::words().map(|word| (word.to_owned(), Value::Null));
        let others = [("when_unshared", WhenUnshared::Local.as_str().into()), ("labels", json!({}))];
        measures.chain(others.map(|(name, value)| (name.to_owned(), value))).collect()
    }
}
