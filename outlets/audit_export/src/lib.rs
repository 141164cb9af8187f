//! The audit for a SIEM: its entries as OCSF or CEF, and streams of them to a syslog receiver and to a webhook.
//!
//! - `record`: an entry with what is known beside it; `format` are the formats: `ocsf` and `cef`.
//! - `address`: where the receiver is; `connection` is the way there, by TCP or TLS.
//! - `message`: an entry as a message of RFC 5424, with the count of its bytes before it.
//! - `source`: the entries of the log, for both ways to a SIEM. `webhook_stream` is the role that posts them in batches, each of
//!   which is acknowledged.
//! - `progress`: what was written, and since when; `stream` is the role that sends the entries.
//!
//! Syslog has no acknowledgement. What was written counts as delivered once the connection has been sound for half a minute
//! after it: the kernel ends a connection whose receiver has not taken data for less than that. So a broken connection loses
//! nothing that was not delivered, and the next one repeats up to half a minute of entries, each with its position.

mod address;
mod cef;
mod connection;
mod format;
mod message;
mod ocsf;
mod progress;
mod record;
mod source;
mod stream;
mod webhook_stream;

pub use address::{SyslogAddress, WrongSyslogAddress};
pub use connection::Receiver;
pub use format::SiemFormat;
pub use record::AuditRecord;
pub use stream::AuditStream;
pub use webhook_stream::AuditWebhook;
