//! Entries of the audit as responses show them.

use std::collections::HashMap;

use events::ids::RequestId;
use events::time::rfc3339;
use events_log::ClientAddress;
use projections::views::audit::AuditEntry;

use crate::names::Names;
use crate::record::Record;

/// The clients' addresses by request, from the erasable side table.
pub type Origins = HashMap<RequestId, ClientAddress>;

/// The ids of the actor and the resource of an entry.
pub fn ids(entry: &AuditEntry) -> [String; 2] {
    [entry.actor.clone(), resource_id(entry).to_owned()]
}

pub fn resource_id(entry: &AuditEntry) -> &str {
    entry.resource.split_once('/').map_or("", |(_, id)| id)
}

/// The client that an entry came from, if it is known.
pub fn origin<'a>(entry: &AuditEntry, origins: &'a Origins) -> Option<&'a ClientAddress> {
    origins.get(&entry.request_id?)
}

pub fn item(entry: &AuditEntry, origins: &Origins, names: &Names) -> Record {
    let origin = origin(entry, origins);
    let mut item = Record::default();
    item.put("position", entry.position);
    item.put("recorded_at", rfc3339(entry.recorded_at));
    item.put("actor", entry.actor.as_str());
    item.put("action", entry.action.as_str());
    item.put("resource", entry.resource.as_str());
    item.put("severity", entry.severity.as_str());
    item.put("outcome", entry.outcome.as_str());
    item.put("request_id", entry.request_id.map(|id| id.to_string()));
    item.put("ip", origin.map(|origin| origin.ip.as_str()));
    item.put("user_agent", origin.and_then(|origin| origin.user_agent.as_deref()));
    item.put("changes", entry.changes.clone());
    item.put("actor_name", names.get(&entry.actor));
    item.put("resource_name", names.get(resource_id(entry)));
    item.put("category", entry.category.as_str());
    item
}
