//! Which requests a question is about: by what they were for, and by who served them.

use events::ids::{KeyId, PartnerId, TenantId, UserId};

use crate::visible::Visible;

/// `None` where all count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFilter {
    pub partner: Option<PartnerId>,
    pub tenant: Option<TenantId>,
    pub user: Option<UserId>,
    pub key: Option<KeyId>,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub backend: Option<String>,
}

/// What bounds the requests of a question most, of what an index finds them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrowest {
    Key,
    Tenant,
    Partner,
    Everything,
}

impl RequestFilter {
    /// Of what is visible.
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
