//! The webhook to which alerts are sent.

use alerts::{AlertsTarget, WrongTarget};

use super::setting::{ALERTS_SECRET, ALERTS_URL};
use super::{Setting, WrongConfig};

/// `None` if alerts are not sent. Neither text is repeated: both may be secrets.
pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<AlertsTarget>, WrongConfig> {
    let wrong =
        |setting: Setting| move |error: WrongTarget| setting.wrong_as_variable(format!("is not right: {error}"));
    let secret = variable(ALERTS_SECRET.variable).map(|secret| secret.trim().parse()).transpose();
    let secret = secret.map_err(wrong(ALERTS_SECRET))?;
    let Some(url) = variable(ALERTS_URL.variable) else { return Ok(None) };
    AlertsTarget::new(url.trim(), secret).map(Some).map_err(wrong(ALERTS_URL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_webhook_or_secret_is_refused_by_its_name_and_not_repeated() {
        let read_with = |url: Option<&str>, secret: Option<&str>| {
            read(|name| match name {
                "LEDGERWAY_ALERTS_URL" => url.map(str::to_owned),
                "LEDGERWAY_ALERTS_SECRET" => secret.map(str::to_owned),
                _ => None,
            })
        };
        assert!(read_with(None, None).is_ok_and(|target| target.is_none()));
        assert!(read_with(Some("https://hooks.example/x\n"), None).is_ok_and(|target| target.is_some()));
        let refused = |url, secret| read_with(url, secret).err().expect("a refusal");
        for (url, secret, name) in [
            (Some("canary"), None, "LEDGERWAY_ALERTS_URL"),
            (Some(""), None, "LEDGERWAY_ALERTS_URL"),
            (Some("https://hooks.example"), Some("canary"), "LEDGERWAY_ALERTS_SECRET"),
            (Some("https://hooks.example"), Some(""), "LEDGERWAY_ALERTS_SECRET"),
        ] {
            let wrong = refused(url, secret);
            assert_eq!(wrong.name, name);
            assert!(!wrong.to_string().contains("canary"), "{wrong}");
        }
    }
}
