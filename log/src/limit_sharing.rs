//! Whether a process shares its counts of rate limits with others, as it says in the register of running nodes.

use std::sync::{Arc, Mutex, PoisonError};

events::named! {
    /// How a process counts rate limits. Its word is its name in the register, in which a newer version may write others.
    pub enum LimitSharing {
        /// Alone: the process was given no Redis.
        Off = "off",
        /// The process was given a Redis, and does not serve yet: it is finding out whether it can use it.
        Starting = "starting",
        /// The process was given a Redis, and has never reached it: the address is wrong, or it started while Redis was away.
        Unreached = "unreached",
        /// The process has lost its connection to Redis, or has not told it yet what it counts.
        Disconnected = "disconnected",
        /// Its Redis answers it, and accepts writes.
        Connected = "connected",
    }
}

/// The sharing that a process reports, at its start and then each second. Cheap to clone; the clones share it. A process that counts no
/// rate
/// limits says nothing.
#[derive(Clone, Debug, Default)]
pub struct LimitSharingSign(Arc<Mutex<Option<LimitSharing>>>);

impl LimitSharingSign {
    pub fn show(&self, sharing: LimitSharing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sharing);
    }

    pub(crate) fn shown(&self) -> Option<LimitSharing> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_of_its_own_and_an_unknown_name_says_nothing() {
        for sharing in LimitSharing::ALL {
            assert_eq!(LimitSharing::parse(sharing.as_str()), Some(*sharing));
        }
        assert_eq!(LimitSharing::parse("shared-in-another-way"), None);
    }
}
