//! Outlets: what follows the log and writes elsewhere, such as to an archive, a stream or a webhook. Each is a role, which one of the
//! processes that share a log has at a time.
//!
//! An [`Outlet`] knows the place that it writes to, and how far it has come there. [`AnyOutlet::run`] does the rest, for all of them: it waits
//! for the lease of the role, ends the work when the lease is lost, reports a failure, gives the role up, and tries again after a
//! pause.
//!
//! The folders inside are the outlets and what they share, a crate each.

mod driver;
mod leased_role;
mod remembered_follower;

use std::fmt::Display;

use events_log::backoff::Backoff;
use events_log::role::Role;
use tokio::time::{Instant, sleep_until};

pub use driver::AnyOutlet;
pub use leased_role::LeasedRole;
pub use remembered_follower::RememberedFollower;

/// Something that follows the log and writes elsewhere. Its futures may be dropped at any time: when the lease is lost, and when the
/// process ends.
pub trait Outlet: Send + 'static {
    const ROLE: Role;
    /// The pauses between attempts. They begin anew when the outlet resets [`LeasedRole::backoff`].
    const PAUSES: Backoff;
    /// Why it does not go on, for people. Without secrets.
    type Error: Display + Send;

    /// Opens what the work needs before this process asks for the role, each time that it does: another process may be able to.
    ///
    /// Errors: it is reported, and tried again after a pause.
    fn open(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Does the work of the role until the log is closed. It is dropped when the lease is lost.
    ///
    /// Errors: it is reported, the role is given up, and asked for again after a pause.
    fn work(&mut self, role: &mut LeasedRole<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Waits until then, or for ever.
pub async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
