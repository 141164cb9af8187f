//! Roles: work on the whole log that one process at a time does for all, such as relaying it. Here is what they are called and
//! how they report; which process has one is decided by its [lease](crate::log::LeaseHolder).

use std::fmt::Display;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::shown_text::shown_text;

crate::named! {
    /// Work that one process at a time does for all.
    pub enum Role {
        /// Publishes the log in a stream of NATS.
        Relay = "relay",
        /// Writes the log to an object store.
        Archive = "archive",
        /// Copies the views for analysts.
        Analysts = "analysts",
        /// Sends what budgets announce to a webhook.
        Alerts = "alerts",
        /// Publishes the log as a transparency log.
        Transparency = "transparency",
        /// Sends the audit to a syslog receiver.
        AuditStream = "audit_stream",
        /// Posts the audit to a webhook.
        AuditWebhook = "audit_webhook",
        /// Deletes sealed content that its tenants keep no longer.
        Content = "content",
        /// Applies files of configuration. A process has it only while it does so.
        Configuration = "configuration",
    }
}

/// The longest reason for a failure that is shown: what the gateway says, with the words of a server in it.
const WHY_CHARS_MAX: usize = 600;

/// The memory of a role from one process to the next. A hint: neither order nor money rests on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleMemory {
    pub position: u64,
    /// In a form of the role's own.
    pub detail: String,
}

/// Whether a process has a role, and can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleState {
    /// Another process has the role, or this one has not asked for it yet.
    Waiting,
    Working,
    /// The process cannot do the work at present, whether or not it has the role, and tries again.
    Failing {
        /// For people: on one line, of at most 600 characters.
        why: String,
        since: DateTime<Utc>,
    },
}

/// How far a role has come, as far as this process knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleReport {
    pub role: Role,
    pub state: RoleState,
    /// The last position that this process has dealt with.
    pub position: u64,
}

/// The report of a role, which it keeps up to date. Cheap to clone.
#[derive(Clone)]
pub struct RoleStatus {
    report: Arc<watch::Sender<RoleReport>>,
}

impl RoleStatus {
    pub fn new(role: Role) -> Self {
        Self { report: Arc::new(watch::Sender::new(RoleReport { role, state: RoleState::Waiting, position: 0 })) }
    }

    pub fn role(&self) -> Role {
        self.report.borrow().role
    }

    pub fn waiting(&self) {
        self.report.send_modify(|report| report.state = RoleState::Waiting);
    }

    pub fn working(&self) {
        self.report.send_modify(|report| {
            if report.state != RoleState::Working {
                tracing::info!(role = %report.role, "this process does the work of a role");
            }
            report.state = RoleState::Working;
        });
    }

    /// `why` has no secret in it, and no address with one. It is logged when it is news.
    pub fn failing(&self, why: &dyn Display, now: DateTime<Utc>) {
        let why = shown_text(why, WHY_CHARS_MAX);
        self.report.send_modify(|report| {
            let (since, is_news) = match &report.state {
                RoleState::Failing { since, why: known } => (*since, *known != why),
                RoleState::Waiting | RoleState::Working => (now, true),
            };
            if is_news {
                tracing::warn!(role = %report.role, why, "this process cannot do the work of a role: trying again");
            }
            report.state = RoleState::Failing { why, since };
        });
    }

    pub fn reached(&self, position: u64) {
        self.report.send_modify(|report| report.position = position);
    }

    pub fn read(&self) -> RoleReport {
        self.report.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_micros;

    #[test]
    fn a_failure_lasts_from_its_first_report_on() {
        let status = RoleStatus::new(Role::Relay);
        status.working();
        status.reached(7);
        status.failing(&"no server", from_micros(1));
        status.failing(&"still none", from_micros(2));
        let RoleReport { role, state, position } = status.read();
        let failing = RoleState::Failing { why: "still none".to_owned(), since: from_micros(1) };
        assert_eq!((role, state, position), (Role::Relay, failing, 7));
        status.working();
        status.failing(&"again", from_micros(3));
        assert_eq!(status.read().state, RoleState::Failing { why: "again".to_owned(), since: from_micros(3) });
    }

    #[test]
    fn what_a_server_says_is_reported_on_one_line_of_bounded_length() {
        let status = RoleStatus::new(Role::Relay);
        status.failing(&format!("NATS: {}", "\u{1b}[31m\n".repeat(100_000)), from_micros(1));
        let RoleState::Failing { why, .. } = status.read().state else { panic!("it fails") };
        assert!(why.starts_with("NATS: [31m [31m ") && !why.contains(char::is_control), "{why}");
        assert_eq!(why.chars().count(), WHY_CHARS_MAX);
    }
}
