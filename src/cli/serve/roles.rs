//! What this process does for all that share its log, each by a lease.

use std::sync::Arc;

use events::log::Log;
use events::role::{Role, RoleStatus};
use events::time::Clock;
use relay::RelayParts;
use tokio::task::JoinSet;

use crate::config::{Config, NatsSettings};

/// The roles that are configured for this process, with their reports.
pub fn configured(config: &Config) -> Vec<RoleStatus> {
    if !config.mode.has_roles() {
        return Vec::new();
    }
    let is_configured = |role: Role| match role {
        Role::Relay => config.nats.is_some(),
        Role::Archive | Role::Analysts => false,
    };
    Role::ALL.iter().copied().filter(|role| is_configured(*role)).map(RoleStatus::new).collect()
}

/// Starts the roles of these reports. Each runs until it is dropped.
pub fn start(roles: &[RoleStatus], config: &mut Config, log: &Log, clock: &Arc<dyn Clock>, serving: &mut JoinSet<()>) {
    for status in roles.iter().cloned() {
        let (log, clock) = (log.clone(), Arc::clone(clock));
        match status.role() {
            Role::Relay => {
                if let Some(NatsSettings { address, limits }) = config.nats.take() {
                    serving.spawn(relay::run(RelayParts { log, address, limits, status, clock }));
                }
            }
            Role::Archive | Role::Analysts => {}
        }
    }
}
