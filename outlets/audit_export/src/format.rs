//! The formats that a SIEM reads.

use events::named;
use events_log::ClientAddress;

use crate::record::AuditRecord;
use crate::{cef, ocsf};

named! {
    /// A format in which an entry is one line.
    pub enum SiemFormat {
        /// The Open Cybersecurity Schema Framework, as JSON.
        Ocsf = "ocsf",
        /// The Common Event Format.
        Cef = "cef",
    }
}

impl SiemFormat {
    /// The entry as one line, without its end.
    pub fn line(self, record: &AuditRecord<'_>) -> String {
        match self {
            Self::Ocsf => ocsf::line(record),
            Self::Cef => cef::line(record),
        }
    }

    /// The same without what was changed, which it says.
    pub fn short_line(self, record: &AuditRecord<'_>) -> String {
        match self {
            Self::Ocsf => ocsf::short_line(record),
            Self::Cef => cef::short_line(record),
        }
    }

    /// The same without any text that a client has chosen: a receiver that refuses it refuses all entries.
    pub fn shortest_line(self, record: &AuditRecord<'_>) -> String {
        let client = record.client.map(|client| ClientAddress { user_agent: None, ..client.clone() });
        self.short_line(&AuditRecord {
            client: client.as_ref(),
            actor_name: None,
            resource_name: None,
            entry: record.entry,
        })
    }

    /// The longest of these lines that has at most so many bytes, or the shortest one.
    pub fn line_within(self, record: &AuditRecord<'_>, bytes_max: usize) -> String {
        let whole = self.line(record);
        if whole.len() <= bytes_max {
            return whole;
        }
        let short = self.short_line(record);
        if short.len() <= bytes_max { short } else { self.shortest_line(record) }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Ocsf => "application/x-ndjson",
            Self::Cef => "text/plain; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use events::event::Event;
    use serde_json::json;

    use super::*;
    use crate::record::tests::{audited, bare, sample};

    #[test]
    fn a_line_that_is_too_long_loses_its_changes_first_and_then_what_a_client_has_chosen() {
        let (mut entry, client) = sample();
        entry.changes = json!({ "name": "n".repeat(3_000) });
        let client = ClientAddress { user_agent: Some("u".repeat(900)), ..client };
        let record = AuditRecord { client: Some(&client), ..bare(&entry) };
        for format in SiemFormat::ALL {
            let [whole, short, shortest] =
                [format.line(&record), format.short_line(&record), format.shortest_line(&record)];
            let within = |bytes_max| format.line_within(&record, bytes_max);
            assert_eq!(within(whole.len()), whole);
            assert_eq!(within(whole.len() - 1), short);
            assert_eq!((within(short.len() - 1), within(0)), (shortest.clone(), shortest.clone()));
            assert!(shortest.contains("203.0.113.9") && !shortest.contains("uuu"), "{format}: {shortest}");
        }
    }

    /// One line for each type that is audited. `UPDATE_GOLDEN=1` writes them anew: a changed line is a change for those who read it.
    #[test]
    fn the_lines_of_all_audited_types_are_as_they_were() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/siem");
        for format in SiemFormat::ALL {
            let lines: String = Event::types()
                .filter_map(|(name, version)| audited(name, version))
                .map(|entry| format.line(&bare(&entry)) + "\n")
                .collect();
            // They do not change with a release.
            let version = env!("CARGO_PKG_VERSION");
            let lines = lines
                .replace(
                    &format!("\"vendor_name\":\"Ledgerway\",\"version\":\"{version}\""),
                    "\"vendor_name\":\"Ledgerway\",\"version\":\"VERSION\"",
                )
                .replace(&format!("|Ledgerway|{version}|"), "|Ledgerway|VERSION|");
            let path = folder.join(format!("{format}.lines"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::create_dir_all(&folder).expect("the folder");
                std::fs::write(&path, &lines).expect("a file");
            }
            let golden = std::fs::read_to_string(&path).expect("the golden lines");
            assert!(golden.lines().count() > 30 && lines == golden, "{}", path.display());
        }
    }
}
