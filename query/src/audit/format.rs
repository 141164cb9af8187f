//! The formats of the audit: those of all lists, and those that a SIEM reads.

use audit_export::{AuditRecord, SiemFormat};
use axum::response::{IntoResponse, Response};
use events::refusal::Refusal;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use projections::views::audit::AuditEntry;

use super::entries::{Origins, origin, resource_id};
use crate::format::Format;
use crate::names::Names;
use crate::parameters::Parameters;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFormat {
    Of(Format),
    Siem(SiemFormat),
}

impl AuditFormat {
    pub fn names() -> impl Iterator<Item = &'static str> {
        Format::NAMES.into_iter().chain(SiemFormat::words())
    }

    /// The parameter `format`; default JSON.
    pub fn take(parameters: &mut Parameters) -> Result<Self, Refusal> {
        match parameters.text("format") {
            None => Ok(Self::Of(Format::Json)),
            Some(word) => {
                let siem = SiemFormat::parse(&word).map(Self::Siem);
                let found = siem.or_else(|| Format::parse(&word).map(Self::Of));
                found.ok_or_else(|| Refusal::invalid("format", "must be json, ndjson, csv, ocsf or cef"))
            }
        }
    }
}

/// One line per entry, in a format for a SIEM.
pub fn siem_lines(
    format: SiemFormat,
    headers: HeaderMap,
    entries: &[AuditEntry],
    origins: &Origins,
    names: &Names,
) -> Response {
    let mut lines = String::new();
    for entry in entries {
        let record = AuditRecord {
            entry,
            client: origin(entry, origins),
            actor_name: names.get(&entry.actor),
            resource_name: names.get(resource_id(entry)),
        };
        lines.push_str(&format.line(&record));
        lines.push('\n');
    }
    (headers, [(CONTENT_TYPE, format.content_type())], lines).into_response()
}
