//! Prices of backends, each from an instant on.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Labels, Origin};
use crate::event::Shown;
use crate::ids::{PriceId, ProviderId};
use crate::money::{GivenRates, Tariff};
use crate::time::wire;

/// A price. It is in force from `effective_from` until a later one of the same backend is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub price_id: PriceId,
    pub provider_id: ProviderId,
    pub model: String,
    #[serde(flatten)]
    pub tariff: Tariff,
    #[serde(with = "wire")]
    pub effective_from: DateTime<Utc>,
    /// Its origin; absent if a command created it. A price with an origin yields to any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Price {
    pub fn new(
        price_id: PriceId,
        provider_id: ProviderId,
        model: impl Into<String>,
        given: GivenRates,
        effective_from: DateTime<Utc>,
    ) -> Self {
        let (tariff, labels) = (Tariff::new(given), Labels::none());
        Self { price_id, provider_id, model: model.into(), tariff, effective_from, origin: None, labels }
    }
}

impl Shown for Price {
    fn left_out() -> Value {
        let absent = Tariff::left_out_where_absent().chain(["origin"]);
        let mut members: Map<_, _> = absent.map(|name| (name.to_owned(), Value::Null)).collect();
        members.insert("tiers".to_owned(), json!([]));
        members.insert("labels".to_owned(), json!({}));
        Value::Object(members)
    }

    fn in_full(&self) -> Self {
        Self { tariff: self.tariff.clone().saying_what_was_left_out(), ..self.clone() }
    }
}
