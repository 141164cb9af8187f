//! An entry of the audit with what is known beside it.

use events_log::ClientAddress;
use projections::views::audit::AuditEntry;
use serde_json::Value;

/// The name of the product.
pub const PRODUCT: &str = "Ledgerway";
/// The actors that are parts of the gateway.
const SYSTEM: &str = "system:";
pub const OPERATOR: &str = "operator";

#[derive(Clone, Copy, Debug)]
pub struct AuditRecord<'a> {
    pub entry: &'a AuditEntry,
    /// The client of a change; `None` for refusals, for what the gateway did itself, and if it was erased.
    pub client: Option<&'a ClientAddress>,
    pub actor_name: Option<&'a str>,
    pub resource_name: Option<&'a str>,
}

impl<'a> AuditRecord<'a> {
    /// Kind and id of the resource.
    pub fn resource(&self) -> (&'a str, &'a str) {
        self.entry.resource.split_once('/').unwrap_or(("", &self.entry.resource))
    }

    /// The last part of the action: `created`.
    pub fn verb(&self) -> &'a str {
        self.entry.action.rsplit('.').next().unwrap_or_default()
    }

    pub fn is_by_system(&self) -> bool {
        self.entry.actor.starts_with(SYSTEM)
    }

    pub fn is_denied(&self) -> bool {
        self.entry.outcome == projections::views::audit::Outcome::Denied.as_str()
    }

    pub fn user_agent(&self) -> Option<&'a str> {
        self.client?.user_agent.as_deref()
    }

    /// The code of a refusal.
    pub fn code(&self) -> Option<&'a str> {
        self.is_denied().then(|| self.entry.changes.get("code")).flatten().and_then(Value::as_str)
    }

    /// How many requests an entry stands for, if it says so.
    pub fn count(&self) -> Option<u64> {
        self.entry.changes.get("count").and_then(Value::as_u64)
    }
}

#[cfg(test)]
pub mod tests {
    use events::event::{Actor, Context, Event, Recorded, Stream, StreamKind};
    use events::time::{from_micros, parse_rfc3339};
    use serde_json::json;

    use super::*;

    pub const fn bare(entry: &AuditEntry) -> AuditRecord<'_> {
        AuditRecord { entry, client: None, actor_name: None, resource_name: None }
    }

    /// An entry as it might be recorded, and the client that it came from.
    pub fn sample() -> (AuditEntry, ClientAddress) {
        let entry = AuditEntry {
            position: 44,
            recorded_at: parse_rfc3339("2025-11-20T08:00:00.123456Z").expect("a time"),
            actor: "key_00000000000000000000000000000005".to_owned(),
            action: "key.created".to_owned(),
            resource: "key/key_1".to_owned(),
            category: "administration".to_owned(),
            severity: "notice".to_owned(),
            outcome: "success".to_owned(),
            changes: json!({ "name": "app", "models": ["a=b", "c|d\\e"] }),
            tenant_id: Some("ten_1".to_owned()),
            ..AuditEntry::default()
        };
        let request_id = "req_00000000000000000000000000000001".parse().expect("an id");
        let user_agent = Some("curl/8".to_owned());
        (entry, ClientAddress { request_id, ip: "203.0.113.9".to_owned(), user_agent })
    }

    /// The entry of the golden sample of a type; `None` if the type is not audited.
    pub fn audited(name: &str, version: u32) -> Option<AuditEntry> {
        let path = format!("{}/../../tests/golden/events/{name}.v{version}.json", env!("CARGO_MANIFEST_DIR"));
        let sample = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let sample: Value = serde_json::from_str(&sample).expect("JSON");
        let recorded = Recorded {
            position: 7,
            recorded_at: from_micros(1_000),
            stream: Stream::new(StreamKind::Access, "x"),
            sequence: 1,
            context: Context::of(Actor::Operator),
            event: Event::decode(name, version, &sample["data"].to_string()).expect("an event"),
        };
        AuditEntry::of(&recorded).expect("JSON")
    }
}
