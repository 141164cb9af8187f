//! Where alerts are sent, and what signs them.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use url::Url;

const PREFIX: &str = "whsec_";
/// The lengths that Standard Webhooks allows.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A webhook. It is never shown: many services put a secret into its path.
#[derive(Clone)]
pub struct Webhook {
    pub(crate) url: Url,
    pub(crate) secret: Option<WebhookSecret>,
}

/// The key that signs each alert.
#[derive(Clone)]
pub struct WebhookSecret(hmac::Key);

/// Not a webhook, or not a secret of one. Without the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongWebhook {
    #[error("it must begin with https:// or http://")]
    Scheme,
    #[error("it cannot be read: it must be https://HOST/PATH or http://HOST/PATH")]
    Unreadable,
    #[error("it must be whsec_ and 24 to 64 bytes as base64")]
    Secret,
}

impl Webhook {
    pub fn new(url: &str, secret: Option<WebhookSecret>) -> Result<Self, WrongWebhook> {
        let url = Url::parse(url).map_err(|_| WrongWebhook::Unreadable)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WrongWebhook::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(WrongWebhook::Unreadable);
        }
        Ok(Self { url, secret })
    }
}

impl FromStr for WebhookSecret {
    type Err = WrongWebhook;

    fn from_str(text: &str) -> Result<Self, WrongWebhook> {
        let bytes = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        let bytes = bytes.filter(|bytes| SECRET_BYTES.contains(&bytes.len())).ok_or(WrongWebhook::Secret)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl WebhookSecret {
    /// The header `webhook-signature`: HMAC-SHA256 of `ID.SECONDS.BODY`.
    pub fn signature(&self, id: &str, seconds: i64, body: &str) -> String {
        let signed = format!("{id}.{seconds}.{body}");
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, signed.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_an_address_of_http_and_is_not_repeated() {
        for (text, wrong) in [
            ("ftp://hooks.example/canary", WrongWebhook::Scheme),
            ("canary", WrongWebhook::Unreadable),
            ("https://", WrongWebhook::Unreadable),
        ] {
            let error = Webhook::new(text, None).err();
            assert_eq!(error, Some(wrong), "{text}");
            assert!(!wrong.to_string().contains("canary"));
        }
        assert!(Webhook::new("https://hooks.example/T1/secret", None).is_ok());
    }

    /// The tables of Unicode that this takes are those of the version that `idna_adapter` is held at.
    #[test]
    fn the_host_of_a_webhook_can_be_in_any_script() {
        for (text, host) in [
            ("https://Bücher.example/x", "xn--bcher-kva.example"),
            ("https://faß.example/", "xn--fa-hia.example"),
            ("https://例え.テスト/", "xn--r8jz45g.xn--zckzah"),
            // With a character that may only stand between certain others.
            ("https://نامه\u{200c}ای.example/", "xn--mgba3gch31f060k.example"),
            ("https://ＨＯＯＫＳ．example/", "hooks.example"),
        ] {
            let webhook = Webhook::new(text, None).expect("an address");
            assert_eq!(webhook.url.host_str(), Some(host), "{text}");
        }
        for text in [
            "https://a\u{200c}b.example/",
            "https://xn--a.example/",
            "https://אa.example/",
            "https://\u{301}a.example/",
        ] {
            assert_eq!(Webhook::new(text, None).err(), Some(WrongWebhook::Unreadable), "{text}");
        }
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn what_is_signed_is_the_id_the_time_and_the_body() {
        let secret: WebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret");
        let body = "{\"test\": 2432232314}";
        let signature = secret.signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        for wrong in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_!"] {
            assert_eq!(wrong.parse::<WebhookSecret>().err(), Some(WrongWebhook::Secret), "{wrong}");
        }
    }
}
