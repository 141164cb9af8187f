//! The memory of the queues: the position up to which every alert is dealt with and, in the detail, a line for each owner that is
//! further or whose alerts are refused. Without a line, alerts are sent again, with the same ids.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use events_log::role::RoleMemory;

use crate::owner::Owner;
use crate::refusals::Refusals;

/// The lines of each kind; of refusals, the latest. The detail is written with each alert.
const LINES_MAX: usize = 256;

/// The part that differs among owners.
#[derive(Debug, Default, PartialEq)]
pub struct OwnerMemories {
    /// Up to where the alerts of an owner are dealt with.
    pub done: BTreeMap<Owner, u64>,
    pub refusals: BTreeMap<Owner, Refusals>,
}

impl OwnerMemories {
    /// The lines that this version understands.
    pub fn read(detail: &str) -> Self {
        let mut memories = Self::default();
        for line in detail.lines() {
            let Some((owner, rest)) = line.split_once(' ') else { continue };
            let Some(owner) = Owner::read(owner) else { continue };
            if let Ok(position) = rest.parse() {
                memories.done.insert(owner, position);
            } else if let Some(refusals) = Refusals::read(rest) {
                memories.refusals.insert(owner, refusals);
            }
        }
        memories
    }

    pub fn at(&self, position: u64) -> RoleMemory {
        let done = self.done.iter().take(LINES_MAX).map(|(owner, position)| format!("{owner} {position}"));
        let mut latest: Vec<_> = self.refusals.iter().collect();
        latest.sort_by_key(|(_, refusals)| Reverse(refusals.last()));
        let refusals = latest.iter().take(LINES_MAX).map(|(owner, refusals)| format!("{owner} {refusals}"));
        RoleMemory { position, detail: done.chain(refusals).collect::<Vec<_>>().join("\n") }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn tenant(number: u8) -> Owner {
        Owner::read(&format!("ten_{number:032x}")).expect("a tenant")
    }

    #[test]
    fn what_is_remembered_is_read_again_and_what_is_not_understood_is_left_out() {
        let refusals = Refusals::after(None, 7, DateTime::UNIX_EPOCH);
        let memories = OwnerMemories {
            done: BTreeMap::from([(tenant(1), 9), (Owner(None), 8)]),
            refusals: BTreeMap::from([(tenant(2), refusals)]),
        };
        let memory = memories.at(6);
        let wanted = format!("- 8\n{} 9\n{} 7 0 1970-01-01T00:00:00Z", tenant(1), tenant(2));
        assert_eq!(memory, RoleMemory { position: 6, detail: wanted });
        assert_eq!(OwnerMemories::read(&memory.detail), memories);
        assert_eq!(OwnerMemories::default().at(6).detail, "");
        for detail in ["", "7 0 1970-01-01T00:00:00Z", "ten_1 9", "- nine", "- 7 0"] {
            assert_eq!(OwnerMemories::read(detail), OwnerMemories::default(), "{detail}");
        }
    }

    #[test]
    fn few_lines_are_remembered_of_many_owners() {
        let done = (0..1_000_u32).map(|number| (Owner::read(&format!("ten_{number:032x}")).expect("a tenant"), 9));
        let memory = OwnerMemories { done: done.collect(), ..OwnerMemories::default() }.at(6);
        assert_eq!(memory.detail.lines().count(), LINES_MAX);
    }

    #[test]
    fn the_latest_refusals_are_remembered_of_many() {
        let owner = |number: u32| Owner::read(&format!("ten_{number:032x}")).expect("a tenant");
        let at = |number: u32| DateTime::UNIX_EPOCH + TimeDelta::minutes(i64::from(number));
        let refusals = (0..1_000).map(|number| (owner(number), Refusals::after(None, 7, at(number)))).collect();
        let memory = OwnerMemories { refusals, ..OwnerMemories::default() }.at(6);
        let read = OwnerMemories::read(&memory.detail).refusals;
        assert_eq!(read.len(), LINES_MAX);
        assert!(read.contains_key(&owner(999)) && !read.contains_key(&owner(0)));
    }
}
