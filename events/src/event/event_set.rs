//! Event sets: which types a version of the program can read, and which it writes. Nodes of two versions that share a log go by
//! these numbers (ADR-0019).

/// The number of types up to each event set, from set 1 on. Whoever adds a type, or a version of one, adds a set that has it, or
/// counts it in the last set if that is not released yet. The row of the type has the number of its set.
const SETS: &[usize] = &[65];

/// The newest event set that this version reads.
pub const EVENT_SET_READ: u32 = SETS.len() as u32;
/// The newest event set that this version writes from: that of the release before, so that both can run together. The next
/// release raises it.
pub const EVENT_SET_WRITTEN: u32 = 1;

/// One release reads a type before another writes it.
const _: () = assert!(EVENT_SET_WRITTEN <= EVENT_SET_READ && EVENT_SET_READ <= EVENT_SET_WRITTEN + 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Access, Alert, Event, Hold, Inference, Resource};

    #[test]
    fn every_type_is_in_an_event_set() {
        let families =
            [Inference::EVENT_SETS, Hold::EVENT_SETS, Alert::EVENT_SETS, Resource::EVENT_SETS, Access::EVENT_SETS]
                .concat();
        assert_eq!(families.len(), Event::types().count());
        for (set, types) in (1..).zip(SETS) {
            let found = families.iter().filter(|of_type| **of_type <= set).count();
            assert_eq!(found, *types, "a new type is in a new event set: types up to set {set}");
        }
        assert_eq!(SETS.last(), Some(&families.len()), "a type is of a set that there is not");
    }
}
