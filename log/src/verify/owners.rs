//! The check of owners' blocks: a missing block would hide its events from their tenant or partner. Per owner only a count
//! and a digest are kept, so that memory does not grow with the log.

use std::collections::HashMap;

use events::event::Recorded;

use crate::owners::{Owner, block_of};

/// The blocks of an owner: their number, and a digest over them in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Blocks {
    count: u64,
    digest: u64,
    last: Option<u64>,
}

impl Blocks {
    /// Adding the last block again has no effect.
    fn add(&mut self, block: u64) {
        if self.last == Some(block) {
            return;
        }
        self.last = Some(block);
        self.count += 1;
        // FNV-1a over whole numbers: detects mistakes, not a deliberate collision.
        self.digest = (self.digest ^ block).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

/// Blocks by owner, from the rows or from the events.
pub(super) struct Owners<K>(HashMap<K, Blocks>);

impl<K> Default for Owners<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Owners<String> {
    /// Adds the block of a row. Rows come in order.
    pub(super) fn add(&mut self, owner: &str, block: u64) {
        if !self.0.contains_key(owner) {
            self.0.insert(owner.to_owned(), Blocks::default());
        }
        if let Some(blocks) = self.0.get_mut(owner) {
            blocks.add(block);
        }
    }

    /// Compares the rows with the events.
    ///
    /// Errors: the first owner whose blocks differ.
    pub(super) fn must_equal(&self, events: &Owners<Owner>) -> Result<(), String> {
        let named: HashMap<String, &Blocks> =
            events.0.iter().map(|(owner, blocks)| (owner.to_string(), blocks)).collect();
        let missing = named.iter().filter(|(owner, blocks)| self.0.get(*owner) != Some(blocks)).map(|(owner, _)| owner);
        let invented = self.0.keys().filter(|owner| !named.contains_key(*owner));
        // The smallest, because hash maps have no order and the message must be stable.
        match missing.chain(invented).min() {
            None => Ok(()),
            Some(owner) => Err(format!("the stored blocks of {owner} are not those of its events")),
        }
    }
}

impl Owners<Owner> {
    pub(super) fn add_event(&mut self, recorded: &Recorded) {
        let block = block_of(recorded.position);
        for owner in Owner::of_event(recorded) {
            self.0.entry(owner).or_default().add(block);
        }
    }
}
