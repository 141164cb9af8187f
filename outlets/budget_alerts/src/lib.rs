//! Alerts: posts each event that a budget is spent up to a fraction of its limit to a webhook, in the order of the log, at least
//! once, unless the receiver refuses alerts for a day. The log has them in any case; nothing waits for a webhook, and no money rests
//! on one.
//!
//! - `webhook`: the address of the webhook and the secret that signs what is sent to it.
//! - `delivery`: one post to a webhook, of alerts and of what others send; `outbox`: from the alert to the receiver's
//!   acknowledgement.
//! - `refusals`: for how long the receiver has refused what it gets.
//!
//! What is remembered is the position up to which all is acknowledged. Of two processes that do the work for a moment, both may
//! send the same alert, with the same id.

mod delivery;
mod outbox;
mod refusals;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use events::backoff::Backoff;
use events::event::{Event, Recorded};
use events::log::{Lease, LeaseWorkEnd, Log, LogError, PAGE_EVENTS};
use events::role::{RoleMemory, RoleStatus};
use events::time::Clock;
use reqwest::Client;
use tokio::time::{MissedTickBehavior, interval};

pub use delivery::{Delivery, DeliveryError};
pub use webhook::{Webhook, WebhookSecret, WrongWebhook};

use outbox::{NotSent, Outbox};
use refusals::Refusals;

/// How often the position is remembered while there are no alerts.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between attempts. They begin anew once a page of the log was dealt with.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What the role needs.
pub struct AlertsParts {
    pub log: Log,
    pub webhook: Webhook,
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

/// Sends alerts whenever this process has the lease, until the log is closed. Can be dropped at any time.
pub async fn run(parts: AlertsParts) {
    let mut holder = parts.log.lease(&parts.status);
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        let lease = holder.wait().await;
        let ended = send_all(&parts, &lease, &mut backoff).await;
        if !holder.conclude(lease, ended, &mut backoff, parts.clock.now()).await {
            return;
        }
    }
}

/// Follows the log from what was remembered, and sends its alerts.
async fn send_all(parts: &AlertsParts, lease: &Lease, backoff: &mut Backoff) -> Result<LeaseWorkEnd, AlertsError> {
    let outbox = Outbox { client: &parts.client, webhook: &parts.webhook, clock: &*parts.clock };
    let mut remembered = begin(parts, lease).await?;
    let mut done = remembered.position;
    let mut follower = parts.log.follow(done, PAGE_EVENTS);
    let mut remember = interval(REMEMBER_INTERVAL);
    remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
    parts.status.reached(done);
    loop {
        tokio::select! {
            () = lease.lost() => return Ok(LeaseWorkEnd::LeaseLost),
            _ = remember.tick(), if remembered.position < done => {
                remembered.position = done;
                lease.remember(remembered.clone()).await?;
            }
            followed = follower.next() => {
                let Some(followed) = followed? else { return Ok(LeaseWorkEnd::LogClosed) };
                for recorded in followed.events() {
                    if is_alert(recorded) {
                        let sent = tokio::select! {
                            () = lease.lost() => return Ok(LeaseWorkEnd::LeaseLost),
                            sent = outbox.send(recorded) => sent,
                        };
                        remembered = match sent {
                            Ok(()) => at(recorded.position),
                            Err(error) => give_up_or_fail(parts, lease, &remembered, recorded.position, error).await?,
                        };
                        // At once, so that hardly anything is sent twice.
                        lease.remember(remembered.clone()).await?;
                    }
                    done = recorded.position;
                }
                backoff.reset();
                parts.status.working();
                parts.status.reached(done);
            }
        }
    }
}

/// What was remembered last, or else the end of the log: a new webhook does not get the alerts of the past.
async fn begin(parts: &AlertsParts, lease: &Lease) -> Result<RoleMemory, AlertsError> {
    if let Some(memory) = lease.memory().await? {
        return Ok(memory);
    }
    let head = at(parts.log.head().position);
    lease.remember(head.clone()).await?;
    Ok(head)
}

/// Handles a failed attempt: gives the alert up, and logs that, once the receiver has refused alerts for a day. Returns what is to be
/// remembered then.
///
/// Errors: the alert has to be sent again. For how long it has been refused is remembered.
async fn give_up_or_fail(
    parts: &AlertsParts,
    lease: &Lease,
    remembered: &RoleMemory,
    position: u64,
    error: NotSent,
) -> Result<RoleMemory, AlertsError> {
    if error.is_refusal() {
        let refusals = Refusals::after(remembered, position, parts.clock.now());
        if refusals.are_final() {
            tracing::error!(%error, "alerts were refused for a day: this one is not sent any more");
            return Ok(refusals.memory(position));
        }
        lease.remember(refusals.memory(position - 1)).await?;
    }
    Err(error.into())
}

fn at(position: u64) -> RoleMemory {
    RoleMemory { position, detail: String::new() }
}

const fn is_alert(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::Alert(_))
}
