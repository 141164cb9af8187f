//! The webhook to which alerts are sent.

use alerts::{Webhook, WrongWebhook};

use super::setting::{ALERTS_SECRET, ALERTS_URL};
use super::{Advice, WrongConfig};

/// `None` if alerts are not sent. Neither text is repeated: both may be secrets.
///
/// Errors: one of them is wrong; or there is a secret and no webhook, whose address may have been forgotten.
pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Webhook>, WrongConfig> {
    let secret = variable(ALERTS_SECRET.variable).map(|secret| secret.trim().parse()).transpose();
    let secret = secret
        .map_err(|error: WrongWebhook| ALERTS_SECRET.wrong_as_secret(format!("is not right: {error}"), &variable))?;
    let has_secret = secret.is_some();
    let webhook = ALERTS_URL.address("a webhook", "to send no alerts", &variable, |url| Webhook::new(url, secret))?;
    if has_secret && webhook.is_none() {
        let advice = Advice::Example(format!("{}={}", ALERTS_URL.variable, ALERTS_URL.example));
        let url = ALERTS_URL.variable;
        let problem =
            format!("is set without {url}, so no alert is sent: unset it, or give the address of the webhook");
        return Err(WrongConfig { name: ALERTS_SECRET.given_name(&variable), problem, advice });
    }
    Ok(webhook)
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
        assert!(read_with(None, None).is_ok_and(|webhook| webhook.is_none()));
        assert!(read_with(Some("https://hooks.example/x\n"), None).is_ok_and(|webhook| webhook.is_some()));
        let refused = |url, secret| read_with(url, secret).err().expect("a refusal");
        for (url, secret, name) in [
            (Some("canary"), None, "LEDGERWAY_ALERTS_URL"),
            (Some(""), None, "LEDGERWAY_ALERTS_URL"),
            (Some("https://hooks.example"), Some("canary"), "LEDGERWAY_ALERTS_SECRET"),
            (Some("https://hooks.example"), Some(""), "LEDGERWAY_ALERTS_SECRET"),
            (None, Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "LEDGERWAY_ALERTS_SECRET"),
        ] {
            let wrong = refused(url, secret);
            assert_eq!(wrong.name, name);
            assert!(!wrong.to_string().contains("canary"), "{wrong}");
        }
        // As `_FILE` gives it.
        let in_file = |name: &str| match name {
            "LEDGERWAY_ALERTS_URL" => Some("canary".to_owned()),
            "LEDGERWAY_ALERTS_URL_FILE" => Some("/run/secrets/alerts_url".to_owned()),
            _ => None,
        };
        assert_eq!(read(in_file).err().expect("a refusal").name, "LEDGERWAY_ALERTS_URL_FILE");
    }
}
