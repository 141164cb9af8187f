//! The loop that every outlet runs in.

use std::pin::Pin;
use std::sync::Arc;

use events::time::Clock;
use events_log::Log;
use events_log::role::{Role, RoleStatus};

use crate::{LeasedRole, Outlet};

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;
type RunOutlet = Box<dyn FnOnce(Log, RoleStatus, Arc<dyn Clock>) -> Running + Send>;

/// An outlet of any kind.
pub struct AnyOutlet {
    role: Role,
    run: RunOutlet,
}

impl AnyOutlet {
    /// Called by the crate of the outlet, which is then the one that compiles its work.
    pub fn of<O: Outlet>(outlet: O) -> Self {
        Self { role: O::ROLE, run: Box::new(|log, status, clock| Box::pin(run(outlet, log, status, clock))) }
    }

    pub const fn role(&self) -> Role {
        self.role
    }

    /// Does the work of the outlet whenever this process has the lease of its role, until the log is closed. `status` is a report of
    /// that role. Can be dropped at any time.
    pub fn run(self, log: Log, status: RoleStatus, clock: Arc<dyn Clock>) -> Running {
        (self.run)(log, status, clock)
    }
}

async fn run<O: Outlet>(mut outlet: O, log: Log, status: RoleStatus, clock: Arc<dyn Clock>) {
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
