//! The kinds of resources that files have.

use chrono::{DateTime, Utc};
use command::admin::body_format::{self, Body, BodyFormat};
use events::time::parse_rfc3339;

/// The field of a price from when on it is in force.
pub const EFFECTIVE_FROM: &str = "effective_from";

/// When a price begins; `None` for one without a time.
pub fn effective_from(price: &Body) -> Option<DateTime<Utc>> {
    parse_rfc3339(price.get(EFFECTIVE_FROM)?.as_str()?)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Partner,
    Tenant,
    User,
    Team,
    Budget,
    RateLimit,
    Provider,
    Price,
    Model,
}

impl Kind {
    /// In the order in which they are carried out: what others name comes before them, limits before what can be used under
    /// them, and prices before the models that need them.
    pub const ALL: [Self; 9] = [
        Self::Partner,
        Self::Tenant,
        Self::User,
        Self::Team,
        Self::Budget,
        Self::RateLimit,
        Self::Provider,
        Self::Price,
        Self::Model,
    ];

    /// In the order in which files are written.
    pub const IN_FILES: [Self; 9] = [
        Self::Partner,
        Self::Tenant,
        Self::User,
        Self::Team,
        Self::Provider,
        Self::Model,
        Self::Price,
        Self::Budget,
        Self::RateLimit,
    ];

    pub const fn format(self) -> BodyFormat {
        match self {
            Self::Partner => body_format::PARTNER,
            Self::Tenant => body_format::TENANT,
            Self::User => body_format::USER,
            Self::Team => body_format::TEAM,
            Self::Budget => body_format::BUDGET,
            Self::RateLimit => body_format::RATE_LIMIT,
            Self::Provider => body_format::PROVIDER,
            Self::Price => body_format::PRICE,
            Self::Model => body_format::MODEL,
        }
    }

    /// The name of its list in files.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Partner => "partners",
            Self::Tenant => "tenants",
            Self::User => "users",
            Self::Team => "teams",
            Self::Budget => "budgets",
            Self::RateLimit => "rate_limits",
            Self::Provider => "providers",
            Self::Price => "prices",
            Self::Model => "models",
        }
    }

    pub fn of_section(section: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.section() == section)
    }

    /// The word for one of them.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Team => "team",
            Self::Budget => "budget",
            Self::RateLimit => "rate limit",
            Self::Provider => "provider",
            Self::Price => "price",
            Self::Model => "model",
        }
    }

    /// The fields whose values tell a resource from others of its kind. Several prices and budgets may share them: see
    /// [`Self::distinction`].
    pub const fn identity(self) -> &'static [&'static str] {
        match self {
            Self::Partner => &["slug"],
            Self::Tenant => &["partner_id", "slug"],
            Self::User | Self::Team => &["tenant_id", "slug"],
            Self::Budget => &["scope", "period"],
            Self::RateLimit => &["scope"],
            Self::Provider | Self::Model => &["tenant_id", "name"],
            Self::Price => &["provider_id", "model"],
        }
    }

    /// The field that tells resources apart whose identity is the same.
    pub const fn distinction(self) -> Option<&'static str> {
        match self {
            Self::Price => Some(EFFECTIVE_FROM),
            Self::Budget => Some("enforcement"),
            Self::Partner | Self::Tenant | Self::User | Self::Team | Self::RateLimit | Self::Provider | Self::Model => {
                None
            }
        }
    }

    /// The field that must be given because it is part of the identity, although the API does not require it.
    pub const fn required_name(self) -> Option<&'static str> {
        match self {
            Self::Partner | Self::Tenant | Self::User | Self::Team => Some("slug"),
            Self::Budget | Self::RateLimit | Self::Provider | Self::Price | Self::Model => None,
        }
    }
}
