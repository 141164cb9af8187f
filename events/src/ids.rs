//! Typed ids: a prefix and a UUIDv7 in 32 lower-case hex digits, `ten_0198c1…`. Each kind has its own type, so that one
//! cannot be passed for another. Only [`IdMaker`] makes new ids, from the clock and the randomness that it was given.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::text_on_the_wire::deserialize_from_text;
use crate::time::Clock;

/// A source of unpredictable bytes. A port: production uses [`SystemRandom`], tests a seeded one.
pub trait Random: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);

    /// The random part of an id. May come from a stock in memory, because an id is no secret.
    fn id_bytes(&self) -> IdBytes {
        let mut bytes = IdBytes::default();
        self.fill(&mut bytes);
        bytes
    }
}

/// The random bytes of an id; of the 80 bits, 74 are used.
pub type IdBytes = [u8; 10];

/// The operating system's generator.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        use ring::rand::SecureRandom;
        // Without randomness no key and no id can be made safely: stopping is the only option.
        ring::rand::SystemRandom::new().fill(bytes).expect("the operating system gives random bytes");
    }

    /// Asks the system for the bytes of several ids at a time: each draw is a system call.
    fn id_bytes(&self) -> IdBytes {
        ID_BYTES_STOCK.with_borrow_mut(|stock| match stock.pop() {
            Some(bytes) => bytes,
            None => {
                let mut drawn = [IdBytes::default(); IDS_DRAWN];
                self.fill(drawn.as_flattened_mut());
                let [first, others @ ..] = drawn;
                stock.extend(others);
                first
            }
        })
    }
}

/// Ids whose bytes are drawn at once: 250 bytes, which the kernel gives without interruption.
const IDS_DRAWN: usize = 25;

thread_local! {
    static ID_BYTES_STOCK: RefCell<Vec<IdBytes>> = const { RefCell::new(Vec::new()) };
}

/// Makes ids in time order.
#[derive(Clone)]
pub struct IdMaker {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl IdMaker {
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    pub fn make<I: From<Uuid>>(&self) -> I {
        let entropy = self.random.id_bytes();
        let millis = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or(0);
        I::from(uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid())
    }

    /// `N` unpredictable bytes, for secrets and salts.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }
}

/// A map with a fast hasher, for keys made of ids and times. A request looks up about a hundred of them, and no client can
/// choose ids that collide: they are made here, and their hashes come from 62 random bits. Other keys, which clients choose freely,
/// use the standard hasher.
///
/// An id that was read from a file must not be the key of a hash map: only half of it is hashed.
pub type IdMap<K, V> = HashMap<K, V, FxBuildHasher>;
/// See [`IdMap`].
pub type IdSet<K> = HashSet<K, FxBuildHasher>;

/// The shard of a key, for shards with an [`IdMap`] each. It depends on the middle bits of the hash, since the map itself
/// uses the lowest and the highest ones.
pub fn shard_of<K: Hash>(key: &K, shards: usize) -> usize {
    usize::try_from(FxBuildHasher.hash_one(key) >> 32).unwrap_or(0) % shards
}

impl KeyId {
    /// The beginning of every API key's text, before the id and the secret part.
    pub const SECRET_PREFIX: &'static str = "sgk_";

    /// The public part of the API key's text: `sgk_0198c1…_`.
    pub fn public_part(self) -> String {
        format!("{}{}_", Self::SECRET_PREFIX, self.0.simple())
    }
}

/// The error for a text that is not an id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an id such as {prefix}00000000000000000000000000000001")]
pub struct InvalidId {
    pub prefix: &'static str,
}

/// The length of every id as text: a prefix of four bytes and 32 digits.
const TEXT_LEN: usize = 36;

/// Writes the id as text into a buffer on the stack: each request writes about thirty of them.
fn write_text<'a>(prefix: &'static str, uuid: Uuid, text: &'a mut [u8; TEXT_LEN]) -> &'a str {
    let (head, digits) = text.split_at_mut(TEXT_LEN - 32);
    head.copy_from_slice(prefix.as_bytes());
    uuid.simple().encode_lower(digits);
    std::str::from_utf8(text).unwrap_or_default()
}

/// The key of a target, where events have something by target: `provider_id/model`.
pub fn target_key(provider: ProviderId, model: &str) -> String {
    [write_text(ProviderId::PREFIX, provider.0, &mut [0; TEXT_LEN]), "/", model].concat()
}

/// An id whose text begins with a prefix that names its type.
pub trait Prefixed:
    Copy
    + fmt::Debug
    + fmt::Display
    + Eq
    + Hash
    + From<Uuid>
    + FromStr
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    const PREFIX: &'static str;

    fn uuid(self) -> Uuid;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(Uuid);

        const _: () = assert!($prefix.len() + 32 == TEXT_LEN);

        impl Prefixed for $name {
            const PREFIX: &'static str = $prefix;

            fn uuid(self) -> Uuid {
                self.0
            }
        }

        // The second half alone: it has 62 of the random bits.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(self.0.as_u64_pair().1);
            }
        }

        impl $name {
            pub const PREFIX: &'static str = $prefix;

            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// True if the text is that of this id.
            pub fn is_written(self, text: &str) -> bool {
                text == write_text($prefix, self.0, &mut [0; TEXT_LEN])
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(write_text($prefix, self.0, &mut [0; TEXT_LEN]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or(invalid)?;
                if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(invalid);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(write_text($prefix, self.0, &mut [0; TEXT_LEN]))
            }
        }

        deserialize_from_text!($name, concat!("an id of the form ", $prefix, "<32 hex digits>"));
    )*};
}

ids! {
    /// A reseller or business unit: the widest owner of tenants.
    PartnerId "par_";
    /// A customer: data is separated by tenant.
    TenantId "ten_";
    /// A person or service of a tenant.
    UserId "usr_";
    /// A group of users of a tenant.
    TeamId "tea_";
    /// An API key of a user.
    KeyId "key_";
    /// An upstream that serves models.
    ProviderId "prv_";
    /// A further API key of a provider.
    ProviderKeyId "pky_";
    /// A frontend model: a name and its targets.
    ModelId "mdl_";
    /// A price of one backend model.
    PriceId "prc_";
    /// A budget.
    BudgetId "bud_";
    /// A rate limit.
    LimitId "lim_";
    /// A saved search of the audit.
    AuditSearchId "asr_";
    /// One request to the gateway.
    RequestId "req_";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds: http.ids
    #[test]
    fn an_id_reads_back_and_no_other_prefix_or_case_passes() {
        let id = TenantId::from(Uuid::from_u128(0x0198_c1de_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string(), "ten_0198c1de000070008000000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("key_0198c1de000070008000000000000001".parse::<TenantId>().is_err());
        assert!("ten_0198C1DE000070008000000000000001".parse::<TenantId>().is_err());
        assert!("ten_0198c1de-0000-7000-8000-000000000001".parse::<TenantId>().is_err());
    }

    #[test]
    fn made_ids_spread_over_shards() {
        let ids = IdMaker::new(Arc::new(crate::time::SystemClock::new()), Arc::new(SystemRandom));
        let mut counts = [0; 64];
        (0..6_400).for_each(|_| counts[shard_of(&ids.make::<RequestId>(), 64)] += 1);
        assert!(counts.iter().all(|count| (40..=200).contains(count)), "{counts:?}");
    }

    #[test]
    fn ids_are_unlike_each_other_across_many_draws_and_threads() {
        let stock = || ID_BYTES_STOCK.with_borrow(Vec::len);
        let (before, _, after) = (stock(), SystemRandom.id_bytes(), stock());
        assert_eq!((before, after), (0, IDS_DRAWN - 1));
        let draw = || (0..IDS_DRAWN * 3).map(|_| SystemRandom.id_bytes()).collect::<Vec<_>>();
        let threads = [(); 4].map(|()| std::thread::spawn(draw));
        let drawn: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect();
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
    }
}
