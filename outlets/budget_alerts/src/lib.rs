//! Alerts: posts each event that a budget is spent up to a fraction of its limit to a webhook, in the order of the log, at least
//! once, unless the receiver refuses alerts for a day. The log has them in any case; nothing waits for a webhook, and no money rests
//! on one.
//!
//! - `webhook`: the address of the webhook and the secret that signs what is sent to it.
//! - `delivery`: one post to a webhook, of alerts and of what others send.
//! - `refusals`: for how long the receiver has refused what it gets.
//!
//! What is remembered is the position up to which all is acknowledged. Of two processes that do the work for a moment, both may
//! send the same alert, with the same id.

mod delivery;
mod refusals;
mod webhook;

use std::time::Duration;

use events::canonical::{self, CanonicalError};
use events::event::{Event, Recorded};
use events::time::Clock;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{LogError, PAGE_EVENTS};
use outlets::{AnyOutlet, LeasedRole, Outlet, RememberedFollower};
use reqwest::Client;

pub use delivery::{Delivery, DeliveryError};
pub use webhook::{Webhook, WebhookSecret, WrongWebhook};

use refusals::Refusals;

/// The outlet that posts alerts.
pub struct BudgetAlerts {
    pub webhook: Webhook,
    /// Follows no redirects.
    pub client: Client,
}

#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    #[error("position {position} was not taken: {error}")]
    Undelivered { position: u64, error: DeliveryError },
    #[error("position {position} cannot be written as JSON: {why}")]
    Unwritable { position: u64, why: CanonicalError },
    #[error("cannot read the log, or remember how far it was read: {0}")]
    Log(#[from] LogError),
}

impl From<BudgetAlerts> for AnyOutlet {
    fn from(outlet: BudgetAlerts) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for BudgetAlerts {
    const ROLE: Role = Role::Alerts;
    /// They begin anew once a page of the log was dealt with.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    type Error = AlertsError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), AlertsError> {
        let mut follower = RememberedFollower::begin(role, PAGE_EVENTS).await?;
        while let Some(followed) = follower.next(role).await? {
            for recorded in followed.events().iter().filter(|recorded| is_alert(recorded)) {
                let memory = match self.send(recorded, role.clock).await {
                    Ok(()) => RoleMemory { position: recorded.position, detail: String::new() },
                    Err(error) => give_up_or_fail(role, follower.remembered(), recorded.position, error).await?,
                };
                follower.remember(role, memory).await?;
            }
            role.succeeded(follower.position());
        }
        Ok(())
    }
}

impl BudgetAlerts {
    /// Sends an alert once.
    async fn send(&self, recorded: &Recorded, clock: &dyn Clock) -> Result<(), AlertsError> {
        let position = recorded.position;
        let body = canonical::envelope(recorded).map_err(|why| AlertsError::Unwritable { position, why })?;
        let delivery = Delivery { id: format!("alert_{position}"), content_type: "application/json", body };
        let delivered = self.webhook.deliver(&self.client, clock.now(), delivery).await;
        delivered.map_err(|error| AlertsError::Undelivered { position, error })
    }
}

/// Handles a failed attempt: gives the alert up, and logs that, once the receiver has refused alerts for a day. Returns what is to be
/// remembered then.
///
/// Errors: the alert has to be sent again. For how long it has been refused is remembered.
async fn give_up_or_fail(
    role: &LeasedRole<'_>,
    remembered: &RoleMemory,
    position: u64,
    error: AlertsError,
) -> Result<RoleMemory, AlertsError> {
    if let AlertsError::Undelivered { error: DeliveryError::Refused { .. }, .. } = &error {
        let refusals = Refusals::after(remembered, position, role.clock.now());
        if refusals.are_final() {
            tracing::error!(%error, "alerts were refused for a day: this one is not sent any more");
            return Ok(refusals.memory(position));
        }
        role.remember(refusals.memory(position - 1)).await?;
    }
    Err(error)
}

const fn is_alert(recorded: &Recorded) -> bool {
    matches!(recorded.event, Event::Alert(_))
}
