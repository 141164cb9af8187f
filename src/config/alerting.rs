//! The webhooks to which alerts and the audit are sent.

use budget_alerts::{Webhook, WrongWebhook};
use cli::settings::setting::{ALERTS_SECRET, ALERTS_URL, AUDIT_WEBHOOK, AUDIT_WEBHOOK_SECRET};
use cli::settings::{Advice, Setting, WrongConfig};

/// `None` if alerts are not sent.
pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Webhook>, WrongConfig> {
    webhook(ALERTS_URL, ALERTS_SECRET, "to send no alerts", variable)
}

/// `None` if the audit is not posted.
pub fn audit_webhook(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Webhook>, WrongConfig> {
    webhook(AUDIT_WEBHOOK, AUDIT_WEBHOOK_SECRET, "to post no entries of the audit", variable)
}

/// A webhook, and what signs what is sent to it. Neither text is repeated: both may be secrets.
///
/// Errors: one of them is wrong; or there is a secret and no webhook, whose address may have been forgotten.
fn webhook(
    url: Setting,
    secret: Setting,
    unset_to: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Webhook>, WrongConfig> {
    let given = variable(secret.variable).map(|text| text.trim().parse()).transpose();
    let given =
        given.map_err(|error: WrongWebhook| secret.wrong_as_secret(format!("is not right: {error}"), &variable))?;
    let has_secret = given.is_some();
    let webhook = url.address("a webhook", unset_to, &variable, |text| Webhook::new(text, given))?;
    if has_secret && webhook.is_none() {
        let advice = Advice::Example(format!("{}={}", url.variable, url.example));
        let url = url.variable;
        let problem = format!("is set without {url}, so nothing is sent: unset it, or give the address of the webhook");
        return Err(WrongConfig { name: secret.given_name(&variable), problem, advice });
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
        let of_audit = |name: &str| (name == "LEDGERWAY_AUDIT_WEBHOOK").then(|| "canary".to_owned());
        assert!(read(of_audit).is_ok_and(|webhook| webhook.is_none()));
        assert_eq!(audit_webhook(of_audit).err().expect("a refusal").name, "LEDGERWAY_AUDIT_WEBHOOK");
    }
}
