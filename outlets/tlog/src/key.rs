//! The keys that check signatures of notes (<https://c2sp.org/signed-note>). The text of a key, its *vkey*, is
//! `<name>+<id in hexadecimal>+<base64 of kind and key>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, UnparsedPublicKey};

/// The bytes of an Ed25519 key.
const PUBLIC_KEY_BYTES: usize = 32;

/// The name of a signer, without spaces and `+`, by convention a URL without its scheme.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyName(String);

/// The text cannot be the name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key is not empty, and has neither spaces nor control characters nor a +")]
pub struct InvalidKeyName;

/// With its name, what tells a key from others. It is too short to identify one by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId([u8; 4]);

/// The kind of message that a key signs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// The text of a note. Logs sign their checkpoints so.
    Ed25519,
    /// The text of a checkpoint, with the time (<https://c2sp.org/tlog-cosignature>). Witnesses do so.
    CosignatureV1,
}

/// A key that checks signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: KeyName,
    kind: KeyKind,
    public_key: [u8; PUBLIC_KEY_BYTES],
    /// Computed from the others.
    id: KeyId,
}

/// The text is not a vkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedVerifierKey {
    #[error("a verifier key is <name>+<8 lower-case hexadecimal digits>+<base64>")]
    Form,
    #[error(transparent)]
    Name(#[from] InvalidKeyName),
    #[error("verifier keys of type {0:#04x} are not supported, only Ed25519 (0x01) and its cosignatures (0x04)")]
    UnknownKind(u8),
    #[error("an Ed25519 key has 32 bytes, not {0}")]
    Length(usize),
    #[error("the id of this key is {expected}, not {found}")]
    OtherId { expected: KeyId, found: KeyId },
}

impl KeyName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = InvalidKeyName;

    fn from_str(name: &str) -> Result<Self, InvalidKeyName> {
        // A note has no control characters.
        let is_refused = |character: char| character.is_whitespace() || character < ' ' || character == '+';
        if name.is_empty() || name.contains(is_refused) { Err(InvalidKeyName) } else { Ok(Self(name.to_owned())) }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyId {
    pub(crate) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    fn of(name: &KeyName, kind: KeyKind, public_key: &[u8; PUBLIC_KEY_BYTES]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [name.as_str().as_bytes(), b"\n", &[kind.byte()], public_key] {
            context.update(part);
        }
        let mut id = [0; 4];
        id.copy_from_slice(&context.finish().as_ref()[..4]);
        Self(id)
    }

    /// Lower case alone, so that a vkey has one form.
    fn parse(text: &str) -> Option<Self> {
        let id = Self(u32::from_str_radix(text, 16).ok()?.to_be_bytes());
        (id.to_string() == text).then_some(id)
    }

    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl KeyKind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureV1 => 0x04,
        }
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureV1),
            _ => None,
        }
    }
}

impl VerifierKey {
    pub fn new(name: KeyName, kind: KeyKind, public_key: [u8; PUBLIC_KEY_BYTES]) -> Self {
        let id = KeyId::of(&name, kind, &public_key);
        Self { name, kind, public_key, id }
    }

    pub const fn name(&self) -> &KeyName {
        &self.name
    }

    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    pub const fn public_key(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.public_key
    }

    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// True if the key made this Ed25519 signature of the message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public_key).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind.byte()];
        key.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

impl FromStr for VerifierKey {
    type Err = MalformedVerifierKey;

    fn from_str(vkey: &str) -> Result<Self, MalformedVerifierKey> {
        // The base64 may have more of them.
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(MalformedVerifierKey::Form);
        };
        let name: KeyName = name.parse()?;
        let found = KeyId::parse(id).ok_or(MalformedVerifierKey::Form)?;
        let bytes = STANDARD.decode(key).map_err(|_| MalformedVerifierKey::Form)?;
        let (kind, public_key) = bytes.split_first().ok_or(MalformedVerifierKey::Form)?;
        let kind = KeyKind::of_byte(*kind).ok_or(MalformedVerifierKey::UnknownKind(*kind))?;
        let public_key = public_key.try_into().map_err(|_| MalformedVerifierKey::Length(public_key.len()))?;
        let key = Self::new(name, kind, public_key);
        if key.id == found { Ok(key) } else { Err(MalformedVerifierKey::OtherId { expected: key.id, found }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the documentation of Go's `note` package.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn a_vkey_is_read_as_it_is_written() {
        let key: VerifierKey = PETER.parse().expect("a key");
        assert_eq!(
            (key.name().as_str(), key.kind(), key.to_string()),
            ("PeterNeumann", KeyKind::Ed25519, PETER.to_owned())
        );
        let cosigner = VerifierKey::new(key.name().clone(), KeyKind::CosignatureV1, *key.public_key());
        assert_ne!(cosigner.id(), key.id());
        assert_eq!(cosigner.to_string().parse(), Ok(cosigner));
    }

    #[test]
    fn a_vkey_says_what_is_wrong_with_it() {
        let name = VerifierKey::from_str("Peter Neumann+c74f20a3+AQ==");
        assert_eq!(name, Err(MalformedVerifierKey::Name(InvalidKeyName)));
        assert_eq!(VerifierKey::from_str("x+c74f20a3+AQ=="), Err(MalformedVerifierKey::Length(0)));
        assert_eq!(VerifierKey::from_str("x+c74f20a3+Bg=="), Err(MalformedVerifierKey::UnknownKind(6)));
        let other = VerifierKey::from_str(&PETER.replace("c74f20a3", "c74f20a4"));
        assert!(matches!(other, Err(MalformedVerifierKey::OtherId { .. })), "{other:?}");
        for form in ["", "x", "x+", "x+c74f20a3", "x+c74f20a3+", "x+c74f20a+AQ==", "x+C74F20A3+AQ==", "x++74f20a3+AQ=="]
        {
            assert_eq!(VerifierKey::from_str(form), Err(MalformedVerifierKey::Form), "{form}");
        }
    }

    #[test]
    fn a_name_has_neither_spaces_nor_a_plus() {
        assert!(KeyName::from_str("example.com/log/é").is_ok());
        for name in ["", " ", "a b", "a+b", "a\nb", "a\u{a0}b", "a\u{2003}b", "a\u{1}b"] {
            assert_eq!(KeyName::from_str(name), Err(InvalidKeyName), "{name:?}");
        }
    }
}
