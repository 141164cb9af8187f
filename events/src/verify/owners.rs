//! The blocks in which a tenant's or a partner's events are said to stand: a block that is missing would hide what is in
//! it from its owner. Counted and summed an owner, so that memory does not grow with the log.

use std::collections::HashMap;

use crate::event::Recorded;
use crate::log::owners::{Owner, block_of};

/// An owner's blocks, in their order: how many, and a digest that depends on each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Blocks {
    count: u64,
    digest: u64,
    last: Option<u64>,
}

impl Blocks {
    /// The same block again changes nothing.
    fn add(&mut self, block: u64) {
        if self.last == Some(block) {
            return;
        }
        self.last = Some(block);
        self.count += 1;
        // FNV-1a over whole numbers: against mistakes, not against somebody who wants two sets to look alike.
        self.digest = (self.digest ^ block).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

/// The blocks by their owner, of rows or of events.
pub(super) struct Owners<K>(HashMap<K, Blocks>);

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Owners<String> {
    /// Of the rows, in their order.
    pub(super) fn add(&mut self, owner: &str, block: u64) {
        if !self.0.contains_key(owner) {
            self.0.insert(owner.to_owned(), Blocks::default());
        }
        if let Some(blocks) = self.0.get_mut(owner) {
            blocks.add(block);
        }
    }

    /// Who has other blocks by its events than in the rows.
    pub(super) fn must_equal(&self, events: &Owners<Owner>) -> Result<(), String> {
        let named: HashMap<String, &Blocks> =
            events.0.iter().map(|(owner, blocks)| (owner.to_string(), blocks)).collect();
        let missing = named.iter().filter(|(owner, blocks)| self.0.get(*owner) != Some(blocks)).map(|(owner, _)| owner);
        let invented = self.0.keys().filter(|owner| !named.contains_key(*owner));
        // Hash maps have no order; what is said has one.
        match missing.chain(invented).min() {
            None => Ok(()),
            Some(owner) => {
                Err(format!("the blocks that {owner} is said to have events in are others than those of the events"))
            }
        }
    }
}

impl Owners<Owner> {
    pub(super) fn take(&mut self, recorded: &Recorded) {
        let block = block_of(recorded.position);
        for owner in Owner::of_event(recorded) {
            self.0.entry(owner).or_default().add(block);
        }
    }
}
