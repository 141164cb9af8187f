//! One alert on its way to the webhook.

use events::canonical;
use events::event::Recorded;
use events::time::Clock;
use reqwest::Client;

use crate::delivery::{Delivery, DeliveryError};
use crate::webhook::Webhook;

/// Why an alert was not acknowledged.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("position {position} was not taken: {error}")]
    Undelivered { position: u64, error: DeliveryError },
    #[error("position {position} cannot be written as JSON: {why}")]
    Unwritable { position: u64, why: String },
}

impl NotSent {
    /// True if the receiver does not want this alert, whenever it comes.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Undelivered { error: DeliveryError::Refused { .. }, .. })
    }
}

pub struct Outbox<'a> {
    pub client: &'a Client,
    pub webhook: &'a Webhook,
    pub clock: &'a dyn Clock,
}

impl Outbox<'_> {
    /// Sends an alert once.
    pub async fn send(&self, recorded: &Recorded) -> Result<(), NotSent> {
        let position = recorded.position;
        let body =
            canonical::envelope(recorded).map_err(|error| NotSent::Unwritable { position, why: error.to_string() })?;
        let delivery = Delivery { id: format!("alert_{position}"), content_type: "application/json", body };
        let delivered = self.webhook.deliver(self.client, self.clock.now(), delivery).await;
        delivered.map_err(|error| NotSent::Undelivered { position, error })
    }
}
