//! The bounds of the memory of bodies: for the process, a tenant and a key.

use crate::body::BODY_BYTES_MAX;

pub(super) const MIB: usize = 1024 * 1024;
/// The smallest share: one body of the largest size, and small ones next to it.
const SHARE_MIN: usize = BODY_BYTES_MAX + MIB;
/// Bytes that a tenant has for commands beyond the share of one key, for its other keys.
const OTHER_COMMANDS: usize = 7 * MIB;

/// Bytes that may be held at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyBounds {
    pub process: usize,
    pub tenant: usize,
    pub key: usize,
    /// The part of `process` that only tenants that hold little may take.
    pub reserve: usize,
}

impl BodyBounds {
    /// The bounds of a process that may hold `bytes`: a tenant has a quarter, a key three quarters of that.
    pub fn of_process(bytes: usize) -> Self {
        let tenant = (bytes / 4).max(SHARE_MIN);
        Self { process: bytes.max(tenant), tenant, key: (tenant / 4 * 3).max(SHARE_MIN), reserve: 0 }
    }

    /// Like [`BodyBounds::of_process`], with a quarter in reserve: a response without memory was already paid for, so a few
    /// tenants must not take what all others need.
    pub fn of_answers(bytes: usize) -> Self {
        let bounds = Self::of_process(bytes);
        Self { reserve: (bounds.process / 4).min(bounds.process - bounds.tenant), ..bounds }
    }

    /// The bounds of commands, which are small and few. One key always leaves enough of its tenant's share for the commands of
    /// the other keys.
    pub const fn of_administration() -> Self {
        let tenant = SHARE_MIN + OTHER_COMMANDS;
        Self { process: 2 * tenant, tenant, key: SHARE_MIN, reserve: 0 }
    }
}

events::named! {
    /// The owner of a bound that was reached.
    pub enum BoundOf {
        Key = "key",
        Tenant = "tenant",
        Process = "gateway",
    }
}

impl BoundOf {
    pub const fn of_whom(self) -> &'static str {
        match self {
            Self::Key => " for this key",
            Self::Tenant => " for this tenant",
            Self::Process => "",
        }
    }
}
