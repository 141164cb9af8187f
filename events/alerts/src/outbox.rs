//! One alert on its way to the webhook, in the form of Standard Webhooks 1.0 (standardwebhooks.com): the headers
//! `webhook-id`, `webhook-timestamp` and, with a secret, `webhook-signature`.

use std::time::Duration;

use events::canonical;
use events::event::Recorded;
use events::shown_text::{innermost_cause, shown_text};
use events::time::Clock;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

use crate::webhook::Webhook;

/// How long the receiver may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
const CAUSE_CHARS_MAX: usize = 200;

/// Why an alert was not acknowledged. Without the address, which may have a secret in it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    #[error("the webhook refused position {position} with {status}")]
    Refused { position: u64, status: u16 },
    #[error("the webhook is unavailable for position {position}: it answered with {status}")]
    Unavailable { position: u64, status: u16 },
    #[error("the webhook did not answer position {position} within {} s", ANSWER_MAX.as_secs())]
    TooLate { position: u64 },
    #[error("the webhook cannot be reached for position {position}: {cause}")]
    Unreachable { position: u64, cause: String },
    #[error("position {position} cannot be written as JSON: {why}")]
    Unwritable { position: u64, why: String },
}

/// Whether a status says that the same request may be accepted later: of a server, or a proxy in front of it, that is down or has too
/// much to do.
const fn is_temporary(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
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
        // The same each time, so that a receiver knows one that it has.
        let id = format!("alert_{position}");
        let seconds = self.clock.now().timestamp();
        let mut request = self
            .client
            .post(self.webhook.url.clone())
            .timeout(ANSWER_MAX)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds);
        if let Some(secret) = &self.webhook.secret {
            request = request.header("webhook-signature", secret.signature(&id, seconds, &body));
        }
        let answered = request.body(body).send().await.map_err(|error| match error.is_timeout() {
            true => NotSent::TooLate { position },
            false => NotSent::Unreachable { position, cause: cause_of(error) },
        })?;
        let status = answered.status();
        match status.as_u16() {
            _ if status.is_success() => Ok(()),
            status if is_temporary(status) => Err(NotSent::Unavailable { position, status }),
            status => Err(NotSent::Refused { position, status }),
        }
    }
}

/// What is said of a failure, without the address.
fn cause_of(error: reqwest::Error) -> String {
    innermost_cause(&error, CAUSE_CHARS_MAX).unwrap_or_else(|| shown_text(error.without_url(), CAUSE_CHARS_MAX))
}
