//! What the record keeps of prompts and answers, by the policy of the tenant (ADR-0029): nothing, or digests. The text itself
//! is in no event.
//!
//! The digest of an answer is salted, and its salt is in no event either: it is derived for each request from a secret of the
//! installation. So who reads the log cannot guess a short answer, and who has the answer can prove it with the salt that
//! `content:read` shows.

use std::fmt;

use ring::digest::{Context, SHA256};
use ring::hmac;

use crate::hex;
use crate::ids::RequestId;
use crate::named;

named! {
    /// What the record keeps of a tenant's prompts and answers.
    #[derive(Default)]
    pub enum ContentPolicy {
        /// Nothing, not even digests.
        None = "none",
        /// Digests of the prompt and of the answer.
        #[default]
        Digest = "digest",
    }
}

impl ContentPolicy {
    /// True for what events leave out.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Derives the salt of each request. Shown nowhere.
#[derive(Clone)]
pub struct ContentSalts(hmac::Key);

impl ContentSalts {
    /// The salts of an installation, from a secret of its own that outlives the keys of its nodes.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub fn salt(&self, request: RequestId) -> ContentSalt {
        ContentSalt(hmac::sign(&self.0, request.uuid().as_bytes()))
    }
}

impl fmt::Debug for ContentSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentSalts([redacted])")
    }
}

/// The salt of one request: 32 bytes, which stand before the text in what is hashed.
#[derive(Clone, Copy)]
pub struct ContentSalt(hmac::Tag);

impl ContentSalt {
    /// In hex, for whoever may read the content.
    pub fn shown(&self) -> String {
        hex::lower(self.0.as_ref())
    }

    /// Begins an answer, of which no text is there yet.
    pub fn answer(&self) -> AnswerText {
        let mut context = Context::new(&SHA256);
        context.update(self.0.as_ref());
        AnswerText { context, is_empty: true }
    }
}

impl fmt::Debug for ContentSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentSalt([redacted])")
    }
}

/// The text of an answer as it passes, of which only a digest is kept: SHA-256 of the salt and of the text, in the order in
/// which the provider sent it.
#[derive(Clone)]
pub struct AnswerText {
    context: Context,
    is_empty: bool,
}

impl AnswerText {
    pub fn add(&mut self, text: &str) {
        self.context.update(text.as_bytes());
        self.is_empty &= text.is_empty();
    }

    /// The digest in hex; `None` if there was no text.
    pub fn digest(self) -> Option<String> {
        (!self.is_empty).then(|| hex::lower(self.context.finish().as_ref()))
    }
}

impl fmt::Debug for AnswerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerText")
    }
}

#[cfg(test)]
mod tests {
    use ring::digest::digest;

    use super::*;

    fn request(number: u128) -> RequestId {
        RequestId::from(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_digest_is_of_the_salt_and_of_the_text_in_pieces() {
        let salt = ContentSalts::new(b"secret").salt(request(1));
        let mut answer = salt.answer();
        ["Hello", "", " world"].iter().for_each(|piece| answer.add(piece));
        let salt: [u8; 32] = hex::parse(&salt.shown()).expect("a salt in hex");
        let expected = digest(&SHA256, &[&salt[..], b"Hello world"].concat());
        assert_eq!(answer.digest(), Some(hex::lower(expected.as_ref())));
    }

    #[test]
    fn an_answer_without_text_has_no_digest() {
        let mut answer = ContentSalts::new(b"secret").salt(request(1)).answer();
        answer.add("");
        assert_eq!(answer.digest(), None);
    }

    #[test]
    fn each_request_of_each_installation_has_its_own_salt() {
        let shown = |secret: &[u8], number| ContentSalts::new(secret).salt(request(number)).shown();
        assert_eq!(shown(b"a", 1), shown(b"a", 1));
        assert_ne!(shown(b"a", 1), shown(b"a", 2));
        assert_ne!(shown(b"a", 1), shown(b"b", 1));
    }

    #[test]
    fn no_salt_is_shown_by_accident() {
        let salts = ContentSalts::new(b"secret");
        assert_eq!(
            format!("{salts:?} {:?}", salts.salt(request(1))),
            "ContentSalts([redacted]) ContentSalt([redacted])"
        );
    }
}
