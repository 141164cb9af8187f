//! The audit for a SIEM: its entries as OCSF or CEF.
//!
//! `record` is an entry with what is known beside it; `format` are the formats: `ocsf` and `cef`.

mod cef;
mod format;
mod ocsf;
mod record;

pub use format::SiemFormat;
pub use record::AuditRecord;
