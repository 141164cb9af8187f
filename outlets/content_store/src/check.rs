//! Checks of stored objects: whether each is what the event of its request says of it.

use object_storage::{Enough, Object, StoreError};

use crate::address::{ContentAddress, FOLDER};
use crate::key::{ContentKey, OVERHEAD, generation_of};
use crate::store::{ContentStore, TEXT_BYTES_MAX};

/// The key of an object, as far as it is known.
pub enum ObjectKey {
    Known(Box<ContentKey>),
    /// Nobody here has it. If it was erased, nobody opens the object, whatever its bytes are.
    Unknown,
    /// The owner has keys, and none of the generation that the object names.
    OtherGeneration,
}

/// The outcome of checking an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectState {
    /// The object opens, and its text has the digest that the event has.
    Sound,
    /// The object is there, and there is no key to open it with.
    Unopened,
    Missing,
    Damaged(ObjectDamage),
}

/// The fault of an object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectDamage {
    #[error("it is longer than any object of content")]
    TooLong,
    #[error("it is not of the form of sealed content")]
    UnknownForm,
    #[error("it names a key that its owner does not have")]
    OtherGeneration,
    #[error("it does not open under the key of its owner: it was changed, or was sealed under another name")]
    NotOpened,
    #[error("its text does not have the digest that the event has")]
    OtherText,
}

impl ContentStore {
    /// Checks the object at this address, whose salted text has this digest in the log. `key_of` finds the key of the generation that
    /// the object names.
    ///
    /// Errors: the store cannot be read; those of `key_of`.
    pub async fn check<E: From<StoreError>>(
        &self,
        address: &ContentAddress,
        digest: &str,
        key_of: impl FnOnce(u32) -> Result<ObjectKey, E>,
    ) -> Result<ObjectState, E> {
        let object = match self.objects().get(&address.to_string(), (TEXT_BYTES_MAX + OVERHEAD) as u64).await? {
            Some(Object::Whole(object)) => object,
            Some(Object::TooLong { .. }) => return Ok(ObjectState::Damaged(ObjectDamage::TooLong)),
            None => return Ok(ObjectState::Missing),
        };
        let generation = generation_of(&object).filter(|_| object.len() >= OVERHEAD);
        let Some(generation) = generation else { return Ok(ObjectState::Damaged(ObjectDamage::UnknownForm)) };
        Ok(match key_of(generation)? {
            ObjectKey::Unknown => ObjectState::Unopened,
            ObjectKey::OtherGeneration => ObjectState::Damaged(ObjectDamage::OtherGeneration),
            ObjectKey::Known(key) => match key.open(address, &object) {
                Some(text) if key.salts().salt(address.request).digest(&text) == digest => ObjectState::Sound,
                Some(_) => ObjectState::Damaged(ObjectDamage::OtherText),
                None => ObjectState::Damaged(ObjectDamage::NotOpened),
            },
        })
    }

    /// The number of all objects in the folder of content.
    ///
    /// Errors: the store cannot be read.
    pub async fn count(&self) -> Result<u64, StoreError> {
        let mut objects = 0;
        let found = |_| {
            objects += 1;
            Enough::No
        };
        self.objects().list(FOLDER, None, found).await?;
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use bytes::Bytes;
    use events::content::{ContentKeyOwner, ContentPart};
    use events::ids::{TenantId, UserId};
    use events::time::parse_rfc3339;
    use testing::random::SplitMix64;

    use super::*;
    use crate::store::tests::store_in;

    const FLIPS: usize = 2000;
    const GENERATION: u32 = 7;

    /// An object in a store, with what the log says of it.
    struct Kept {
        address: ContentAddress,
        owner: ContentKeyOwner,
        digest: String,
        object: Vec<u8>,
        is_erased: bool,
    }

    impl Kept {
        /// Puts an object of the request with this number.
        async fn put(store: &ContentStore, number: u8, text: &[u8]) -> Self {
            let tenant: TenantId = format!("ten_{:032x}", number / 3 + 1).parse().expect("an id");
            let user: Option<UserId> = format!("usr_{number:032x}").parse().ok().filter(|_| number.is_multiple_of(2));
            let address = ContentAddress {
                tenant,
                admitted_at: parse_rfc3339("2026-11-25T08:00:00Z").expect("a time"),
                request: format!("req_{number:032x}").parse().expect("an id"),
                part: ContentPart::ALL[usize::from(number % 2)],
            };
            let owner = ContentKeyOwner::of(tenant, user);
            let key = key_of(owner);
            let object = key.seal(&address, [number; 24], text).expect("sealed");
            store.put(&address, Bytes::from(object.clone())).await.expect("put");
            let digest = key.salts().salt(address.request).digest(text);
            Self { address, owner, digest, object, is_erased: number == 6 }
        }

        async fn check(&self, store: &ContentStore) -> ObjectState {
            let key = |generation| {
                Ok::<_, StoreError>(match generation {
                    _ if self.is_erased => ObjectKey::Unknown,
                    GENERATION => ObjectKey::Known(Box::new(key_of(self.owner))),
                    _ => ObjectKey::OtherGeneration,
                })
            };
            store.check(&self.address, &self.digest, key).await.expect("the store is there")
        }

        fn write(&self, folder: &Path, bytes: &[u8]) {
            fs::write(folder.join(self.address.to_string()), bytes).expect("written");
        }
    }

    fn key_of(owner: ContentKeyOwner) -> ContentKey {
        ContentKey::new(owner, GENERATION, &[1; 32])
    }

    async fn stored(folder: &Path) -> (ContentStore, Vec<Kept>) {
        let (store, mut all) = (store_in(folder), Vec::new());
        for (number, text) in (1..).zip(["hello", "", "yes", "a longer text, twice", "{\"model\":\"m\"}", "erased"]) {
            all.push(Kept::put(&store, number, text.repeat(2).as_bytes()).await);
        }
        (store, all)
    }

    /// All but the form of an object whose key was erased: nobody opens it any more, whatever its bytes are.
    ///
    /// Holds: content.verify
    #[tokio::test]
    async fn whichever_bit_of_an_object_is_flipped_it_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, all) = stored(folder.path()).await;
        assert_eq!(store.count().await.expect("a number"), 6);
        let mut random = SplitMix64::new(51);
        let mut below = |end: usize| usize::try_from(random.next_u64() % end as u64).expect("few");
        for _ in 0..FLIPS {
            let kept = &all[below(all.len())];
            let (at, bit) = (below(kept.object.len()), below(8));
            let mut flipped = kept.object.clone();
            flipped[at] ^= 1 << bit;
            kept.write(folder.path(), &flipped);
            let expected = match at {
                0 => ObjectState::Damaged(ObjectDamage::UnknownForm),
                _ if kept.is_erased => ObjectState::Unopened,
                1..=4 => ObjectState::Damaged(ObjectDamage::OtherGeneration),
                _ => ObjectState::Damaged(ObjectDamage::NotOpened),
            };
            assert_eq!(kept.check(&store).await, expected, "bit {bit} of byte {at} of {}", kept.address);
            kept.write(folder.path(), &kept.object);
        }
        for kept in &all {
            let sound = if kept.is_erased { ObjectState::Unopened } else { ObjectState::Sound };
            assert_eq!(kept.check(&store).await, sound, "{}", kept.address);
        }
    }

    /// Holds: content.verify
    #[tokio::test]
    async fn an_object_that_is_gone_cut_or_of_another_request_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, mut all) = stored(folder.path()).await;
        let damaged = ObjectState::Damaged;
        all[0].write(folder.path(), &all[2].object);
        assert_eq!(all[0].check(&store).await, damaged(ObjectDamage::NotOpened));
        for (length, damage) in
            [(0, ObjectDamage::UnknownForm), (44, ObjectDamage::UnknownForm), (46, ObjectDamage::NotOpened)]
        {
            all[0].write(folder.path(), &all[0].object[..length]);
            assert_eq!(all[0].check(&store).await, damaged(damage), "{length}");
        }
        let path = folder.path().join(all[0].address.to_string());
        fs::File::create(&path).and_then(|file| file.set_len(64 * 1024 * 1024)).expect("written");
        assert_eq!(all[0].check(&store).await, damaged(ObjectDamage::TooLong));
        fs::remove_file(&path).expect("removed");
        assert_eq!(all[0].check(&store).await, ObjectState::Missing);
        all[2].digest = all[3].digest.clone();
        assert_eq!(all[2].check(&store).await, damaged(ObjectDamage::OtherText));
    }
}
