//! How much memory bodies may take: of the process, of a tenant and of a key.

use crate::body::BODY_BYTES_MAX;

pub(super) const MIB: usize = 1024 * 1024;
/// One body of the largest size and some small ones beside it: no share is below it.
const SHARE_MIN: usize = BODY_BYTES_MAX + MIB;
/// Beside the share of a key that administrates, for the commands of the other keys of its tenant.
const OTHER_COMMANDS: usize = 7 * MIB;

/// What may be held at a time, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    pub process: usize,
    pub tenant: usize,
    pub key: usize,
    /// Of the process's, what only tenants may take that hold little.
    pub reserve: usize,
}

impl BodyBounds {
    /// A quarter of what the process may hold for a tenant, and three quarters of that for a key.
    pub fn of_process(bytes: usize) -> Self {
        let tenant = (bytes / 4).max(SHARE_MIN);
        Self { process: bytes.max(tenant), tenant, key: (tenant / 4 * 3).max(SHARE_MIN), reserve: 0 }
    }

    /// The same, and a quarter of the process's in reserve: an answer that there is no memory for has been paid for, so that
    /// a few tenants must not take what all others need.
    pub fn of_answers(bytes: usize) -> Self {
        let bounds = Self::of_process(bytes);
        Self { reserve: (bounds.process / 4).min(bounds.process - bounds.tenant), ..bounds }
    }

    /// Of commands, which are small and few. What one key leaves of its tenant's share is enough for those of the others.
    pub const fn of_administration() -> Self {
        let tenant = SHARE_MIN + OTHER_COMMANDS;
        Self { process: 2 * tenant, tenant, key: SHARE_MIN, reserve: 0 }
    }
}

/// Whose bound has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundOf {
    Key,
    Tenant,
    Process,
}

impl BoundOf {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tenant => "tenant",
            Self::Process => "gateway",
        }
    }

    pub const fn of_whom(self) -> &'static str {
        match self {
            Self::Key => " for this key",
            Self::Tenant => " for this tenant",
            Self::Process => "",
        }
    }
}
