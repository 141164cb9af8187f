//! Tenants: what they may have, and what holds for all of their requests.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Handles, Labels, SetBounds};
use crate::content::ContentPolicy;
use crate::event::Shown;
use crate::ids::{PartnerId, TenantId};
use crate::named;
use crate::routing::Strategy;
use crate::terms::RequiredTerms;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    pub tenant_id: TenantId,
    pub partner_id: PartnerId,
    pub name: String,
    #[serde(flatten)]
    pub handles: Handles,
    /// True if its own administrators may create and change providers that serve it alone, and their prices.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_providers: bool,
    /// How much content of its prompts and answers is kept.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub content_policy: ContentPolicy,
    /// For how many days sealed content is kept after the day of its admission; absent for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_days: Option<u32>,
    /// True while nothing of it may be deleted or erased, whatever else says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub legal_hold: bool,
    /// Terms that each target of its requests must meet.
    #[serde(default, skip_serializing_if = "RequiredTerms::is_empty")]
    pub required_terms: RequiredTerms,
    /// Frontend names and globs that bind all of its keys; absent for every model that it can see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// The strategy of models that leave it to the tenant; absent for `priority`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_strategy: Option<Strategy>,
    /// How much it may have of what is bounded, where the platform has set it.
    #[serde(default, skip_serializing_if = "SetBounds::is_empty")]
    pub bounds: SetBounds,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Tenant {
    /// The highest value of `content_days`: a hundred years.
    pub const CONTENT_DAYS_MAX: u32 = 36_500;

    pub fn new(tenant_id: TenantId, partner_id: PartnerId, name: impl Into<String>) -> Self {
        Self {
            tenant_id,
            partner_id,
            name: name.into(),
            handles: Handles::default(),
            own_providers: false,
            content_policy: ContentPolicy::default(),
            content_days: None,
            legal_hold: false,
            required_terms: RequiredTerms::NONE,
            models: None,
            default_strategy: None,
            bounds: SetBounds::none(),
            labels: Labels::none(),
        }
    }
}

impl Shown for Tenant {
    fn left_out() -> Value {
        json!({ "slug": null, "external_id": null, "own_providers": false, "content_policy": ContentPolicy::default(),
                "content_days": null, "legal_hold": false, "required_terms": {}, "models": null,
                "default_strategy": null, "bounds": {}, "labels": {} })
    }
}
