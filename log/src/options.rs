//! The settings of a log.

use std::sync::Arc;
use std::time::Duration;

use events::ledger::UnknownUsage;
use events::time::Clock;

use crate::LimitSharingSign;

/// The limits of [`LogOptions::clock_behind_max`].
const CLOCK_BEHIND_MIN: Duration = Duration::from_secs(1);
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

/// Settings of a log.
#[derive(Clone)]
pub struct LogOptions {
    pub(super) clock: Arc<dyn Clock>,
    /// How far the time of an event may be behind the clock of a shared database. A hold that is admitted by a clock that is
    /// behind expires that much too early for the other nodes.
    pub(super) clock_behind_max: Duration,
    /// The lifetime of a hold, after which the sweeper ends it.
    pub(super) hold_ttl: Duration,
    pub(super) unknown_usage: UnknownUsage,
    /// False for a process that does other work. It leaves expired holds to those that serve requests, whose settings it does not
    /// know.
    pub(super) serves_requests: bool,
    /// The sign of this process in the register of running nodes.
    pub(super) limit_sharing: LimitSharingSign,
}

impl LogOptions {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            clock_behind_max: CLOCK_BEHIND_MAX,
            hold_ttl: Duration::from_secs(900),
            unknown_usage: UnknownUsage::default(),
            serves_requests: true,
            limit_sharing: LimitSharingSign::default(),
        }
    }

    /// With holds of this lifetime. Of what a request leaves of it ([`Log::request_time_max`](crate::Log::request_time_max)), half is
    /// left to a node whose clock is behind, and half to the one that sweeps, whose clock may be ahead.
    pub fn with_hold_ttl(self, hold_ttl: Duration) -> Self {
        let left = hold_ttl - request_time_max(hold_ttl);
        Self { clock_behind_max: (left / 2).clamp(CLOCK_BEHIND_MIN, CLOCK_BEHIND_MAX), hold_ttl, ..self }
    }

    pub fn with_unknown_usage(self, unknown_usage: UnknownUsage) -> Self {
        Self { unknown_usage, ..self }
    }

    /// For a process that does other work than serving requests. Expired holds are left to those that serve them.
    pub fn without_requests(self) -> Self {
        Self { serves_requests: false, ..self }
    }

    /// Says with this in the register of running nodes how this process counts rate limits.
    pub fn with_limit_sharing(self, limit_sharing: LimitSharingSign) -> Self {
        Self { limit_sharing, ..self }
    }

    /// For clocks that stand long before the database's, as those of tests do.
    pub fn with_any_clock(self) -> Self {
        Self { clock_behind_max: Duration::MAX, ..self }
    }
}

/// The longest that a request may run whose hold has this lifetime.
pub(super) fn request_time_max(hold_ttl: Duration) -> Duration {
    hold_ttl * 4 / 5
}
