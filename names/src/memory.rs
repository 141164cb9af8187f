//! The addresses of names that are known, for as long as they count.
//!
//! Addresses are new for 30 s. Older ones count for ten minutes if newer ones do not come soon, or at all: a name server that fails stops
//! no calls to providers that were called before. That a name has no addresses is known for 5 s, and that nobody answers for 30 s.
//!
//! Each owner has room of its own for names; the oldest one leaves. At most 1,024 owners are remembered: the one
//! that has not asked for longest is forgotten first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use blocking_work::Owner;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Addresses, NotResolved};

/// How long addresses are new.
const NEW_FOR: Duration = Duration::from_secs(30);
/// How long they count if there are no newer ones.
const KNOWN_FOR: Duration = Duration::from_secs(600);
/// How long it is known that a name has no addresses.
const MISSING_FOR: Duration = Duration::from_secs(5);
/// How long it is known that nobody answers for a name.
const SILENT_FOR: Duration = Duration::from_secs(30);
/// How long the look-ups of an owner begin among the late ones, after one that was late.
const LATE_FOR: Duration = Duration::from_secs(600);
/// The names of a tenant, and those of the platform.
const NAMES_MAX: usize = 32;
const PLATFORM_NAMES_MAX: usize = 1024;
/// The owners whose names are remembered.
const OWNERS_MAX: usize = 1024;

/// A name, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub owner: Owner,
    pub host: String,
}

/// The addresses of a name, or why they are not known.
pub type Answer = Result<Addresses, NotResolved>;

/// The answer to whoever asks for a name, or that a look-up is under way.
pub enum Lookup {
    Cached(Answer),
    InProgress {
        answer: Answered,
        older: Option<Addresses>,
    },
    /// Whoever asked has to look it up.
    Start {
        answer: Answered,
        older: Option<Addresses>,
    },
}

/// Tells the addresses once they are looked up.
pub type Answered = oneshot::Receiver<Answer>;

/// The result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Found(Addresses),
    Missing,
    /// Nobody has answered in time.
    Silence,
    /// The name was not looked up.
    NoTurn,
}

impl Outcome {
    /// The outcome of a look-up that found these addresses; `None` if it has failed.
    pub fn of(found: Option<Vec<IpAddr>>) -> Self {
        let found = found.unwrap_or_default();
        if found.is_empty() { Self::Missing } else { Self::Found(found.into()) }
    }
}

/// Those that wait for a name, with what they are told.
#[must_use]
pub struct Told {
    waiting: Vec<oneshot::Sender<Answer>>,
    answer: Answer,
}

impl Told {
    pub fn tell(self) {
        for waiting in self.waiting {
            // It may have left.
            let _ = waiting.send(self.answer.clone());
        }
    }
}

/// The addresses of the names of all owners.
#[derive(Default)]
pub struct AddressCache {
    owners: HashMap<Owner, OwnersNames>,
}

#[derive(Default)]
struct OwnersNames {
    names: HashMap<String, Entry>,
    asked_at: Option<Instant>,
    late_at: Option<Instant>,
}

#[derive(Default)]
struct Entry {
    addresses: Option<Addresses>,
    /// When the addresses were looked up.
    found_at: Option<Instant>,
    /// Until when nobody looks again.
    fresh_until: Option<Instant>,
    is_running: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl AddressCache {
    /// Asks for a name.
    pub fn ask(&mut self, name: &Name, now: Instant) -> Lookup {
        self.make_room_for(name.owner, now);
        let owner = self.owners.entry(name.owner).or_default();
        owner.asked_at = Some(now);
        if !owner.names.contains_key(&name.host) && !owner.make_room(name.owner) {
            return Lookup::Cached(Err(NotResolved::Busy));
        }
        let entry = owner.names.entry(name.host.clone()).or_default();
        if entry.found_at.is_some_and(|at| now.duration_since(at) >= KNOWN_FOR) {
            entry.addresses = None;
        }
        if entry.fresh_until.is_some_and(|until| now < until) {
            return Lookup::Cached(entry.addresses.clone().ok_or(NotResolved::NoAddresses));
        }
        let (sender, answer) = oneshot::channel();
        entry.waiting.push(sender);
        let older = entry.addresses.clone();
        if std::mem::replace(&mut entry.is_running, true) {
            Lookup::InProgress { answer, older }
        } else {
            Lookup::Start { answer, older }
        }
    }

    /// Remembers the outcome of a look-up.
    pub fn record(&mut self, name: &Name, outcome: Outcome, now: Instant) -> Told {
        let names = self.owners.get_mut(&name.owner).map(|owner| &mut owner.names);
        let Some(entry) = names.and_then(|names| names.get_mut(&name.host)) else {
            return Told { waiting: Vec::new(), answer: Err(NotResolved::Busy) };
        };
        entry.is_running = false;
        let without = if outcome == Outcome::NoTurn { NotResolved::Busy } else { NotResolved::NoAddresses };
        entry.fresh_until = match outcome {
            Outcome::Found(addresses) => {
                (entry.addresses, entry.found_at) = (Some(addresses), Some(now));
                Some(now + NEW_FOR)
            }
            Outcome::Missing => Some(now + MISSING_FOR),
            Outcome::Silence => Some(now + SILENT_FOR),
            Outcome::NoTurn => None,
        };
        Told { waiting: std::mem::take(&mut entry.waiting), answer: entry.addresses.clone().ok_or(without) }
    }

    /// True if a look-up of this owner was late a short while ago.
    pub fn was_late(&self, owner: Owner, now: Instant) -> bool {
        self.owners.get(&owner).is_some_and(|owner| owner.was_late(now))
    }

    /// True if a name of this owner had addresses.
    pub fn has_found(&self, owner: Owner) -> bool {
        self.owners.get(&owner).is_some_and(|owner| owner.names.values().any(|entry| entry.found_at.is_some()))
    }

    pub fn note_late(&mut self, owner: Owner, now: Instant) {
        if let Some(owner) = self.owners.get_mut(&owner) {
            owner.late_at = Some(now);
        }
    }

    /// Forgets the tenant that has not asked for the longest time, if there are too many. One that was late is kept before others: it would
    /// begin anew.
    fn make_room_for(&mut self, owner: Owner, now: Instant) {
        if self.owners.len() < OWNERS_MAX || self.owners.contains_key(&owner) {
            return;
        }
        let at_rest = self.owners.iter().filter(|(owner, names)| owner.is_some() && names.is_at_rest());
        let oldest = at_rest.min_by_key(|(_, names)| (names.was_late(now), names.asked_at)).map(|(owner, _)| *owner);
        if let Some(oldest) = oldest {
            self.owners.remove(&oldest);
        }
    }
}

impl OwnersNames {
    fn was_late(&self, now: Instant) -> bool {
        self.late_at.is_some_and(|at| now.duration_since(at) < LATE_FOR)
    }

    fn is_at_rest(&self) -> bool {
        self.names.values().all(|entry| !entry.is_running)
    }

    /// Makes room for one more name. False if all that there are are being looked up.
    fn make_room(&mut self, owner: Owner) -> bool {
        let names_max = if owner.is_some() { NAMES_MAX } else { PLATFORM_NAMES_MAX };
        if self.names.len() < names_max {
            return true;
        }
        let at_rest = self.names.iter().filter(|(_, entry)| !entry.is_running);
        let oldest = at_rest.min_by_key(|(_, entry)| entry.found_at).map(|(host, _)| host.clone());
        oldest.is_some_and(|oldest| self.names.remove(&oldest).is_some())
    }
}
