//! The Common Event Format, version 0: a header of seven fields between bars, and pairs of keys and values. Only keys that the
//! format defines are used; values are as long as it allows at most.

use std::net::IpAddr;

use projections::views::audit::Severity;

use crate::record::{AuditRecord, PRODUCT};

/// The most characters of most values.
const TEXT_CHARS_MAX: usize = 1_023;
/// The end of a value that was longer.
const CUT: char = '…';
/// The most characters of custom strings.
const CUSTOM_CHARS_MAX: usize = 4_000;
/// The value of changes that were left out.
const OMITTED: &str = "omitted";

pub fn line(record: &AuditRecord<'_>) -> String {
    with_changes(record, &record.entry.changes.to_string())
}

/// The same without what was changed, which it says.
pub fn short_line(record: &AuditRecord<'_>) -> String {
    with_changes(record, OMITTED)
}

fn with_changes(record: &AuditRecord<'_>, changes: &str) -> String {
    let entry = record.entry;
    let mut line = String::from("CEF:0");
    let name = entry.action.replace(['.', '_'], " ");
    let severity = severity(&entry.severity).to_string();
    for field in [PRODUCT, PRODUCT, env!("CARGO_PKG_VERSION"), &entry.action, &name, &severity] {
        line.push('|');
        escape_header(&mut line, field);
    }
    line.push('|');
    let mut extension = Extension { line, is_first: true };
    extension.put("rt", &entry.recorded_at.timestamp_millis().to_string(), TEXT_CHARS_MAX);
    extension.put("externalId", &entry.position.to_string(), TEXT_CHARS_MAX);
    extension.put("cat", &entry.category, TEXT_CHARS_MAX);
    extension.put("act", &entry.action, TEXT_CHARS_MAX);
    extension.put("outcome", &entry.outcome, TEXT_CHARS_MAX);
    extension.put("suid", &entry.actor, TEXT_CHARS_MAX);
    extension.put_known("suser", record.actor_name, TEXT_CHARS_MAX);
    extension.put_known("reason", record.code(), TEXT_CHARS_MAX);
    extension.put_known("cnt", record.count().map(|count| count.to_string()).as_deref(), TEXT_CHARS_MAX);
    put_client(&mut extension, record);
    extension.put_custom("cs1", "resource", Some(&entry.resource));
    extension.put_custom("cs2", "resourceName", record.resource_name);
    extension.put_custom("cs3", "requestId", entry.request_id.map(|id| id.to_string()).as_deref());
    extension.put_custom("cs4", "changes", Some(changes));
    extension.put_custom("cs5", "tenantId", entry.tenant_id.as_deref());
    extension.put_custom("cs6", "partnerId", entry.partner_id.as_deref());
    extension.line
}

/// Where a change came from. `src` is for addresses of IPv4 alone.
fn put_client(extension: &mut Extension, record: &AuditRecord<'_>) {
    let Some(client) = record.client else { return };
    match client.ip.parse() {
        Ok(IpAddr::V4(_)) => extension.put("src", &client.ip, TEXT_CHARS_MAX),
        Ok(IpAddr::V6(_)) => extension.put_custom("c6a2", "Source IPv6 Address", Some(&client.ip)),
        Err(_) => {}
    }
    extension.put_known("requestClientApplication", record.user_agent(), TEXT_CHARS_MAX);
}

/// 0 to 3 are low, 4 to 6 medium, 7 and 8 high.
fn severity(severity: &str) -> u8 {
    match Severity::parse(severity) {
        Some(Severity::Info) => 2,
        Some(Severity::Notice) => 4,
        Some(Severity::Warning) => 6,
        None => 0,
    }
}

/// A line, of which the pairs are being written.
struct Extension {
    line: String,
    is_first: bool,
}

impl Extension {
    fn put(&mut self, key: &str, value: &str, chars_max: usize) {
        if !std::mem::take(&mut self.is_first) {
            self.line.push(' ');
        }
        self.line.push_str(key);
        self.line.push('=');
        match value.char_indices().nth(chars_max) {
            None => escape_value(&mut self.line, value),
            Some(_) => {
                let end = value.char_indices().nth(chars_max - 1).map_or(0, |(end, _)| end);
                escape_value(&mut self.line, &value[..end]);
                self.line.push(CUT);
            }
        }
    }

    fn put_known(&mut self, key: &str, value: Option<&str>, chars_max: usize) {
        if let Some(value) = value {
            self.put(key, value, chars_max);
        }
    }

    /// A custom field, whose label says what it is.
    fn put_custom(&mut self, key: &str, label: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(&format!("{key}Label"), label, TEXT_CHARS_MAX);
            self.put(key, value, CUSTOM_CHARS_MAX);
        }
    }
}

/// A field of the header is on one line.
fn escape_header(line: &mut String, field: &str) {
    for letter in field.chars() {
        match letter {
            '|' | '\\' => line.extend(['\\', letter]),
            other => line.push(shown(other)),
        }
    }
}

/// Control characters, and what Unicode has to separate lines, become spaces: some readers take each for the end of the line.
fn shown(letter: char) -> char {
    if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') { ' ' } else { letter }
}

/// A value keeps its line ends, escaped.
fn escape_value(line: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '=' | '\\' => line.extend(['\\', letter]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            other => line.push(shown(other)),
        }
    }
}

#[cfg(test)]
mod tests;
