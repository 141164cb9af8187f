//! The key of an owner within a tenant, and what is sealed under it: XChaCha20-Poly1305, with the object's name and the owner as
//! associated data, so that no object opens in the place of another.

use std::fmt;

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use events::content::{ContentKeyOwner, ContentSalts};
use ring::hmac;

use crate::address::ContentAddress;

pub(crate) const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
/// The first byte of an object: the form of what follows.
const FORM: u8 = 1;
const GENERATION_LEN: usize = 4;
/// How much longer an object is than its text.
pub(crate) const OVERHEAD: usize = 1 + GENERATION_LEN + NONCE_LEN + TAG_LEN;

/// Seals and opens the content of one owner, and gives the salts of its digests. Shown nowhere.
#[derive(Clone)]
pub struct ContentKey {
    generation: u32,
    owner: ContentKeyOwner,
    cipher: XChaCha20Poly1305,
    salts: ContentSalts,
}

impl ContentKey {
    /// From the secret of this generation: an owner can have several.
    pub fn new(owner: ContentKeyOwner, generation: u32, secret: &[u8; 32]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &str| hmac::sign(&secret, purpose.as_bytes());
        let sealing = derived("ledgerway content seal");
        Self {
            generation,
            owner,
            cipher: XChaCha20Poly1305::new_from_slice(sealing.as_ref()).expect("an HMAC-SHA256 is a key"),
            salts: ContentSalts::new(derived("ledgerway content salt").as_ref()),
        }
    }

    pub const fn salts(&self) -> &ContentSalts {
        &self.salts
    }

    pub const fn owner(&self) -> ContentKeyOwner {
        self.owner
    }

    /// The object for this text. `None` only for a text that is too long for the cipher: 256 GiB.
    pub(crate) fn seal(&self, address: &ContentAddress, nonce: [u8; NONCE_LEN], text: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload { msg: text, aad: &context(address, self.owner) };
        let sealed = self.cipher.encrypt(&nonce.into(), payload).ok()?;
        let mut object = Vec::with_capacity(text.len() + OVERHEAD);
        object.push(FORM);
        object.extend_from_slice(&self.generation.to_be_bytes());
        object.extend_from_slice(&nonce);
        object.extend_from_slice(&sealed);
        Some(object)
    }

    /// The text of an object; `None` if it was sealed under another key or for another address, or is damaged.
    pub fn open(&self, address: &ContentAddress, object: &[u8]) -> Option<Vec<u8>> {
        if generation_of(object)? != self.generation {
            return None;
        }
        let (nonce, sealed) = object.get(1 + GENERATION_LEN..)?.split_at_checked(NONCE_LEN)?;
        let payload = Payload { msg: sealed, aad: &context(address, self.owner) };
        self.cipher.decrypt(nonce.try_into().ok()?, payload).ok()
    }
}

/// The generation of the key that an object was sealed under; `None` if it is of no known form.
pub(crate) fn generation_of(object: &[u8]) -> Option<u32> {
    let (form, rest) = object.split_first()?;
    let generation = rest.get(..GENERATION_LEN)?.try_into().ok()?;
    (*form == FORM).then(|| u32::from_be_bytes(generation))
}

fn context(address: &ContentAddress, owner: ContentKeyOwner) -> Vec<u8> {
    format!("ledgerway content\n{address}\n{owner}").into_bytes()
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({} of {})", self.generation, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use events::ids::{TenantId, UserId};
    use events::time::parse_rfc3339;

    use super::*;
    use events::content::ContentPart;

    fn address(part: ContentPart) -> ContentAddress {
        ContentAddress {
            tenant: id("ten_", 1),
            admitted_at: parse_rfc3339("2026-11-25T08:00:00Z").expect("a time"),
            request: id("req_", 2),
            part,
        }
    }

    fn id<I: std::str::FromStr<Err: fmt::Debug>>(prefix: &str, number: u8) -> I {
        format!("{prefix}{number:032x}").parse().expect("an id")
    }

    fn ada() -> ContentKeyOwner {
        ContentKeyOwner::User(id::<UserId>("usr_", 3))
    }

    #[test]
    fn an_object_opens_under_its_key_and_at_its_address_alone() {
        let key = ContentKey::new(ada(), 7, &[1; 32]);
        let (prompt, answer) = (address(ContentPart::Prompt), address(ContentPart::Answer));
        let object = key.seal(&prompt, [9; NONCE_LEN], b"secret").expect("sealed");
        assert_eq!(object.len(), 6 + OVERHEAD);
        assert!(!object.windows(6).any(|bytes| bytes == b"secret"));
        assert_eq!((generation_of(&object), key.open(&prompt, &object).as_deref()), (Some(7), Some(&b"secret"[..])));
        assert_eq!(key.open(&answer, &object), None);
        let other_tenant = ContentAddress { tenant: id::<TenantId>("ten_", 4), ..prompt };
        assert_eq!(key.open(&other_tenant, &object), None);
        assert_eq!(ContentKey::new(ada(), 7, &[2; 32]).open(&prompt, &object), None);
        assert_eq!(ContentKey::new(ada(), 8, &[1; 32]).open(&prompt, &object), None);
        let of_tenant = ContentKeyOwner::Tenant(prompt.tenant);
        assert_eq!(ContentKey::new(of_tenant, 7, &[1; 32]).open(&prompt, &object), None);
        for length in [0, 1, 5, 20, object.len() - 1] {
            assert_eq!(key.open(&prompt, &object[..length]), None, "{length}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = ContentKey::new(ada(), 7, &[1; 32]);
        assert_eq!(format!("{key:?}"), "ContentKey(7 of usr_00000000000000000000000000000003)");
    }
}
