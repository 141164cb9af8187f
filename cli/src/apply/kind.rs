//! The kinds of resources that files have.

use chrono::{DateTime, Utc};
use command::admin::body_format::{self, Body, BodyFormat};
use events::named;
use events::time::parse_rfc3339;

/// The field of a price from when on it is in force.
pub const EFFECTIVE_FROM: &str = "effective_from";

/// When a price begins; `None` for one without a time.
pub fn effective_from(price: &Body) -> Option<DateTime<Utc>> {
    parse_rfc3339(price.get(EFFECTIVE_FROM)?.as_str()?)
}

named! {
    /// In the order in which they are carried out: what others name comes before them, limits before what can be used under
    /// them, and prices before the models that need them. Each is named by its section of a file.
    #[derive(PartialOrd, Ord)]
    pub enum Kind {
        Partner = "partners",
        Tenant = "tenants",
        User = "users",
        Team = "teams",
        Budget = "budgets",
        RateLimit = "rate_limits",
        Provider = "providers",
        Price = "prices",
        Model = "models",
    }
}

impl Kind {
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
        self.as_str()
    }

    /// The word for one of them: its section is the plural.
    pub fn word(self) -> String {
        self.section().trim_end_matches('s').replace('_', " ")
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
