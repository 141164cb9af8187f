//! Digests of a person's name and e-mail. Only the erasable side table has the texts and the salt: after a row is erased, no
//! digest in the log can be compared with a guess.

use events::hex;
use events::log::PersonalData;

/// Salted SHA-256 of the texts in the side table, in hex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonDigests {
    pub name: String,
    pub email: Option<String>,
}

/// The digest of each text of the row, under its salt.
pub fn digests(person: &PersonalData) -> PersonDigests {
    PersonDigests {
        name: digest(&person.salt, &person.name),
        email: person.email.as_deref().map(|email| digest(&person.salt, email)),
    }
}

fn digest(salt: &[u8], text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &[salt, text.as_bytes()].concat());
    hex::lower(digest.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::lifecycle::spec::id;

    /// Holds: event.nothing-personal
    #[test]
    fn the_same_name_has_another_digest_under_another_salt() {
        let ada =
            |salt: u8| digests(&PersonalData { subject: id(1), name: "Ada".into(), email: None, salt: vec![salt; 16] });
        assert_eq!(ada(1), ada(1));
        assert_ne!(ada(1).name, ada(2).name);
        assert_eq!((ada(1).name.len(), ada(1).email), (64, None));
    }
}
