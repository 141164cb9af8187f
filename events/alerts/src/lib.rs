//! Alerts: posts each announcement that a budget is spent up to a fraction of its limit to a webhook, in the order of the log,
//! at least once, unless the receiver refuses one for a day. The log has them in any case; nothing waits for a webhook, and no money rests on one.
//!
//! - `target`: the address of the webhook and the secret that signs what is sent to it.
//! - `outbox`: from the announcement to the receiver's acknowledgement.
//!
//! What is remembered is the position up to which all is acknowledged. Of two processes that do the work for a moment, both may
//! send the same announcement, with the same id.

mod outbox;
mod target;

use std::sync::Arc;
use std::time::Duration;

use events::event::{Event, Recorded};
use events::log::{Lease, Log, LogError};
use events::role::{RoleMemory, RoleStatus};
use events::time::Clock;
use reqwest::Client;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use target::{AlertsTarget, WebhookSecret, WrongTarget};

use outbox::{NotSent, Outbox};

/// Events that are read at a time.
const PAGE: usize = 1000;
/// How often the position is remembered while nothing is announced.
const REMEMBER_EVERY: Duration = Duration::from_secs(5);
/// The pauses between attempts.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the role needs.
pub struct AlertsParts {
    pub log: Log,
    pub target: AlertsTarget,
    /// Follows no redirects.
    pub client: Client,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
enum AlertsError {
    #[error(transparent)]
    NotSent(#[from] NotSent),
    #[error("cannot read the log, or remember how far it was read: {0}")]
    Log(#[from] LogError),
}

enum Ended {
    LeaseLost,
    LogClosed,
}

/// Sends alerts whenever this process has the lease, until the log is closed. Can be dropped at any time.
pub async fn run(parts: AlertsParts) {
    let mut lease_holder = parts.log.lease(&parts.status);
    let mut pause = PAUSE_MIN;
    loop {
        let lease = lease_holder.wait().await;
        match send_all(&parts, &lease, &mut pause).await {
            Ok(Ended::LogClosed) => return,
            Ok(Ended::LeaseLost) => parts.status.waiting(),
            Err(error) => {
                parts.status.failing(&error, parts.clock.now());
                // Another process may reach the webhook.
                lease.release().await;
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Follows the log from what was remembered, and sends what it announces.
async fn send_all(parts: &AlertsParts, lease: &Lease, pause: &mut Duration) -> Result<Ended, AlertsError> {
    let outbox = Outbox { client: &parts.client, target: &parts.target, clock: &*parts.clock };
    let mut done = begin(parts, lease).await?;
    let mut remembered = done;
    let mut follower = parts.log.follow(done, PAGE);
    let mut remember = interval(REMEMBER_EVERY);
    remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
    parts.status.reached(done);
    loop {
        tokio::select! {
            () = lease.lost() => return Ok(Ended::LeaseLost),
            _ = remember.tick(), if remembered < done => {
                lease.remember(at(done)).await?;
                remembered = done;
            }
            followed = follower.next() => {
                let Some(followed) = followed? else { return Ok(Ended::LogClosed) };
                for recorded in followed.events() {
                    if is_alert(recorded) {
                        tokio::select! {
                            () = lease.lost() => return Ok(Ended::LeaseLost),
                            sent = outbox.send(recorded) => sent?,
                        }
                        // At once, so that hardly anything is sent twice.
                        lease.remember(at(recorded.position)).await?;
                        remembered = recorded.position;
                    }
                    done = recorded.position;
                }
                *pause = PAUSE_MIN;
                parts.status.working();
                parts.status.reached(done);
            }
        }
    }
}

/// The position after which announcements are sent: that up to which all were, or else the end of the log. Whoever sets a webhook
/// up does not want the announcements of years.
async fn begin(parts: &AlertsParts, lease: &Lease) -> Result<u64, AlertsError> {
    if let Some(memory) = lease.memory().await? {
        return Ok(memory.position);
    }
    let head = parts.log.head().position;
    lease.remember(at(head)).await?;
    Ok(head)
}

fn at(position: u64) -> RoleMemory {
    RoleMemory { position, detail: String::new() }
}

const fn is_alert(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::Alert(_))
}
