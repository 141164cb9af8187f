//! The filter of requests: by whom they were for, and by what served them.

use events::event::inference::Payer;
use events::ids::{KeyId, PartnerId, TenantId, UserId};

use crate::visible::Visible;

/// A field that is `None` matches every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    pub user: Option<UserId>,
    pub key: Option<KeyId>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub backend: Option<String>,
    pub payer: Option<Payer>,
}

/// The most selective filter for which there is an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrowest {
    Key,
    Tenant,
    Partner,
    Everything,
}

impl RequestFilter {
    /// The most selective filter within what is visible.
    pub const fn narrowest(&self, visible: Visible) -> Narrowest {
        match visible {
            _ if self.key.is_some() => Narrowest::Key,
            Visible::Tenant(_) => Narrowest::Tenant,
            _ if self.tenant.is_some() => Narrowest::Tenant,
            Visible::Partner(_) => Narrowest::Partner,
            Visible::Platform if self.partner.is_some() => Narrowest::Partner,
            Visible::Platform => Narrowest::Everything,
        }
    }
}
