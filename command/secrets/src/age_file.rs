//! Files of [age](https://c2sp.org/age), to read the tenants' keys that earlier versions wrapped. It reads what they wrote
//! and no more: a short file with one recipient of the type X25519, perhaps one stanza of an unknown type, with which
//! writers keep readers from relying on there being none, and a payload of one chunk.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use ring::{hkdf, hmac};

use super::identity::Identity;
use super::node_key::{derived, wipe};

/// The version line that begins a file; no other form of a wrapped key begins with it.
const VERSION: &str = "age-encryption.org/v1";
const RECIPIENT: &str = "-> X25519 ";
const STANZA: &str = "-> ";
const MAC: &str = "--- ";
/// The dashes of the line with the MAC are under the MAC.
const MAC_COVERS: usize = "---".len();
/// The lines of a stanza's body have this length, but for the last, which is shorter.
const COLUMNS: usize = 64;
/// The most bytes of a file. Those with a tenant's key have about 500.
const FILE_LEN_MAX: usize = 1024;
const PAYLOAD_NONCE_LEN: usize = 16;
/// Twelve bytes: the number of the chunk, and 1 for the last one.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// The content of a file that is encrypted to `identity`. `None` if it is encrypted to another one, is no file that an earlier
/// version wrote, or is damaged.
pub(super) fn open(identity: &Identity, file: &[u8]) -> Option<Vec<u8>> {
    if file.len() > FILE_LEN_MAX {
        return None;
    }
    let file = AgeFile::parse(file)?;
    let mut key = file.key(identity)?;
    let content = file.content(&key);
    wipe(&mut key);
    content
}

struct AgeFile<'a> {
    /// The public key that was made for this file.
    ephemeral: [u8; 32],
    /// The key of the file, encrypted to its recipient.
    encrypted_key: [u8; 32],
    /// The part of the header that the MAC covers.
    header: &'a [u8],
    mac: [u8; 32],
    nonce: &'a [u8],
    chunk: &'a [u8],
}

impl<'a> AgeFile<'a> {
    fn parse(file: &'a [u8]) -> Option<Self> {
        let mut lines = Lines(file);
        lines.next().filter(|line| *line == VERSION)?;
        let ephemeral = base64(lines.next()?.strip_prefix(RECIPIENT)?)?;
        let encrypted_key = base64(lines.next()?)?;
        let mut start_of_mac = lines.offset_in(file);
        let mut line = lines.next()?;
        if line.starts_with(STANZA) {
            while lines.next()?.len() >= COLUMNS {}
            start_of_mac = lines.offset_in(file);
            line = lines.next()?;
        }
        let mac = base64(line.strip_prefix(MAC)?)?;
        let header = file.get(..start_of_mac + MAC_COVERS)?;
        let (nonce, chunk) = lines.0.split_at_checked(PAYLOAD_NONCE_LEN)?;
        Some(Self { ephemeral, encrypted_key, header, mac, nonce, chunk })
    }

    /// The key of the file.
    fn key(&self, identity: &Identity) -> Option<Vec<u8>> {
        let shared = identity.agree(self.ephemeral)?;
        let salt = [self.ephemeral, *identity.to_public().as_bytes()].concat();
        let key = expanded(&salt, shared.as_bytes(), b"age-encryption.org/v1/X25519");
        decrypted(key, &[0; 12], &self.encrypted_key)
    }

    fn content(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut header_key = expanded(&[], key, b"header");
        let is_whole = hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &header_key), self.header, &self.mac).is_ok();
        wipe(&mut header_key);
        if !is_whole {
            return None;
        }
        decrypted(expanded(self.nonce, key, b"payload"), &ONLY_CHUNK, self.chunk)
    }
}

/// The lines of a header, which end with a line feed.
struct Lines<'a>(&'a [u8]);

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        str::from_utf8(line).ok()
    }

    /// Where in the file the next line begins.
    const fn offset_in(&self, file: &[u8]) -> usize {
        file.len() - self.0.len()
    }
}

fn base64(text: &str) -> Option<[u8; 32]> {
    BASE64_STANDARD_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn expanded(salt: &[u8], secret: &[u8], purpose: &[u8]) -> [u8; 32] {
    derived(&hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret), purpose)
}

fn decrypted(mut key: [u8; 32], nonce: &[u8; 12], encrypted: &[u8]) -> Option<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new((&key).into());
    wipe(&mut key);
    cipher.decrypt(&Nonce::from(*nonce), encrypted).ok()
}

#[cfg(test)]
mod tests {
    use events::hex;

    use super::*;

    /// Files that the crate `age` 0.11.5 encrypted to `identity()`: content and file, one a line.
    const FILES: &str = include_str!("golden/age_files.txt");

    fn identity() -> Identity {
        crate::NodeKey::from_bytes(&[1; 32]).identity.clone()
    }

    /// Content and file of each.
    fn files() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let bytes = |text: &str| if text == "-" { Vec::new() } else { hex::bytes(text).unwrap() };
        FILES.lines().map(move |line| line.split_once(' ').unwrap()).map(move |(a, b)| (bytes(a), bytes(b)))
    }

    #[test]
    fn files_of_the_age_crate_open_for_their_recipient_alone() {
        let other = crate::NodeKey::from_bytes(&[2; 32]);
        let mut bodies = std::collections::BTreeSet::new();
        for (content, file) in files() {
            assert_eq!(open(&identity(), &file), Some(content));
            assert_eq!(open(&other.identity, &file), None);
            bodies.insert(file.iter().filter(|byte| **byte == b'\n').count());
        }
        assert_eq!(files().count(), 48);
        assert!(bodies.len() >= 2, "stanzas of one and of several lines");
    }

    #[test]
    fn a_file_that_was_changed_or_cut_anywhere_does_not_open() {
        for (_, file) in files().step_by(8) {
            for at in 0..file.len() {
                let mut changed = file.clone();
                changed[at] ^= 1;
                assert_eq!(open(&identity(), &changed), None, "{at}");
                assert_eq!(open(&identity(), &file[..at]), None, "{at}");
            }
            assert_eq!(open(&identity(), &[file.as_slice(), b"\0"].concat()), None);
        }
    }

    #[test]
    fn a_file_longer_than_any_that_was_written_is_not_read() {
        let (_, file) = files().last().unwrap();
        let after_recipient = file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2).unwrap().0 + 1;
        let stanza = format!("-> x\n{}\n", format!("{}\n", "A".repeat(COLUMNS)).repeat(100_000));
        let long = [&file[..after_recipient], stanza.as_bytes(), &file[after_recipient..]].concat();
        assert_eq!(open(&identity(), &long), None);
        assert_eq!(open(&identity(), &[b'\n'; FILE_LEN_MAX]), None);
        assert_eq!(open(&identity(), &[]), None);
    }

    /// Everybody knows what is shared with a public key of low order.
    #[test]
    fn a_public_key_of_low_order_is_refused() {
        assert!(identity().agree([0; 32]).is_none());
        let (_, file) = files().next().unwrap();
        let start = VERSION.len() + 1 + RECIPIENT.len();
        let mut weak = file;
        weak[start..start + 43].copy_from_slice(BASE64_STANDARD_NO_PAD.encode([0; 32]).as_bytes());
        assert_eq!(open(&identity(), &weak), None);
    }
}
