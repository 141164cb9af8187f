//! The formats that a SIEM reads.

use events::named;

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

    use super::*;
    use crate::record::tests::{audited, bare};

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
