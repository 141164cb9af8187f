//! The roles that this process may have for all that share its log, each by a lease.

use std::sync::Arc;
use std::time::Duration;

use archive::role::ArchiveOutlet;
use audit_export::{AuditStream, AuditWebhook, Receiver};
use budget_alerts::BudgetAlerts;
use events::time::Clock;
use events_log::role::{Role, RoleStatus};
use nats_relay::NatsRelay;
use outlets::AnyOutlet;
use tokio::task::JoinSet;
use transparency::role::Publisher;

use super::ServeError;
use super::archived::ConfiguredArchive;
use super::content::ContentParts;
use super::engines::Engines;
use crate::config::{AuditStreamSettings, Config, NatsSettings};

const CONNECT_MAX: Duration = Duration::from_secs(5);

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

/// The parts of outlets that are opened before them.
pub struct Opened<'a> {
    pub archive: Option<ConfiguredArchive>,
    pub publisher: Option<Publisher>,
    pub content: Option<&'a ContentParts>,
}

/// Starts the outlets that are configured for this process. Each runs until the log is closed, or until it is dropped.
pub fn start(
    config: &mut Config,
    engines: &Engines,
    opened: Opened<'_>,
    clock: &Arc<dyn Clock>,
    serving: &mut JoinSet<()>,
) -> Result<(), ServeError> {
    let Opened { archive, publisher, content } = opened;
    let mut starter = Starter { engines, clock, serving };
    starter.start(config.nats.take().map(|NatsSettings { address, limits }| NatsRelay::new(address, limits)));
    starter.start(archive.and_then(|ConfiguredArchive { open, limits, .. }| Some(ArchiveOutlet::new(open, limits?))));
    if let Some(webhook) = config.alerts.take() {
        starter.start(Some(BudgetAlerts { webhook, client: direct_client()? }));
    }
    starter.start(publisher);
    if let Some(AuditStreamSettings { address, format, message_bytes_max }) = config.audit_stream.take() {
        // Linux has it here; elsewhere, messages do not say it.
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let receiver = Receiver::new(address, provider_client::tls_config()?);
        starter.start(Some(AuditStream::new(receiver, format, hostname, message_bytes_max)));
    }
    if let Some((webhook, format)) = config.audit_webhook.take() {
        starter.start(Some(AuditWebhook::new(webhook, direct_client()?, format)));
    }
    starter.start(content.map(|content| content.retention(&engines.tables)));
    let copied = engines.views.as_ref().zip(config.database.clone());
    starter.start(copied.and_then(|(views, database)| views.copy(database)));
    Ok(())
}

struct Starter<'a> {
    engines: &'a Engines,
    clock: &'a Arc<dyn Clock>,
    serving: &'a mut JoinSet<()>,
}

impl Starter<'_> {
    /// Starts an outlet, if this process may have its role.
    fn start(&mut self, outlet: Option<impl Into<AnyOutlet>>) {
        let Some(outlet) = outlet.map(Into::into) else { return };
        if let Some(status) = self.engines.roles.iter().find(|status| status.role() == outlet.role()) {
            let (log, clock) = (self.engines.log.clone(), Arc::clone(self.clock));
            self.serving.spawn(outlet.run(log, status.clone(), clock));
        }
    }
}

/// A client for webhooks and witnesses: it goes to the given address alone, whatever proxies the environment names.
pub fn direct_client() -> Result<reqwest::Client, ServeError> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(provider_client::tls_config()?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_MAX);
    Ok(client.build()?)
}
