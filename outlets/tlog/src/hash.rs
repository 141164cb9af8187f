//! SHA-256 hashes in a Merkle tree (RFC 6962, section 2.1). A leaf is hashed after a byte 0, an inner node after a byte 1, so that
//! nobody can pass off the one as the other.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA256, digest};

pub const HASH_BYTES: usize = 32;
/// The length of a hash in base64, padding included.
const BASE64_LEN: usize = 44;

/// A SHA-256 hash. Its text is standard base64 with padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; HASH_BYTES]);

/// The text is not the base64 of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash has 44 characters of base64, the last of which is =")]
pub struct MalformedHash;

impl Hash {
    /// The root of a tree without leaves: the hash of no bytes.
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    pub const fn from_bytes(bytes: [u8; HASH_BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// The hash of an entry as a leaf.
    pub fn of_leaf(entry: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[0]);
        context.update(entry);
        Self::from_ring(&context.finish())
    }

    /// The hash of an inner node.
    pub fn of_children(left: &Self, right: &Self) -> Self {
        let mut node = [1; 1 + 2 * HASH_BYTES];
        node[1..=HASH_BYTES].copy_from_slice(&left.0);
        node[1 + HASH_BYTES..].copy_from_slice(&right.0);
        Self::from_ring(&digest(&SHA256, &node))
    }

    fn from_ring(digest: &ring::digest::Digest) -> Self {
        let mut bytes = [0; HASH_BYTES];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = MalformedHash;

    fn from_str(text: &str) -> Result<Self, MalformedHash> {
        if text.len() != BASE64_LEN {
            return Err(MalformedHash);
        }
        let bytes = STANDARD.decode(text).map_err(|_| MalformedHash)?;
        bytes.try_into().map(Self).map_err(|_| MalformedHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_nodes_have_the_hashes_of_the_rfc() {
        assert_eq!(Hash::from_ring(&digest(&SHA256, b"")), Hash::EMPTY_ROOT);
        let leaf = Hash::of_leaf(b"");
        assert_eq!(leaf.to_string(), "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=");
        assert_ne!(Hash::of_children(&leaf, &leaf), Hash::of_leaf(&[*leaf.as_bytes(), *leaf.as_bytes()].concat()));
    }

    #[test]
    fn a_hash_is_read_only_as_it_is_written() {
        let text = Hash::EMPTY_ROOT.to_string();
        assert_eq!(text.parse(), Ok(Hash::EMPTY_ROOT));
        let without_padding = &text[..43];
        let with_loose_bits = format!("{}V=", &text[..42]);
        let too_long = format!("{}A", &text[..43]);
        for other in ["", without_padding, &with_loose_bits, &too_long, "é", &"é".repeat(22)] {
            assert_eq!(other.parse::<Hash>(), Err(MalformedHash), "{other}");
        }
    }
}
