//! What this process does for all that share its log, each by a lease.

use std::sync::Arc;

use alerts::{AlertsParts, Webhook};
use analysts::CopierParts;
use archive::role::ArchiverParts;
use archive::{Archive, SegmentLimits};
use content_store::retention::{self, RetentionParts, RetentionRules};
use content_store::{ContentFigures, ContentStore};
use events::log::{DatabaseAddress, Log};
use events::role::{Role, RoleStatus};
use events::time::Clock;
use objects::{Objects, Open};
use projections::views::{CopiedPosition, ViewsHandle};
use relay::RelayParts;
use siem::{AuditStreamParts, AuditWebhookParts, Receiver, SiemFormat};
use tokio::task::JoinSet;
use transparency::role::{FILES_BYTES_MAX, PARTIAL_KEPT, PublisherParts};
use transparency::{OpenSigner, WITNESS_RETRY_AFTER, WitnessAddress};

use crate::config::{Config, NatsSettings};

/// What the roles of this process write to; `None` for those that are not configured.
pub struct RoleSinks {
    pub nats: Option<NatsSettings>,
    pub archive: Option<(Open<Archive>, SegmentLimits)>,
    pub copy: Option<AnalystsCopy>,
    pub alerts: Option<(Webhook, reqwest::Client)>,
    pub publisher: Option<Publisher>,
    pub audit_stream: Option<AuditStream>,
    pub audit_webhook: Option<(Webhook, SiemFormat, reqwest::Client)>,
    pub content: Option<ContentRetention>,
}

/// The store of sealed content, and how long tenants keep it.
pub struct ContentRetention {
    pub store: ContentStore,
    pub figures: ContentFigures,
    pub rules: RetentionRules,
}

/// The receiver of the audit, and the way there.
pub struct AuditStream {
    pub receiver: Receiver,
    pub format: SiemFormat,
    pub hostname: Option<String>,
}

/// The published log, and what signs its checkpoints.
pub struct Publisher {
    pub open: Open<Objects>,
    pub origin: String,
    pub open_signer: OpenSigner,
    pub may_begin: bool,
    pub witnesses: Vec<WitnessAddress>,
    pub client: reqwest::Client,
}

/// The copy of the views for analysts, in the database that has the ledger.
pub struct AnalystsCopy {
    pub views: ViewsHandle,
    pub copied: CopiedPosition,
    pub database: DatabaseAddress,
}

/// The roles that are configured for this process, with their reports.
pub fn configured(config: &Config) -> Vec<RoleStatus> {
    if !config.mode.has_roles() {
        return Vec::new();
    }
    let is_configured = |role: Role| match role {
        Role::Relay => config.nats.is_some(),
        Role::Archive => config.archiving.as_ref().is_some_and(|archiving| archiving.limits.is_some()),
        Role::Analysts => config.analytics,
        Role::Alerts => config.alerts.is_some(),
        Role::Transparency => config.publishing.is_some(),
        Role::AuditStream => config.audit_stream.is_some(),
        Role::AuditWebhook => config.audit_webhook.is_some(),
        Role::Content => config.content.is_some(),
        // Each process takes it when it applies files, and there is nothing to report in between.
        Role::Configuration => false,
    };
    Role::ALL.iter().copied().filter(|role| is_configured(*role)).map(RoleStatus::new).collect()
}

/// Starts the roles of these reports. Each runs until the log is closed, or until it is dropped.
pub fn start(roles: &[RoleStatus], sinks: RoleSinks, log: &Log, clock: &Arc<dyn Clock>, serving: &mut JoinSet<()>) {
    let RoleSinks {
        mut nats,
        mut archive,
        mut copy,
        mut alerts,
        mut publisher,
        mut audit_stream,
        mut audit_webhook,
        mut content,
    } = sinks;
    for status in roles.iter().cloned() {
        let (log, clock) = (log.clone(), Arc::clone(clock));
        match status.role() {
            Role::Relay => {
                if let Some(NatsSettings { address, limits }) = nats.take() {
                    serving.spawn(relay::run(RelayParts { log, address, limits, status, clock }));
                }
            }
            Role::Archive => {
                if let Some((open, limits)) = archive.take() {
                    serving.spawn(archive::role::run(ArchiverParts { open, limits, log, status, clock }));
                }
            }
            Role::Alerts => {
                if let Some((webhook, client)) = alerts.take() {
                    serving.spawn(alerts::run(AlertsParts { log, webhook, client, status, clock }));
                }
            }
            Role::Transparency => {
                if let Some(Publisher { open, origin, open_signer, may_begin, witnesses, client }) = publisher.take() {
                    let (files_bytes_max, partial_kept) = (FILES_BYTES_MAX, PARTIAL_KEPT);
                    serving.spawn(transparency::role::run(PublisherParts {
                        open,
                        origin,
                        open_signer,
                        log,
                        status,
                        clock,
                        may_begin,
                        witnesses,
                        client,
                        witness_retry_after: WITNESS_RETRY_AFTER,
                        files_bytes_max,
                        partial_kept,
                    }));
                }
            }
            Role::AuditStream => {
                if let Some(AuditStream { receiver, format, hostname }) = audit_stream.take() {
                    serving.spawn(siem::run(AuditStreamParts { log, receiver, format, hostname, status, clock }));
                }
            }
            Role::AuditWebhook => {
                if let Some((webhook, format, client)) = audit_webhook.take() {
                    let parts = AuditWebhookParts { log, webhook, client, format, status, clock };
                    serving.spawn(siem::run_webhook(parts));
                }
            }
            Role::Content => {
                if let Some(ContentRetention { store, figures, rules }) = content.take() {
                    serving.spawn(retention::run(RetentionParts { store, rules, figures, log, status, clock }));
                }
            }
            Role::Configuration => {}
            Role::Analysts => {
                if let Some(AnalystsCopy { views, copied, database }) = copy.take() {
                    serving.spawn(analysts::run(CopierParts { log, views, copied, database, status, clock }));
                }
            }
        }
    }
}
