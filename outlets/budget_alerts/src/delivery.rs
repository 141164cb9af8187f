//! One post to a webhook, in the form of Standard Webhooks 1.0 (standardwebhooks.com): the headers `webhook-id`,
//! `webhook-timestamp` and, with a secret, `webhook-signature`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::shown_text::{innermost_cause, shown_text};
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

use crate::webhook::Webhook;

/// How long the receiver may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const CAUSE_CHARS_MAX: usize = 200;

/// The message that is posted.
pub struct Delivery {
    /// The same each time, so that a receiver knows one that it has.
    pub id: String,
    pub content_type: &'static str,
    pub body: String,
}

/// Why a delivery was not acknowledged. Without the address, which may have a secret in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    #[error("it was refused with {status}")]
    Refused { status: u16 },
    #[error("the webhook is unavailable: it answered with {status}")]
    Unavailable { status: u16 },
    #[error("the webhook did not answer within {} s", ANSWER_MAX.as_secs())]
    TooLate,
    #[error("the webhook cannot be reached: {cause}")]
    Unreachable { cause: String },
}

/// Whether a status says that the same request may be accepted later: of a server, or a proxy in front of it, that is down or has too
/// much to do.
const fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

impl Webhook {
    /// Posts once. The client follows no redirects.
    pub async fn deliver(&self, client: &Client, now: DateTime<Utc>, delivery: Delivery) -> Result<(), DeliveryError> {
        let Delivery { id, content_type, body } = delivery;
        let seconds = now.timestamp();
        let mut request = client
            .post(self.url.clone())
            .timeout(ANSWER_MAX)
            .header(CONTENT_TYPE, content_type)
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", secret.signature(&id, seconds, &body));
        }
        let answered = request.body(body).send().await.map_err(|error| match error.is_timeout() {
            true => DeliveryError::TooLate,
            false => DeliveryError::Unreachable { cause: cause_of(error) },
        })?;
        let status = answered.status();
        match status.as_u16() {
            _ if status.is_success() => Ok(()),
            status if is_temporary(status) => Err(DeliveryError::Unavailable { status }),
            status => Err(DeliveryError::Refused { status }),
        }
    }
}

/// The cause of a failure in words, without the address.
fn cause_of(error: reqwest::Error) -> String {
    innermost_cause(&error, CAUSE_CHARS_MAX).unwrap_or_else(|| shown_text(error.without_url(), CAUSE_CHARS_MAX))
}
