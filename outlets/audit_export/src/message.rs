//! An entry as a message of RFC 5424, with the count of its bytes before it, as RFC 6587 and RFC 5425 ask for on a connection.

use events::time::rfc3339;
use projections::views::audit::Severity;

use crate::format::SiemFormat;
use crate::record::AuditRecord;

/// Log audit.
const FACILITY: u8 = 13;
const MSGID_CHARS_MAX: usize = 32;
const HOSTNAME_CHARS_MAX: usize = 255;
/// The value of a field that is not known.
const NIL: &str = "-";

/// Writes messages of one process.
pub struct MessageWriter {
    format: SiemFormat,
    hostname: String,
    bytes_max: usize,
}

impl MessageWriter {
    /// Messages have at most so many bytes if their entries can be told in so many.
    pub fn new(format: SiemFormat, hostname: Option<&str>, bytes_max: usize) -> Self {
        Self { format, hostname: field(hostname.unwrap_or_default(), HOSTNAME_CHARS_MAX), bytes_max }
    }

    /// Appends the message of an entry.
    pub fn write(&self, frames: &mut Vec<u8>, record: &AuditRecord<'_>) {
        let entry = record.entry;
        let priority = FACILITY * 8 + severity(&entry.severity);
        let (time, hostname) = (rfc3339(entry.recorded_at), &self.hostname);
        let kind = field(&entry.action, MSGID_CHARS_MAX);
        let header = format!("<{priority}>1 {time} {hostname} ledgerway {NIL} {kind} {NIL} ");
        let line = self.format.line_within(record, self.bytes_max.saturating_sub(header.len()));
        let message = header + &line;
        frames.extend(format!("{} ", message.len()).into_bytes());
        frames.extend(message.into_bytes());
    }
}

/// The severities of RFC 5424.
fn severity(severity: &str) -> u8 {
    match Severity::parse(severity) {
        Some(Severity::Warning) => 4,
        Some(Severity::Notice) => 5,
        Some(Severity::Info) | None => 6,
    }
}

/// A field of the header: visible ASCII alone.
fn field(text: &str, chars_max: usize) -> String {
    let visible: String = text.chars().filter(char::is_ascii_graphic).take(chars_max).collect();
    if visible.is_empty() { NIL.to_owned() } else { visible }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::tests::{bare, sample};

    #[test]
    fn a_message_has_its_length_in_bytes_before_it() {
        let (mut entry, _) = sample();
        entry.actor = "ключ".to_owned();
        let mut frames = Vec::new();
        let writer = MessageWriter::new(SiemFormat::Cef, Some("node 1\n"), usize::MAX);
        writer.write(&mut frames, &bare(&entry));
        let text = String::from_utf8(frames).expect("text");
        let (count, message) = text.split_once(' ').expect("a count");
        assert_eq!(count.parse::<usize>().expect("a number"), message.len());
        let header = "<109>1 2025-11-20T08:00:00.123456Z node1 ledgerway - key.created - CEF:0|";
        assert!(message.starts_with(header), "{message}");
        let mut unknown = Vec::new();
        MessageWriter::new(SiemFormat::Ocsf, None, usize::MAX).write(&mut unknown, &bare(&entry));
        let unknown = String::from_utf8(unknown).expect("text");
        assert!(unknown.contains("Z - ledgerway - key.created - {"), "{unknown}");
    }

    #[test]
    fn a_message_counts_its_header_too() {
        let (mut entry, _) = sample();
        entry.changes = json!({ "name": "n".repeat(3_000) });
        let written = |bytes_max| {
            let mut frames = Vec::new();
            MessageWriter::new(SiemFormat::Ocsf, Some("node"), bytes_max).write(&mut frames, &bare(&entry));
            frames.len() - String::from_utf8_lossy(&frames).find('<').expect("a message")
        };
        let whole = written(usize::MAX);
        assert_eq!(written(whole), whole);
        assert!(written(whole - 1) < whole - 2_900);
    }
}
