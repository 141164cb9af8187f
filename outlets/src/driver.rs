//! The loop that every outlet runs in.

use std::sync::Arc;

use events::time::Clock;
use events_log::Log;
use events_log::role::RoleStatus;

use crate::{LeasedRole, Outlet};

/// Does the work of an outlet whenever this process has the lease of its role, until the log is closed. `status` is a report of that
/// role. Can be dropped at any time.
pub async fn run<O: Outlet>(mut outlet: O, log: Log, status: RoleStatus, clock: Arc<dyn Clock>) {
    let mut holder = log.lease(&status);
    let mut backoff = O::PAUSES;
    loop {
        if let Err(error) = outlet.open().await {
            status.failing(&error, clock.now());
            backoff.wait().await;
            continue;
        }
        let lease = holder.wait().await;
        let mut role = LeasedRole { log: &log, clock: &*clock, status: &status, lease: &lease, backoff: &mut backoff };
        let ended = tokio::select! {
            biased;
            () = lease.lost() => None,
            ended = outlet.work(&mut role) => Some(ended),
        };
        match ended {
            None => status.waiting(),
            Some(Ok(())) => return,
            Some(Err(error)) => {
                status.failing(&error, clock.now());
                // Another process may be able to do what this one cannot.
                lease.release().await;
                backoff.wait().await;
            }
        }
    }
}
