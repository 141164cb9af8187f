//! The role that posts the audit to a webhook: in the order of the log, in batches, each of which is acknowledged before the next.

use std::sync::Arc;
use std::time::Duration;

use budget_alerts::{Delivery, DeliveryError, Webhook};
use events::backoff::Backoff;
use events::log::{Lease, LeaseWorkEnd, Log, LogError};
use events::role::RoleStatus;
use events::time::Clock;
use reqwest::Client;
use tokio::time::{MissedTickBehavior, interval};

use crate::format::SiemFormat;
use crate::source::{self, Entries, PAGE_EVENTS, SourceError};

/// How long a batch is; a single line can be longer.
const BATCH_BYTES: usize = 256 * 1024;
/// The status of a receiver, or of a proxy before it, to which a post is too large.
const TOO_LARGE: u16 = 413;
/// How often the position is remembered while there are no entries.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(5);
/// The pauses between attempts. They begin anew once a batch was acknowledged.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What the role needs.
pub struct AuditWebhookParts {
    pub log: Log,
    pub webhook: Webhook,
    /// Follows no redirects.
    pub client: Client,
    pub format: SiemFormat,
    pub status: RoleStatus,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
enum WebhookStreamError {
    #[error("the audit up to position {last} is not sent: {error}")]
    Undelivered { last: u64, error: DeliveryError },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read the log: {0}")]
    Log(#[from] LogError),
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

/// Posts the audit whenever this process has the lease, until the log is closed. Can be dropped at any time.
pub async fn run_webhook(parts: AuditWebhookParts) {
    let mut holder = parts.log.lease(&parts.status);
    let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
    loop {
        let lease = holder.wait().await;
        let ended = tokio::select! {
            () = lease.lost() => Ok(LeaseWorkEnd::LeaseLost),
            ended = post_all(&parts, &lease, &mut backoff) => ended,
        };
        if !holder.conclude(lease, ended, &mut backoff, parts.clock.now()).await {
            return;
        }
    }
}

/// Follows the log from what was acknowledged, and posts its entries.
async fn post_all(
    parts: &AuditWebhookParts,
    lease: &Lease,
    backoff: &mut Backoff,
) -> Result<LeaseWorkEnd, WebhookStreamError> {
    let mut remembered = source::begin(&parts.log, lease).await?;
    let mut done = remembered;
    let mut follower = parts.log.follow(done, PAGE_EVENTS);
    let mut remember = interval(REMEMBER_INTERVAL);
    remember.set_missed_tick_behavior(MissedTickBehavior::Delay);
    parts.status.reached(done);
    loop {
        tokio::select! {
            _ = remember.tick(), if remembered < done => {
                source::remember(lease, done).await?;
                remembered = done;
            }
            followed = follower.next() => {
                let Some(followed) = followed? else { return Ok(LeaseWorkEnd::LogClosed) };
                for events in followed.events().chunks(PAGE_EVENTS) {
                    let mut batch = Batch::default();
                    for record in Entries::of(&parts.log, events).await?.records() {
                        batch.put(record.entry.position, parts.format.line(&record));
                        if batch.bytes >= BATCH_BYTES {
                            remembered = post_batch(parts, lease, std::mem::take(&mut batch)).await?.unwrap_or(remembered);
                        }
                    }
                    remembered = post_batch(parts, lease, batch).await?.unwrap_or(remembered);
                    done = events.last().map_or(done, |last| last.position);
                    parts.status.reached(done);
                    backoff.reset();
                }
                parts.status.working();
            }
        }
    }
}

/// Posts a batch once, in parts if the receiver says that it is too large. Returns its last position; `None` if it is empty.
async fn post_batch(parts: &AuditWebhookParts, lease: &Lease, batch: Batch) -> Result<Option<u64>, WebhookStreamError> {
    // The next one is the last. A part of one line is posted as it is.
    let mut left = vec![batch.lines.as_slice()];
    let mut delivered = None;
    while let Some(lines) = left.pop() {
        match post(parts, lease, lines).await {
            Err(WebhookStreamError::Undelivered { error: DeliveryError::Refused { status: TOO_LARGE }, .. })
                if lines.len() > 1 =>
            {
                let (first, second) = lines.split_at(lines.len() / 2);
                left.extend([second, first]);
            }
            posted => delivered = posted?.or(delivered),
        }
    }
    Ok(delivered)
}

/// Posts lines once, and remembers that they were acknowledged. Returns the last position; `None` if there are none.
async fn post(parts: &AuditWebhookParts, lease: &Lease, lines: &[Line]) -> Result<Option<u64>, WebhookStreamError> {
    let [Line { position: first, .. }, ..] = lines else { return Ok(None) };
    let last = lines.last().map_or(*first, |line| line.position);
    let delivery = Delivery {
        id: format!("audit_{first}_{last}"),
        content_type: parts.format.content_type(),
        body: lines.iter().map(|line| line.text.as_str()).collect(),
    };
    let delivered = parts.webhook.deliver(&parts.client, parts.clock.now(), delivery).await;
    delivered.map_err(|error| WebhookStreamError::Undelivered { last, error })?;
    source::remember(lease, last).await?;
    Ok(Some(last))
}
