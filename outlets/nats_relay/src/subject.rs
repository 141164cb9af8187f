//! The names of the stream, and of the subject of an event: `ledgerway.events.{family}.{type}.{tenant}`. A type has three parts
//! (`budget.settled.v1`), so every subject has seven, and a consumer can filter by each of them.

use events::event::{Event, Recorded};

/// The name of the stream.
pub const STREAM: &str = "LEDGERWAY";
/// The subjects of its messages.
pub const SUBJECTS: &str = "ledgerway.events.>";
/// In the place of the tenant, for events that belong to none.
const NO_TENANT: &str = "-";

pub fn subject(recorded: &Recorded) -> String {
    let (family, name, version) = (family(&recorded.event), recorded.event.name(), recorded.event.version());
    match recorded.context.tenant_id {
        Some(tenant) => format!("ledgerway.events.{family}.{name}.v{version}.{tenant}"),
        None => format!("ledgerway.events.{family}.{name}.v{version}.{NO_TENANT}"),
    }
}

/// The family as users know it. Never renamed: consumers filter by it.
const fn family(event: &Event) -> &'static str {
    match event {
        Event::Inference(_) => "inference",
        Event::Hold(_) => "ledger",
        Event::Resource(_) => "admin",
        Event::Access(_) => "access",
        Event::Alert(_) => "alerts",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use events::event::{Actor, Context, Stream, StreamKind};
    use events::time::from_micros;

    use super::*;

    fn golden(name: &str, version: u32) -> Event {
        let path = format!("{}/../../tests/golden/events/{name}.v{version}.json", env!("CARGO_MANIFEST_DIR"));
        let sample = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let sample: serde_json::Value = serde_json::from_str(&sample).expect("JSON");
        Event::decode(name, version, &sample["data"].to_string()).expect("an event")
    }

    fn recorded(event: Event) -> Recorded {
        Recorded {
            position: 1,
            recorded_at: from_micros(0),
            stream: Stream::new(StreamKind::Access, "x"),
            sequence: 1,
            context: Context::of(Actor::Operator),
            event,
        }
    }

    /// Wildcards count parts, so a type with another number of them would not be found by them.
    ///
    /// Holds: nats.subjects
    #[test]
    fn every_type_has_a_subject_of_seven_parts_and_no_two_have_the_same() {
        let subjects: Vec<String> =
            Event::types().map(|(name, version)| subject(&recorded(golden(name, version)))).collect();
        for subject in &subjects {
            let parts: Vec<&str> = subject.split('.').collect();
            let is_plain =
                |part: &&str| part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
            assert!(parts.len() == 7 && parts.iter().all(|part| !part.is_empty() && is_plain(part)), "{subject}");
        }
        assert_eq!(subjects.iter().collect::<BTreeSet<_>>().len(), subjects.len());
        let families: BTreeSet<&str> = subjects.iter().filter_map(|subject| subject.split('.').nth(2)).collect();
        assert_eq!(families.into_iter().collect::<Vec<_>>(), ["access", "admin", "alerts", "inference", "ledger"]);
    }

    #[test]
    fn the_tenant_is_the_last_part() {
        let mut settled = recorded(golden("budget.settled", 1));
        assert_eq!(subject(&settled), "ledgerway.events.ledger.budget.settled.v1.-");
        let tenant = "ten_0193d6a0000070008000000000000001".parse().expect("an id");
        settled.context.tenant_id = Some(tenant);
        assert_eq!(subject(&settled), format!("ledgerway.events.ledger.budget.settled.v1.{tenant}"));
    }
}
