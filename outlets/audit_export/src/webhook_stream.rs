//! The role that posts the audit to a webhook: in the order of the log, in batches, each of which is acknowledged before the next.

use std::time::Duration;

use budget_alerts::{Delivery, DeliveryError, Webhook};
use events_log::LogError;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use outlets::{AnyOutlet, LeasedRole, Outlet, RememberedFollower};
use reqwest::Client;

use crate::format::SiemFormat;
use crate::record::AuditRecord;
use crate::source::{Entries, PAGE_EVENTS, SourceError};

/// How long a batch is; a single line can be longer.
const BATCH_BYTES: usize = 256 * 1024;
/// The statuses of a receiver, or of a proxy before it, to which a post is malformed, too large or not acceptable.
const CONTENT_STATUSES: [u16; 3] = [400, 413, 422];
/// How often a batch may be refused with another status, until a line of it may be the reason: a filter before a receiver answers with 403,
/// as the receiver does to a signature that it does not know yet.
const REFUSALS_MAX: u32 = 4;
/// A line that is refused by itself so often is shortened, once there were so many refusals of it and of its batch: for some six seconds.
const REFUSALS_ALONE_MAX: u32 = 4;
const REFUSALS_SHORTENED: u32 = 6;

/// The outlet that posts the audit to a webhook.
pub struct AuditWebhook {
    webhook: Webhook,
    client: Client,
    format: SiemFormat,
    /// Posts that were refused since the last batch that was acknowledged.
    refusals: u32,
    alone: Option<RefusedAlone>,
}

/// The refusals of an entry that was posted by itself.
#[derive(Clone, Copy)]
struct RefusedAlone {
    position: u64,
    times: u32,
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
struct Line<'a> {
    record: AuditRecord<'a>,
    /// With its end.
    text: String,
}

/// Lines that are posted together, unless they are too much for the receiver.
#[derive(Default)]
struct Batch<'a> {
    lines: Vec<Line<'a>>,
    bytes: usize,
}

impl<'a> Batch<'a> {
    fn put(&mut self, record: AuditRecord<'a>, mut text: String) {
        text.push('\n');
        self.bytes += text.len();
        self.lines.push(Line { record, text });
    }
}

/// The positions of the first and the last entry of a post.
#[derive(Clone, Copy)]
struct Posted {
    first: u64,
    last: u64,
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
                let entries = Entries::of(role.log, events).await?;
                let mut batch = Batch::default();
                for record in entries.records() {
                    batch.put(record, self.format.line(&record));
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
    /// The client follows no redirects.
    pub fn new(webhook: Webhook, client: Client, format: SiemFormat) -> Self {
        Self { webhook, client, format, refusals: 0, alone: None }
    }

    /// Posts a batch once, in parts if its content may be the reason of a refusal, and remembers each part that was acknowledged. A line
    /// that is refused by itself is posted without its changes, and then without any text of clients: one entry of one tenant must not
    /// hold up all that follow. Unless the status says that it is the content, only after several refusals: an outage must not cost changes.
    async fn post_batch(
        &mut self,
        role: &mut LeasedRole<'_>,
        follower: &mut RememberedFollower,
        batch: Batch<'_>,
    ) -> Result<(), WebhookStreamError> {
        // The next one is the last.
        let mut left = vec![batch.lines.as_slice()];
        while let Some(lines) = left.pop() {
            let [Line { record, .. }, ..] = lines else { continue };
            let first = record.entry.position;
            let posted = Posted { first, last: lines.last().map_or(first, |line| line.record.entry.position) };
            if lines.len() > 1 && self.alone.is_some_and(|alone| alone.position == first) {
                let (first, rest) = lines.split_at(1);
                left.extend([rest, first]);
                continue;
            }
            let text = lines.iter().map(|line| line.text.as_str()).collect();
            let mut answer = self.post(role, posted, text).await;
            if let Err(DeliveryError::Refused { status }) = answer {
                if lines.len() > 1 && self.may_be_content(status) {
                    let (first, second) = lines.split_at(lines.len() / 2);
                    left.extend([second, first]);
                    continue;
                }
                if lines.len() == 1 && self.is_content_of(first, status) {
                    answer = self.post_shortened(role, record).await;
                }
            }
            answer.map_err(|error| WebhookStreamError::Undelivered { last: posted.last, error })?;
            self.alone = None;
            role.backoff.reset();
            follower.remember(role, RoleMemory { position: posted.last, detail: String::new() }).await?;
        }
        self.refusals = 0;
        Ok(())
    }

    /// Posts an entry that was refused as it is.
    async fn post_shortened(&mut self, role: &LeasedRole<'_>, record: &AuditRecord<'_>) -> Result<(), DeliveryError> {
        let position = record.entry.position;
        let posted = Posted { first: position, last: position };
        let mut answer = self.post(role, posted, self.format.short_line(record) + "\n").await;
        if let Err(DeliveryError::Refused { .. }) = answer {
            answer = self.post(role, posted, self.format.shortest_line(record) + "\n").await;
        }
        if answer.is_ok() {
            tracing::warn!(position, "the webhook refused an entry of the audit, and has taken it in a shorter form");
        }
        answer
    }

    async fn post(&mut self, role: &LeasedRole<'_>, posted: Posted, body: String) -> Result<(), DeliveryError> {
        let Posted { first, last } = posted;
        let content_type = self.format.content_type();
        let delivery = Delivery { id: format!("audit_{first}_{last}"), content_type, body };
        let answer = self.webhook.deliver(&self.client, role.clock.now(), delivery).await;
        if let Err(DeliveryError::Refused { .. }) = answer {
            self.refusals = self.refusals.saturating_add(1);
        }
        answer
    }

    /// Whether the content of a post of several lines may be the reason of a refusal.
    fn may_be_content(&self, status: u16) -> bool {
        self.refusals >= REFUSALS_MAX || CONTENT_STATUSES.contains(&status)
    }

    /// Whether an entry that was just refused by itself is the reason.
    fn is_content_of(&mut self, position: u64, status: u16) -> bool {
        if CONTENT_STATUSES.contains(&status) {
            return true;
        }
        let before = self.alone.filter(|alone| alone.position == position).map_or(0, |alone| alone.times);
        let alone = RefusedAlone { position, times: before.saturating_add(1) };
        self.alone = Some(alone);
        alone.times >= REFUSALS_ALONE_MAX && self.refusals >= REFUSALS_SHORTENED
    }
}
