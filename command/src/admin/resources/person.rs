//! Digests of a person's name and e-mail. Only the erasable side table has the texts and the salt: after a row is erased, no
//! digest in the log can be compared with a guess.

use events::hex;

/// Salted SHA-256 of a text in the side table, in hex.
pub fn digest(salt: &[u8], text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &[salt, text.as_bytes()].concat());
    hex::lower(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: event.nothing-personal
    #[test]
    fn the_same_name_has_another_digest_under_another_salt() {
        let ada = |salt: u8| digest(&[salt; 16], "Ada");
        assert_eq!(ada(1), ada(1));
        assert_ne!(ada(1), ada(2));
        assert_eq!(ada(1).len(), 64);
    }
}
