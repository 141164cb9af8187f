//! A node's identity: an X25519 key pair, which others encrypt to. Its public half has the text form of recipients of
//! [age](https://c2sp.org/age), `age1…`.

use std::fmt;
use std::str::FromStr;

use bech32::{FromBase32, ToBase32, Variant};
use hpke::Deserializable;
use hpke::kem::{Kem, X25519HkdfSha256};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};

/// The human-readable part of a recipient.
const PREFIX: &str = "age";

/// The private half. It is overwritten when it is dropped.
#[derive(Clone)]
pub(super) struct Identity(StaticSecret);

impl Identity {
    /// Any bytes are an identity.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    pub fn to_public(&self) -> Recipient {
        Recipient(PublicKey::from(&self.0))
    }

    /// The same key, for HPKE.
    pub fn for_hpke(&self) -> <X25519HkdfSha256 as Kem>::PrivateKey {
        Deserializable::from_bytes(self.0.as_bytes()).expect("any 32 bytes are a private key")
    }

    /// The secret that is shared with another key pair; `None` if the other public key is of low order, so that anybody
    /// knows the secret.
    pub fn agree(&self, other: [u8; 32]) -> Option<SharedSecret> {
        let shared = self.0.diffie_hellman(&PublicKey::from(other));
        shared.was_contributory().then_some(shared)
    }
}

/// The public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recipient(PublicKey);

impl Recipient {
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The same key, for HPKE.
    pub fn for_hpke(&self) -> <X25519HkdfSha256 as Kem>::PublicKey {
        Deserializable::from_bytes(self.as_bytes()).expect("any 32 bytes are a public key")
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = bech32::encode(PREFIX, self.as_bytes().to_base32(), Variant::Bech32);
        f.write_str(&text.expect("the prefix is valid"))
    }
}

/// The text is none that [`fmt::Display`] writes.
#[derive(Debug)]
pub(super) struct NoRecipient;

impl FromStr for Recipient {
    type Err = NoRecipient;

    fn from_str(text: &str) -> Result<Self, NoRecipient> {
        let Ok((prefix, data, Variant::Bech32)) = bech32::decode(text) else { return Err(NoRecipient) };
        let bytes = Vec::from_base32(&data).map_err(|_| NoRecipient)?;
        let key: [u8; 32] = bytes.try_into().map_err(|_| NoRecipient)?;
        if prefix == PREFIX { Ok(Self(PublicKey::from(key))) } else { Err(NoRecipient) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair is that of the tests of rage, another implementation of age.
    #[test]
    fn a_recipient_has_the_text_form_of_age() {
        let secret = "age-secret-key-1gq9778vqxmmjve8sk7j6vt8uj4hdqajuvsfcwcm02d8gewq72pvq2y5j33";
        let (_, data, _) = bech32::decode(secret).unwrap();
        let identity = Identity::from_bytes(&Vec::from_base32(&data).unwrap().try_into().unwrap());
        let text = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
        assert_eq!(identity.to_public().to_string(), text);
        assert_eq!(text.parse::<Recipient>().unwrap(), identity.to_public());
        let short = bech32::encode("age", [7; 31].to_base32(), Variant::Bech32).unwrap();
        let other_form = bech32::encode("age", [7; 32].to_base32(), Variant::Bech32m).unwrap();
        for wrong in ["", "age1", &text[..61], &text.replace('t', "x"), secret, &short, &other_form] {
            assert!(wrong.parse::<Recipient>().is_err(), "{wrong}");
        }
    }
}
