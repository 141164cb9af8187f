//! The role that posts the audit to a webhook: in the order of the log, in batches, each of which is acknowledged before the next.

use std::time::Duration;

use budget_alerts::{Delivery, DeliveryError, Webhook};
use events_log::LogError;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use outlets::{AnyOutlet, LeasedRole, Outlet, RememberedFollower};
use reqwest::Client;

use crate::format::SiemFormat;
use crate::source::{Entries, PAGE_EVENTS, SourceError};

/// How long a batch is; a single line can be longer.
const BATCH_BYTES: usize = 256 * 1024;
/// The status of a receiver, or of a proxy before it, to which a post is too large.
const TOO_LARGE: u16 = 413;

/// The outlet that posts the audit to a webhook.
pub struct AuditWebhook {
    pub webhook: Webhook,
    /// Follows no redirects.
    pub client: Client,
    pub format: SiemFormat,
}

#[derive(Debug, thiserror::Error)]
pub enum WebhookStreamError {
    #[error("the audit up to position {last} is not sent: {error}")]
    Undelivered { last: u64, error: DeliveryError },
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl From<LogError> for WebhookStreamError {
    fn from(error: LogError) -> Self {
        Self::Source(error.into())
    }
}

/// An entry, as a line.
struct Line {
    position: u64,
    /// With its end.
    text: String,
}

/// Lines that are posted together, unless they are too much for the receiver.
#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
    bytes: usize,
}

impl Batch {
    fn put(&mut self, position: u64, mut text: String) {
        text.push('\n');
        self.bytes += text.len();
        self.lines.push(Line { position, text });
    }
}

impl From<AuditWebhook> for AnyOutlet {
    fn from(outlet: AuditWebhook) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for AuditWebhook {
    const ROLE: Role = Role::AuditWebhook;
    /// They begin anew once a batch was acknowledged.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    type Error = WebhookStreamError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), WebhookStreamError> {
        let mut follower = RememberedFollower::begin(role, PAGE_EVENTS).await?;
        while let Some(followed) = follower.next(role).await? {
            for events in followed.events().chunks(PAGE_EVENTS) {
                let Some(last) = events.last() else { continue };
                let mut batch = Batch::default();
                for record in Entries::of(role.log, events).await?.records() {
                    batch.put(record.entry.position, self.format.line(&record));
                    if batch.bytes >= BATCH_BYTES {
                        self.post_batch(role, &mut follower, std::mem::take(&mut batch)).await?;
                    }
                }
                self.post_batch(role, &mut follower, batch).await?;
                role.backoff.reset();
                role.status.reached(last.position);
            }
            role.status.working();
        }
        Ok(())
    }
}

impl AuditWebhook {
    /// Posts a batch once, in parts if the receiver says that it is too large, and remembers each part that was acknowledged.
    async fn post_batch(
        &self,
        role: &LeasedRole<'_>,
        follower: &mut RememberedFollower,
        batch: Batch,
    ) -> Result<(), WebhookStreamError> {
        // The next one is the last. A part of one line is posted as it is.
        let mut left = vec![batch.lines.as_slice()];
        while let Some(lines) = left.pop() {
            let [Line { position: first, .. }, ..] = lines else { continue };
            let last = lines.last().map_or(*first, |line| line.position);
            let delivery = Delivery {
                id: format!("audit_{first}_{last}"),
                content_type: self.format.content_type(),
                body: lines.iter().map(|line| line.text.as_str()).collect(),
            };
            match self.webhook.deliver(&self.client, role.clock.now(), delivery).await {
                Ok(()) => follower.remember(role, RoleMemory { position: last, detail: String::new() }).await?,
                Err(DeliveryError::Refused { status: TOO_LARGE }) if lines.len() > 1 => {
                    let (first, second) = lines.split_at(lines.len() / 2);
                    left.extend([second, first]);
                }
                Err(error) => return Err(WebhookStreamError::Undelivered { last, error }),
            }
        }
        Ok(())
    }
}
