//! Which content of prompts and answers is kept, by the policy of the tenant (ADR-0029): nothing, digests, or also the text, sealed in an
//! object store. The text itself is in no event.
//!
//! The digest of an answer is salted, and its salt is in no event either: it is derived for each request from a secret of the
//! installation, or, if the text is kept, from the key that seals it. Whoever reads the log cannot guess a short answer, and whoever has
//! the answer can prove it with the salt that `content:read` shows.

use std::fmt;

use ring::digest::{Context, Digest, SHA256};

use crate::hex;
use crate::ids::{RequestId, TenantId, UserId};
use crate::named;

named! {
    /// Which content of a tenant's prompts and answers is kept.
    #[derive(Default)]
    pub enum ContentPolicy {
        /// Nothing, not even digests.
        None = "none",
        /// Digests of the prompt and of the answer.
        #[default]
        Digest = "digest",
        /// Digests in the log, and the prompt and the answer in the object store, sealed under a key of the user.
        Sealed = "sealed",
    }
}

named! {
    /// A part of what is kept of a request.
    pub enum ContentPart {
        Prompt = "prompt",
        Answer = "answer",
    }
}

/// Whose key seals the content of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKeyOwner {
    User(UserId),
    /// For requests without a user, and for requests of the operator.
    Tenant(TenantId),
}

impl ContentKeyOwner {
    /// The owner of the key for a request of this tenant's and, if there is one, this user's.
    pub fn of(tenant: TenantId, user: Option<UserId>) -> Self {
        user.map_or(Self::Tenant(tenant), Self::User)
    }
}

impl fmt::Display for ContentKeyOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => user.fmt(f),
            Self::Tenant(tenant) => tenant.fmt(f),
        }
    }
}

/// The name under which a content key is stored among the sealed secrets: one for each owner and tenant.
pub fn content_key_name(owner: ContentKeyOwner, tenant: TenantId) -> String {
    format!("{}{tenant}", prefix_of(owner))
}

/// The names of all content keys of an owner: from the first text on, and before the second one.
pub fn content_key_names_of(owner: ContentKeyOwner) -> (String, String) {
    let first = prefix_of(owner);
    // No id has a byte above `~`.
    let after = format!("{first}~");
    (first, after)
}

/// The tenant in the name of a content key; `None` if it is none.
pub fn tenant_of_content_key(name: &str) -> Option<TenantId> {
    name.strip_prefix(CONTENT_KEYS)?.rsplit(' ').next()?.parse().ok()
}

fn prefix_of(owner: ContentKeyOwner) -> String {
    format!("{CONTENT_KEYS}{owner} ")
}

/// True for the name of a content key, among those of sealed secrets.
pub fn is_content_key(name: &str) -> bool {
    name.starts_with(CONTENT_KEYS)
}

const CONTENT_KEYS: &str = "content ";

/// Derives the salt of each request: SHA-256 of a secret and of the request's id, which always have the same lengths, so that nobody
/// can extend one. It is one block, of the few that a request hashes. Shown nowhere.
#[derive(Clone)]
pub struct ContentSalts(Context);

/// Hexadecimal digits kept of the digest of a session: enough to tell sessions apart.
const SESSION_DIGITS: usize = 32;

impl ContentSalts {
    /// The salts of an installation, from a secret of 32 bytes that outlives the keys of its nodes, or of a key that seals content.
    pub fn new(secret: &[u8]) -> Self {
        let mut begun = Context::new(&SHA256);
        begun.update(secret);
        Self(begun)
    }

    /// The digest of a session of a tenant's, or of the operator's: the same for each request, and another one for each tenant.
    pub fn session_digest(&self, tenant: Option<TenantId>, session: &str) -> String {
        let mut context = self.0.clone();
        context.update(b"session");
        context.update(tenant.map(|tenant| *tenant.uuid().as_bytes()).unwrap_or_default().as_slice());
        let mut digest = ContentSalt(context.finish()).digest(session.as_bytes());
        digest.truncate(SESSION_DIGITS);
        digest
    }

    pub fn salt(&self, request: RequestId) -> ContentSalt {
        let mut context = self.0.clone();
        context.update(request.uuid().as_bytes());
        ContentSalt(context.finish())
    }
}

impl fmt::Debug for ContentSalts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentSalts([redacted])")
    }
}

/// The salt of one request: 32 bytes, which stand before the text in what is hashed.
#[derive(Clone, Copy)]
pub struct ContentSalt(Digest);

impl ContentSalt {
    /// In hex, for whoever may read the content.
    pub fn to_hex(&self) -> String {
        hex::lower(self.0.as_ref())
    }

    /// Begins an answer, of which no text is there yet.
    pub fn answer(&self) -> AnswerText {
        AnswerText { context: self.salted(), is_empty: true, kept: None }
    }

    /// The same, of which the text is kept.
    pub fn kept_answer(&self) -> AnswerText {
        AnswerText { kept: Some(KeptText::default()), ..self.answer() }
    }

    /// SHA-256 of the salt and of the text, in hex.
    pub fn digest(&self, text: &[u8]) -> String {
        let mut context = self.salted();
        context.update(text);
        hex::lower(context.finish().as_ref())
    }

    fn salted(&self) -> Context {
        let mut context = Context::new(&SHA256);
        context.update(self.0.as_ref());
        context
    }
}

impl fmt::Debug for ContentSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentSalt([redacted])")
    }
}

/// The text of an answer as it passes, with its digest: SHA-256 of the salt and of the text, in the order in which the provider
/// sent it.
#[derive(Clone)]
pub struct AnswerText {
    context: Context,
    is_empty: bool,
    /// `None` if only the digest is kept.
    kept: Option<KeptText>,
}

/// The text so far; nothing of one that is longer than [`KEPT_BYTES_MAX`].
#[derive(Clone, Default)]
struct KeptText {
    text: Vec<u8>,
    is_too_long: bool,
}

/// The longest text of an answer that is kept: several times what the longest answers of models have.
pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

impl AnswerText {
    pub fn add(&mut self, text: &str) {
        self.context.update(text.as_bytes());
        self.is_empty &= text.is_empty();
        if let Some(kept) = &mut self.kept {
            kept.add(text);
        }
    }

    /// The text so far, if it is kept; `None` also if it is too long.
    pub fn kept(&self) -> Option<&[u8]> {
        self.kept.as_ref().filter(|kept| !kept.is_too_long).map(|kept| &*kept.text)
    }

    /// Bytes of memory that the text takes.
    pub fn kept_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.text.capacity())
    }

    /// The digest in hex; `None` if there was no text.
    pub fn digest(&self) -> Option<String> {
        (!self.is_empty).then(|| hex::lower(self.context.clone().finish().as_ref()))
    }
}

impl KeptText {
    fn add(&mut self, text: &str) {
        if self.is_too_long || text.len() > KEPT_BYTES_MAX - self.text.len() {
            *self = Self { text: Vec::new(), is_too_long: true };
            return;
        }
        self.text.extend_from_slice(text.as_bytes());
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
        let salt: [u8; 32] = hex::parse(&salt.to_hex()).expect("a salt in hex");
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
    fn a_text_is_kept_up_to_its_longest_and_nothing_of_a_longer_one() {
        let salt = ContentSalts::new(b"secret").salt(request(1));
        let mut answer = salt.kept_answer();
        let most = "x".repeat(KEPT_BYTES_MAX);
        answer.add(&most[1..]);
        answer.add("y");
        assert_eq!((answer.kept().map(<[u8]>::len), salt.answer().kept()), (Some(KEPT_BYTES_MAX), None));
        let digest = answer.digest();
        assert_eq!(digest, Some(salt.digest(format!("{}y", &most[1..]).as_bytes())));
        answer.add("");
        assert!(answer.kept().is_some());
        answer.add("z");
        answer.add("");
        assert_eq!((answer.kept(), answer.kept_bytes()), (None, 0));
    }

    #[test]
    fn the_keys_of_an_owner_have_names_of_their_own() {
        let (user, tenant) = (UserId::from(uuid::Uuid::from_u128(1)), TenantId::from(uuid::Uuid::from_u128(2)));
        let name = content_key_name(ContentKeyOwner::User(user), tenant);
        assert_eq!(name, format!("content {user} {tenant}"));
        assert!(is_content_key(&name) && !is_content_key(&user.to_string()));
        assert_eq!((tenant_of_content_key(&name), tenant_of_content_key(&user.to_string())), (Some(tenant), None));
        let is_of = |owner| {
            let (first, after) = content_key_names_of(owner);
            (first..after).contains(&name)
        };
        assert!(is_of(ContentKeyOwner::User(user)) && !is_of(ContentKeyOwner::Tenant(tenant)));
    }

    /// So that other programs can derive it.
    #[test]
    fn a_salt_is_sha_256_of_the_secret_and_of_the_id() {
        let expected = digest(&SHA256, &[&[7; 32][..], request(1).uuid().as_bytes()].concat());
        assert_eq!(ContentSalts::new(&[7; 32]).salt(request(1)).to_hex(), hex::lower(expected.as_ref()));
    }

    #[test]
    fn a_session_has_one_digest_for_each_tenant_of_each_installation() {
        let tenant = |number| Some(TenantId::from(uuid::Uuid::from_u128(number)));
        let digest = |secret: &[u8], tenant, session: &str| ContentSalts::new(secret).session_digest(tenant, session);
        let first = digest(b"a", tenant(1), "s");
        assert_eq!((first.len(), &first), (32, &digest(b"a", tenant(1), "s")));
        for other in [
            digest(b"b", tenant(1), "s"),
            digest(b"a", tenant(2), "s"),
            digest(b"a", None, "s"),
            digest(b"a", tenant(1), "t"),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn each_request_of_each_installation_has_its_own_salt() {
        let hex_of = |secret: &[u8], number| ContentSalts::new(secret).salt(request(number)).to_hex();
        assert_eq!(hex_of(b"a", 1), hex_of(b"a", 1));
        assert_ne!(hex_of(b"a", 1), hex_of(b"a", 2));
        assert_ne!(hex_of(b"a", 1), hex_of(b"b", 1));
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
