//! The source of both ways to a SIEM: audit entries, read from the log.

use std::collections::HashMap;
use std::sync::Arc;

use events::event::Recorded;
use events::ids::RequestId;
use events_log::{ClientAddress, Log, LogError};
use projections::views::audit::AuditEntry;

use crate::record::AuditRecord;

/// Events that are read at a time.
pub const PAGE_EVENTS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot read the log, or remember how far it was read: {0}")]
    Log(#[from] LogError),
    #[error("an entry of the audit cannot be written as JSON: {0}")]
    Unwritable(#[from] serde_json::Error),
}

/// Entries of the audit, with the clients that they came from.
pub struct Entries {
    entries: Vec<AuditEntry>,
    clients: HashMap<RequestId, ClientAddress>,
}

impl Entries {
    /// Those of these events.
    pub async fn of(log: &Log, events: &[Arc<Recorded>]) -> Result<Self, SourceError> {
        let mut entries = Vec::new();
        for recorded in events {
            entries.extend(AuditEntry::of(recorded)?);
        }
        let requests: Vec<RequestId> = entries.iter().filter_map(|entry| entry.request_id).collect();
        if requests.is_empty() {
            return Ok(Self { entries, clients: HashMap::new() });
        }
        // From the erasable side table, in which each is stored with its event.
        let clients = log.read(move |reader| reader.client_addresses(&requests)).await?;
        Ok(Self { entries, clients })
    }

    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// In the order of the log. Names are not known here.
    pub fn records(&self) -> impl Iterator<Item = AuditRecord<'_>> {
        self.entries.iter().map(|entry| {
            let client = entry.request_id.and_then(|request| self.clients.get(&request));
            AuditRecord { entry, client, actor_name: None, resource_name: None }
        })
    }
}
