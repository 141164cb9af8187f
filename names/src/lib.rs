//! The addresses of the names that tenants and the platform give to their providers.
//!
//! The system looks names up, so that its files, search domains and modules keep their meaning. It blocks a thread, for as long as a
//! name server does not answer, and nothing can end that: a look-up has a thread of its own. It has a turn ([`NAMES`]) for a second.
//! What takes longer goes on beside the others ([`LATE_NAMES`]), and for ten minutes all look-ups of its owner begin there. An owner has
//! few turns in both. While there is none among the late ones, a look-up keeps the turn that it has. So owners without an answer so far
//! have at most half of the turns, and begin among the late ones beyond that: names that hang take no turn from an owner whose names were
//! found before, unless dozens of such owners have them. The platform's names have turns of their own ([`PLATFORM_NAMES`]).
//!
//! Answers are remembered, by owner: see [`memory`]. Several requests for one name wait for one look-up.

mod memory;

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use blocking_work::Owner;
use blocking_work::{BoundOf, LATE_NAMES, NAMES, PLATFORM_NAMES, Pool, WorkTurn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use memory::{AddressCache, Answer, Lookup, Name, Outcome};

/// Addresses of a name; at least one.
pub type Addresses = Arc<[IpAddr]>;

/// No addresses of a name are known in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotResolved {
    /// The name has none, or nobody has answered.
    #[error("the name does not resolve")]
    NoAddresses,
    /// The name was not looked up: too many others are.
    #[error("too many names are being looked up")]
    Busy,
}

/// The longest wait for the addresses of a name, with the wait for a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// The time in which those that wait are told why there is no answer.
const ANSWER_GRACE: Duration = Duration::from_millis(250);
/// The longest wait for newer addresses than those that are known.
const NEWER_WAIT_MAX: Duration = Duration::from_millis(500);
/// After this time, a look-up is late.
const LATE_AFTER: Duration = Duration::from_secs(1);

/// Looks a name up. Blocking.
type LookUp = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Looks names up and remembers their addresses.
struct Resolver {
    look_up: LookUp,
    pools: Pools,
    cache: Mutex<AddressCache>,
    /// A permit for each of the tenants' turns that owners without an answer so far may have.
    unproven: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// The turns of look-ups.
struct Pools {
    tenants: &'static Pool,
    /// The same for the platform.
    platform: &'static Pool,
    late: &'static Pool,
}

static RESOLVER: LazyLock<Resolver> = LazyLock::new(|| {
    let pools = Pools { tenants: &NAMES, platform: &PLATFORM_NAMES, late: &LATE_NAMES };
    Resolver::new(Box::new(look_up), pools)
});

/// The addresses of a name of this owner.
///
/// Errors: it has none, none are known within five seconds, or too many others are being looked up.
pub async fn resolve(host: &str, owner: Owner) -> Result<Addresses, NotResolved> {
    RESOLVER.resolve(Name { owner, host: host.to_ascii_lowercase() }).await
}

fn look_up(host: &str) -> io::Result<Vec<IpAddr>> {
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

impl Resolver {
    fn new(look_up: LookUp, pools: Pools) -> Self {
        let unproven = Arc::new(Semaphore::new(pools.tenants.turns_max().div_ceil(2)));
        Self { look_up, pools, cache: Mutex::default(), unproven, tasks: TaskTracker::new() }
    }

    async fn resolve(&'static self, name: Name) -> Answer {
        let lookup = self.cache().ask(&name, Instant::now());
        let (answer, older) = match lookup {
            Lookup::Cached(answer) => return answer,
            Lookup::InProgress { answer, older } => (answer, older),
            Lookup::Start { answer, older } => {
                let look_up = RunningLookUp { resolver: self, name, outcome: Outcome::NoTurn };
                self.tasks.spawn(look_up.run());
                (answer, older)
            }
        };
        let wait_max = if older.is_some() { NEWER_WAIT_MAX } else { WAIT_MAX + ANSWER_GRACE };
        match timeout(wait_max, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => older.ok_or(NotResolved::Busy),
        }
    }

    fn cache(&self) -> MutexGuard<'_, AddressCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn of one look-up, until it ends.
struct LookUpTurn {
    is_late: bool,
    _turn: WorkTurn,
    _unproven: Option<OwnedSemaphorePermit>,
}

impl LookUpTurn {
    const fn punctual(turn: WorkTurn, unproven: Option<OwnedSemaphorePermit>) -> Self {
        Self { is_late: false, _turn: turn, _unproven: unproven }
    }

    const fn late(turn: WorkTurn) -> Self {
        Self { is_late: true, _turn: turn, _unproven: None }
    }
}

/// A look-up that goes on although nobody may wait for it. If this is dropped, those that wait are told what is known.
struct RunningLookUp {
    resolver: &'static Resolver,
    name: Name,
    outcome: Outcome,
}

impl RunningLookUp {
    async fn run(mut self) {
        self.outcome = self.look_up().await;
    }

    async fn look_up(&self) -> Outcome {
        let (resolver, owner) = (self.resolver, self.name.owner);
        let until = Instant::now() + WAIT_MAX;
        let Ok(turn) = self.turn(until).await else { return Outcome::NoTurn };
        let is_late = turn.is_late;
        let turn = Arc::new(Mutex::new(Some(turn)));
        let Ok(mut found) = self.start(&turn) else { return Outcome::NoTurn };
        if let Ok(found) = timeout(LATE_AFTER, &mut found).await {
            return Outcome::of(found.ok());
        }
        resolver.cache().note_late(owner, Instant::now());
        // Without a place among the late ones, it keeps the turn that it has.
        if !is_late && let Some(late) = resolver.pools.late.try_turn(owner) {
            let punctual = turn.lock().unwrap_or_else(PoisonError::into_inner).replace(LookUpTurn::late(late));
            drop(punctual);
        }
        match timeout_at(until, found).await {
            Ok(found) => Outcome::of(found.ok()),
            Err(_) => Outcome::Silence,
        }
    }

    /// Waits for a turn in the pool where this owner's look-ups begin. The platform's names never wait among those of tenants.
    async fn turn(&self, until: Instant) -> Result<LookUpTurn, BoundOf> {
        let (resolver, owner) = (self.resolver, self.name.owner);
        let Pools { tenants, platform, late } = &resolver.pools;
        if owner.is_none() {
            return Ok(LookUpTurn::punctual(platform.turn_until(owner, until).await?, None));
        }
        let was_late = resolver.cache().was_late(owner, Instant::now());
        if !was_late {
            let turn = tenants.turn_until(owner, until).await?;
            if resolver.cache().has_found(owner) {
                return Ok(LookUpTurn::punctual(turn, None));
            }
            if let Ok(unproven) = Arc::clone(&resolver.unproven).try_acquire_owned() {
                return Ok(LookUpTurn::punctual(turn, Some(unproven)));
            }
        }
        Ok(LookUpTurn::late(late.turn_until(owner, until).await?))
    }

    /// Starts the look-up on a thread of its own, which gives the turn back.
    fn start(&self, turn: &Arc<Mutex<Option<LookUpTurn>>>) -> io::Result<oneshot::Receiver<Vec<IpAddr>>> {
        let (sender, found) = oneshot::channel();
        let (resolver, host, turn) = (self.resolver, self.name.host.clone(), Arc::clone(turn));
        thread::Builder::new().name("names".to_owned()).spawn(move || {
            let addresses = (resolver.look_up)(&host).unwrap_or_default();
            drop(turn.lock().unwrap_or_else(PoisonError::into_inner).take());
            // If it cannot be sent, it has taken too long.
            let _ = sender.send(addresses);
        })?;
        Ok(found)
    }
}

impl Drop for RunningLookUp {
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Outcome::NoTurn);
        let told = self.resolver.cache().record(&self.name, outcome, Instant::now());
        told.tell();
    }
}

#[cfg(test)]
mod tests;
