//! The syslog receiver that the audit is sent to.

use std::ops::RangeInclusive;

use audit_export::{SiemFormat, SyslogAddress};
use cli::arguments::ServeArgs;
use cli::settings::setting::{AUDIT_FORMAT, AUDIT_MESSAGE_BYTES, AUDIT_SYSLOG};
use cli::settings::{Flags, WrongConfig, truncated};

use super::{whole, word};

/// The length that RFC 5424 expects every receiver to take, and more than any line has.
const MESSAGE_BYTES: RangeInclusive<usize> = 2_048..=131_072;

pub struct AuditStreamSettings {
    pub address: SyslogAddress,
    pub format: SiemFormat,
    pub message_bytes_max: usize,
}

/// `None` if the audit is not sent.
pub fn read(args: &ServeArgs, flags: &Flags) -> Result<Option<AuditStreamSettings>, WrongConfig> {
    let format = format(args, flags)?;
    let message_bytes_max =
        flags.check(AUDIT_MESSAGE_BYTES, whole(&args.audit_message_bytes, "bytes", MESSAGE_BYTES))?;
    let address = flags.check(AUDIT_SYSLOG, args.audit_syslog.as_deref().map(address).transpose())?;
    Ok(address.map(|address| AuditStreamSettings { address, format, message_bytes_max }))
}

/// The format of what is sent, by syslog and to a webhook.
pub fn format(args: &ServeArgs, flags: &Flags) -> Result<SiemFormat, WrongConfig> {
    flags.check(AUDIT_FORMAT, word(&args.audit_format, SiemFormat::parse, SiemFormat::words()))
}

fn address(text: &str) -> Result<SyslogAddress, String> {
    let parsed = text.trim().parse();
    parsed.map_err(|error| format!("is {:?}, which is not the address of a syslog receiver: {error}", truncated(text)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::args;
    use super::*;

    fn read_as(syslog: Option<&str>, format: &str) -> Result<Option<(String, SiemFormat)>, String> {
        let args = ServeArgs { audit_syslog: syslog.map(str::to_owned), audit_format: format.to_owned(), ..args() };
        let settings = read(&args, &Flags::default()).map_err(|wrong| wrong.name)?;
        Ok(settings.map(|settings| (settings.address.to_string(), settings.format)))
    }

    #[test]
    fn the_audit_is_sent_if_there_is_an_address() {
        assert_eq!(read_as(None, "ocsf"), Ok(None));
        let tls = Ok(Some(("tls://siem.internal:6514".to_owned(), SiemFormat::Cef)));
        assert_eq!(read_as(Some("tls://siem.internal\n"), "cef"), tls);
        for wrong in ["", "siem.internal:514", "udp://siem.internal"] {
            assert_eq!(read_as(Some(wrong), "ocsf"), Err("LEDGERWAY_AUDIT_SYSLOG".to_owned()), "{wrong}");
        }
        for wrong in ["", "OCSF", "json", "leef"] {
            assert_eq!(read_as(None, wrong), Err("LEDGERWAY_AUDIT_FORMAT".to_owned()), "{wrong}");
        }
        for wrong in ["", "2047", "131073", "8k", "-1"] {
            let args = ServeArgs { audit_message_bytes: wrong.to_owned(), ..args() };
            let refused = read(&args, &Flags::default()).map(|_| ()).map_err(|wrong| wrong.name);
            assert_eq!(refused, Err("LEDGERWAY_AUDIT_MESSAGE_BYTES".to_owned()), "{wrong}");
        }
    }
}
