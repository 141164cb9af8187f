//! Partners, each with tenants of its own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Handles, Labels, SetBounds};
use crate::event::Shown;
use crate::ids::PartnerId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    pub partner_id: PartnerId,
    pub name: String,
    #[serde(flatten)]
    pub handles: Handles,
    /// How much it may have of what is bounded, where the platform has set it.
    #[serde(default, skip_serializing_if = "SetBounds::is_empty")]
    pub bounds: SetBounds,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Partner {
    pub fn new(partner_id: PartnerId, name: impl Into<String>) -> Self {
        let (name, handles) = (name.into(), Handles::default());
        Self { partner_id, name, handles, bounds: SetBounds::none(), labels: Labels::none() }
    }
}

impl Shown for Partner {
    fn left_out() -> Value {
        json!({ "slug": null, "external_id": null, "bounds": {}, "labels": {} })
    }
}
