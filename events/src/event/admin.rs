//! The states of the twelve resources, as administration's events carry them. None contains a person's name or e-mail.

mod alias;
mod audit_search;
mod breaker;
mod budget;
mod key;
mod labels;
mod metadata_conditions;
mod model;
mod partner;
mod price;
mod provider;
mod provider_key;
mod provider_kind_name;
mod rate_limit;
mod resource_bounds;
mod retirement;
mod scope;
mod server_name;
mod team;
mod tenant;
mod user;

use serde::{Deserialize, Serialize};

use crate::named;

pub use crate::routing::{
    Affinity, Canary, CanaryBy, RoutingRule, RoutingRules, Shadow, StatedFacts, StatedWindow, Strategy, Target,
    TargetFacts, Tokenizer,
};
pub use alias::{Alias, AliasStep};
pub use audit_search::AuditSearch;
pub use breaker::{BreakerClosed, BreakerOpened};
pub use budget::{Budget, Enforcement, WhenShort};
pub use key::{Key, KeyRotated, Permission};
pub use labels::Labels;
pub use metadata_conditions::MetadataConditions;
pub use model::Model;
pub use partner::Partner;
pub use price::Price;
pub use provider::{BilledBy, OutputCapField, Provider};
pub use provider_key::{ProviderKey, ProviderKeyRestored, ProviderKeySetAside, SetAsideReason, UpstreamKey};
pub use provider_kind_name::ProviderKindName;
pub use rate_limit::{RateLimit, WhenUnshared};
pub use resource_bounds::{KindBound, ResourceBound, SetBounds, bounded_owner};
pub use retirement::Retirement;
pub use scope::{NarrowedScope, Narrowing, Scope};
pub use server_name::ServerName;
pub use team::Team;
pub use tenant::Tenant;
pub use user::{Reach, RoleGrant, User, UserErased, UserRole};

pub const SLUG_LEN_MAX: usize = 63;

/// True for a text of the form `[a-z0-9][a-z0-9-]{0,62}`.
pub fn is_slug(text: &str) -> bool {
    let is_of_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=SLUG_LEN_MAX).contains(&text.len()) && text.bytes().all(is_of_slug) && !text.starts_with('-')
}

/// The names that other systems have for a partner, a tenant, a user or a team. They stay in the log for ever, so that neither may
/// be personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handles {
    /// Unique among its siblings; see [`is_slug`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Its id in other systems, such as billing. Not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

named! {
    /// The origin of a resource that nobody created by a command. The gateway changes and ends such a resource itself.
    pub enum Origin {
        /// A variable of the gateway's environment.
        Environment = "environment",
        /// The catalogue of models and list prices.
        Catalogue = "catalogue",
        /// A local server, which was asked for its models.
        Discovered = "discovered",
    }
}
