//! The key of a Google service account: administration checks it, and requests to its provider sign with it for access
//! tokens (RFC 7523).
//!
//! Rejected: the crate `jsonwebtoken`. Its versions that sign with `ring`, as this gateway does everywhere, have a published
//! vulnerability; the others bring a second cryptographic library. Of a token, it would only save the few lines of
//! [`ServiceAccount::assertion`].

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrets::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// How long an assertion may be exchanged: the longest that Google takes.
const ASSERTION_SECONDS: i64 = 3600;
const PEM_BEGINS: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_ENDS: &str = "-----END PRIVATE KEY-----";

/// Where Google exchanges keys: the address that new keys name, and those that older ones do.
const ADDRESSES_OF_GOOGLE: [&str; 3] = [
    "https://oauth2.googleapis.com/token",
    "https://accounts.google.com/o/oauth2/token",
    "https://www.googleapis.com/oauth2/v4/token",
];

/// Why a text is not the key of a service account. Lower case, to follow the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAccountError {
    #[error("must be the JSON key of a service account, with type, client_email and private_key")]
    NotAKey,
    #[error("must be the JSON key of a service account: its type must be service_account")]
    OtherType,
    #[error("has a private_key that is not an RSA key of at least 2048 bits in PEM (PKCS #8)")]
    PrivateKey,
}

/// The members of the key that are used. Others are ignored.
#[derive(Deserialize)]
pub struct ServiceAccount {
    r#type: String,
    client_email: String,
    private_key_id: Option<String>,
    /// PEM.
    private_key: String,
    token_uri: Option<String>,
}

/// True for a key in JSON, of which requests must not be sent a part.
pub fn is_json(key: &str) -> bool {
    key.trim_start().starts_with('{')
}

/// A JSON object without white space between its values; `None` for any other text.
pub fn compact(text: &str) -> Option<String> {
    serde_json::from_str::<Map<String, Value>>(text).ok().map(|object| Value::Object(object).to_string())
}

impl ServiceAccount {
    pub fn parse(key: &Secret) -> Result<Self, ServiceAccountError> {
        let account: Self = serde_json::from_str(key.reveal()).map_err(|_| ServiceAccountError::NotAKey)?;
        if account.r#type == "service_account" { Ok(account) } else { Err(ServiceAccountError::OtherType) }
    }

    /// Does the same as [`Self::parse`], and checks that the key can sign.
    pub fn validated(key: &Secret) -> Result<Self, ServiceAccountError> {
        let account = Self::parse(key)?;
        account.key_pair().map(|_| account).ok_or(ServiceAccountError::PrivateKey)
    }

    /// Where the key itself says that it is exchanged.
    pub fn token_uri(&self) -> Option<&str> {
        self.token_uri.as_deref()
    }

    /// True if the key names another address than Google's.
    pub fn is_exchanged_elsewhere(&self) -> bool {
        self.token_uri().is_some_and(|address| !ADDRESSES_OF_GOOGLE.contains(&address))
    }

    /// The secret part of the key, in base64.
    pub fn private_part(&self) -> String {
        self.private_key.trim().trim_start_matches(PEM_BEGINS).trim_end_matches(PEM_ENDS).split_whitespace().collect()
    }

    fn key_pair(&self) -> Option<RsaKeyPair> {
        let mut der = STANDARD.decode(self.private_part()).ok()?;
        let pair = RsaKeyPair::from_pkcs8(&der).ok();
        der.fill(0);
        pair
    }

    /// A signed JWT that asks for a token with this scope; `None` if the key cannot sign.
    pub fn assertion(&self, scope: &str, audience: &str, now: DateTime<Utc>) -> Option<String> {
        let issued = now.timestamp();
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.private_key_id });
        let claims = json!({
            "iss": self.client_email, "scope": scope, "aud": audience, "iat": issued, "exp": issued + ASSERTION_SECONDS,
        });
        let encoded = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = [encoded(&header), encoded(&claims)].join(".");
        let pair = self.key_pair()?;
        let mut signature = vec![0; pair.public().modulus_len()];
        // The signature follows from the key and the text: randomness only hides how long it takes.
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some([signed, URL_SAFE_NO_PAD.encode(signature)].join("."))
    }
}

#[cfg(test)]
pub mod tests {
    use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    /// A key of nobody.
    pub const KEY: &str = include_str!("service_account/key_of_nobody.json");

    #[test]
    fn an_assertion_is_signed_by_the_account_for_the_address_at_which_it_is_exchanged() {
        let account = ServiceAccount::validated(&Secret::new(KEY)).expect("a key");
        let now = events::time::parse_rfc3339("2026-11-20T08:15:30Z").unwrap();
        let assertion = account.assertion("s", "https://t.example/token", now).expect("a signature");
        let [header, claims, signature] = <[_; 3]>::try_from(assertion.split('.').collect::<Vec<_>>()).unwrap();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let json = |part| serde_json::from_slice::<Value>(&decoded(part)).unwrap();
        assert_eq!(json(header), json!({ "alg": "RS256", "typ": "JWT", "kid": "0123456789abcdef" }));
        let wanted = json!({ "iss": "nobody@nowhere.iam.gserviceaccount.com", "scope": "s",
            "aud": "https://t.example/token", "iat": 1_795_162_530, "exp": 1_795_166_130 });
        assert_eq!(json(claims), wanted);
        let public = account.key_pair().unwrap().public_key().as_ref().to_vec();
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
        assert!(key.verify([header, claims].join(".").as_bytes(), &decoded(signature)).is_ok());
    }

    #[test]
    fn a_text_that_is_no_key_of_a_service_account_says_why() {
        let with = |name: &str, value: Value| {
            let mut key: Value = serde_json::from_str(KEY).unwrap();
            key[name] = value;
            key.to_string()
        };
        for (key, wanted) in [
            ("ya29.token".to_owned(), ServiceAccountError::NotAKey),
            ("{}".to_owned(), ServiceAccountError::NotAKey),
            (with("client_email", Value::Null), ServiceAccountError::NotAKey),
            (with("type", json!("authorized_user")), ServiceAccountError::OtherType),
            (
                with("private_key", json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
                ServiceAccountError::PrivateKey,
            ),
        ] {
            assert_eq!(ServiceAccount::validated(&Secret::new(key.clone())).err(), Some(wanted), "{key}");
        }
    }

    #[test]
    fn a_key_is_kept_without_white_space_around_its_values() {
        let compacted = compact(KEY).expect("an object");
        assert!(!compacted.contains('\n') && compacted.len() < KEY.len());
        assert!(ServiceAccount::validated(&Secret::new(compacted)).is_ok());
        for text in ["[]", "{", "x", "{} {}"] {
            assert_eq!(compact(text), None, "{text}");
        }
    }
}
