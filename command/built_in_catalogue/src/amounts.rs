//! Amounts that are not a price per million tokens.

use events::money::NanoUsd;
use serde::{Deserialize, Deserializer, de};

/// An amount that may be absent, and not less than nothing.
pub fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NanoUsd>, D::Error> {
    let amount = NanoUsd::deserialize(deserializer)?;
    if amount.is_negative() { Err(de::Error::custom("must not be negative")) } else { Ok(Some(amount)) }
}
