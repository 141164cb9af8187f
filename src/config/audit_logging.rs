//! `ENABLE_AUDIT_LOGGING`: a switch that other gateways have. Here the log is the ledger, and cannot be switched off: whoever
//! tries is told so at the start, and not by an audit that has everything in it all the same.

use cli::settings::{Setting, WrongConfig, boolean};

const ENABLE_AUDIT_LOGGING: Setting = Setting::with_value("ENABLE_AUDIT_LOGGING", "true");

/// Errors: it is switched off. The variable is not one of ours, so any other value is none of our business.
pub fn check(variable: impl Fn(&str) -> Option<String>) -> Result<(), WrongConfig> {
    let Some(text) = variable(ENABLE_AUDIT_LOGGING.variable) else { return Ok(()) };
    let text = text.trim();
    if text.is_empty() || boolean(&text.to_ascii_lowercase()) != Ok(false) {
        return Ok(());
    }
    let problem = format!("is {text}, but the record of this gateway is its ledger and cannot be switched off");
    Err(ENABLE_AUDIT_LOGGING.wrong_as_variable(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(value: Option<&str>) -> Result<(), String> {
        check(|name| value.filter(|_| name == "ENABLE_AUDIT_LOGGING").map(str::to_owned))
            .map_err(|wrong| wrong.to_string())
    }

    /// Holds: bin.audit-stays-on
    #[test]
    fn the_record_cannot_be_switched_off() {
        for off in ["false", "False", "0", "no", "off", " OFF "] {
            let said = checked(Some(off)).expect_err(off);
            assert_eq!(
                said,
                format!(
                    "ENABLE_AUDIT_LOGGING is {}, but the record of this gateway is its ledger and cannot be switched off, for \
                     example ENABLE_AUDIT_LOGGING=true",
                    off.trim()
                )
            );
        }
        for fine in [None, Some(""), Some("true"), Some("1"), Some("yes"), Some("on"), Some("verbose")] {
            assert_eq!(checked(fine), Ok(()), "{fine:?}");
        }
    }
}
