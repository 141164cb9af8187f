//! Leases: which of the processes that share a log has a role. A lease lasts three seconds by the database's clock and is renewed
//! each second, so that another process takes over soon after a death, without anybody's help. A ledger in a folder has one
//! process, which has every role.
//!
//! No role needs its lease to be right: a process that was suspended may go on for a moment beside the next one. What a role writes
//! must therefore be harmless when two do it; its token, which rises whenever the lease changes hands, tells an old holder from a
//! new one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use events::time::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::LogError;
use super::role_memories::RoleMemories;
use crate::role::{Role, RoleMemory, RoleStatus};

/// The time between two renewals, and between two attempts to get a lease.
const BETWEEN_RENEWALS: Duration = Duration::from_secs(1);
/// How long a holder relies on a lease after it has asked for it: less than it lasts, by what an answer may take.
const RELIED_ON: Duration = Duration::from_millis(2500);

/// Where the roles of a log are kept.
pub(super) enum RolePlace {
    /// The folder of a log that one process has to itself.
    Folder(RoleMemories),
    /// The database of several processes.
    Shared { rows: Box<dyn LeaseRows>, clock: Arc<dyn Clock> },
}

/// The answer of a database.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// The leases in a database, for one process.
pub(super) trait LeaseRows: Send + Sync {
    /// Takes or renews a lease. Its token, or `None` if another process has it.
    fn take(&self, role: Role) -> Answer<'_, Option<i64>>;

    fn release(&self, role: Role) -> Answer<'_, ()>;

    /// False, and nothing is remembered, if the token is not the last one.
    fn remember(&self, role: Role, token: i64, memory: RoleMemory) -> Answer<'_, bool>;

    fn memory(&self, role: Role) -> Answer<'_, Option<RoleMemory>>;
}

/// A process that wants a role.
pub struct LeaseHolder {
    status: RoleStatus,
    place: Arc<RolePlace>,
}

impl LeaseHolder {
    pub(super) fn new(status: RoleStatus, place: Arc<RolePlace>) -> Self {
        Self { status, place }
    }

    /// Waits until this process has the role. The report shows what it waits for: another process that has the role, or a
    /// database that cannot be asked. A failure from before stays in it until the role works again. Cancel-safe.
    pub async fn wait(&mut self) -> Lease {
        let (role, place) = (self.status.role(), &self.place);
        let RolePlace::Shared { rows, clock } = &**place else {
            return Lease { role, token: 0, place: Arc::clone(place), term: None };
        };
        loop {
            let asked_at = clock.monotonic();
            match rows.take(role).await {
                Ok(Some(token)) => {
                    let term = Some(LeaseTerm::start(role, token, asked_at, Arc::clone(place), Arc::clone(clock)));
                    return Lease { role, token, place: Arc::clone(place), term };
                }
                Ok(None) => self.status.waiting(),
                Err(error) => self.status.failing(&error, clock.now()),
            }
            tokio::time::sleep(BETWEEN_RENEWALS).await;
        }
    }
}

/// A role that this process has, until the lease is lost or dropped.
pub struct Lease {
    role: Role,
    token: i64,
    place: Arc<RolePlace>,
    /// `None` if nobody else can have it.
    term: Option<LeaseTerm>,
}

impl Lease {
    /// Higher than the tokens of all who had the role before. 0 if nobody else can have it.
    pub const fn token(&self) -> i64 {
        self.token
    }

    /// False once another process may have the role, and from then on.
    pub fn is_held(&self) -> bool {
        self.term.as_ref().is_none_or(LeaseTerm::is_running)
    }

    /// Waits until another process may have the role. Cancel-safe.
    pub async fn lost(&self) {
        match &self.term {
            Some(term) => term.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Gives the role to another process, if one wants it. One that does not reach what the role needs tries again later.
    pub async fn release(self) {
        let Self { role, place, term, .. } = self;
        drop(term);
        if let RolePlace::Shared { rows, .. } = &*place
            && let Err(error) = rows.release(role).await
        {
            tracing::debug!(%role, %error, "cannot give the role up: its lease ends by itself");
        }
    }

    /// Remembers for the next process with the role. False, and nothing is remembered, once another one has it: the lease is lost.
    pub async fn remember(&self, memory: RoleMemory) -> Result<bool, LogError> {
        match &*self.place {
            RolePlace::Folder(memories) => memories.write(self.role, memory).await.map(|()| true),
            RolePlace::Shared { rows, .. } => {
                let remembered = rows.remember(self.role, self.token, memory).await?;
                if !remembered && let Some(term) = &self.term {
                    term.end();
                }
                Ok(remembered)
            }
        }
    }

    /// The memory that was stored last; `None` if there is none.
    pub async fn memory(&self) -> Result<Option<RoleMemory>, LogError> {
        match &*self.place {
            RolePlace::Folder(memories) => memories.read(self.role).await,
            RolePlace::Shared { rows, .. } => rows.memory(self.role).await,
        }
    }
}

/// The time of a lease, and what prolongs it. Dropping it ends the renewals.
struct LeaseTerm {
    clock: Arc<dyn Clock>,
    /// On the clock's monotonic time, in microseconds. 0 once it was over, however late a renewal succeeds: who has seen that the
    /// lease is lost has ended the work.
    until: Arc<AtomicU64>,
    /// False once another process has the lease.
    is_ours: watch::Receiver<bool>,
    /// Ends when it is dropped.
    _renewing: JoinSet<()>,
}

impl LeaseTerm {
    fn start(role: Role, token: i64, asked_at: Duration, place: Arc<RolePlace>, clock: Arc<dyn Clock>) -> Self {
        let until = Arc::new(AtomicU64::new(micros(asked_at + RELIED_ON)));
        let (ours, is_ours) = watch::channel(true);
        let (renewed_until, renewed_by) = (Arc::clone(&until), Arc::clone(&clock));
        let mut renewing = JoinSet::new();
        renewing.spawn(async move {
            let RolePlace::Shared { rows, .. } = &*place else { return };
            loop {
                tokio::time::sleep(BETWEEN_RENEWALS).await;
                let asked_at = renewed_by.monotonic();
                match rows.take(role).await {
                    Ok(Some(taken)) if taken == token => {
                        let until = micros(asked_at + RELIED_ON);
                        let prolonged = |known| (known > 0).then_some(until);
                        let _ = renewed_until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, prolonged);
                    }
                    Ok(_) => break,
                    Err(error) => tracing::debug!(%role, %error, "cannot renew the lease: trying again"),
                }
            }
            ours.send_replace(false);
        });
        Self { clock, until, is_ours, _renewing: renewing }
    }

    /// The time that is left; `None` once the lease is over.
    fn left(&self) -> Option<Duration> {
        let until = Duration::from_micros(self.until.load(Ordering::SeqCst));
        let left = until.checked_sub(self.clock.monotonic()).filter(|left| !left.is_zero());
        if left.is_none() {
            self.end();
        }
        left.filter(|_| *self.is_ours.borrow())
    }

    fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    fn is_running(&self) -> bool {
        self.left().is_some()
    }

    async fn ended(&self) {
        let mut is_ours = self.is_ours.clone();
        while let Some(left) = self.left() {
            tokio::select! {
                _ = is_ours.wait_for(|is_ours| !is_ours) => return,
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use events::time::{ManualClock, from_micros};

    use super::*;

    /// A database that gives the first process its lease again and again.
    struct OneProcess;

    impl LeaseRows for OneProcess {
        fn take(&self, _: Role) -> Answer<'_, Option<i64>> {
            Box::pin(async { Ok(Some(7)) })
        }

        fn release(&self, _: Role) -> Answer<'_, ()> {
            Box::pin(async { Ok(()) })
        }

        fn remember(&self, _: Role, _: i64, memory: RoleMemory) -> Answer<'_, bool> {
            Box::pin(async move { Ok(memory.position > 0) })
        }

        fn memory(&self, _: Role) -> Answer<'_, Option<RoleMemory>> {
            Box::pin(async { Ok(None) })
        }
    }

    async fn lease(clock: &Arc<ManualClock>) -> Lease {
        let place = RolePlace::Shared { rows: Box::new(OneProcess), clock: clock.clone() };
        LeaseHolder::new(RoleStatus::new(Role::Archive), Arc::new(place)).wait().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_seen_to_be_lost_stays_lost_although_nobody_else_took_it() {
        let clock = Arc::new(ManualClock::at(from_micros(0)));
        let suspended = lease(&clock).await;
        clock.advance(RELIED_ON);
        assert!(!suspended.is_held());
        tokio::time::sleep(BETWEEN_RENEWALS * 2).await;
        assert!(!suspended.is_held(), "it was renewed since");
        suspended.lost().await;
        let unseen = lease(&clock).await;
        clock.advance(RELIED_ON);
        tokio::time::sleep(BETWEEN_RENEWALS * 2).await;
        assert!(unseen.is_held(), "it was renewed before anybody looked");
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_remember_any_more_has_lost_the_lease() {
        let lease = lease(&Arc::new(ManualClock::at(from_micros(0)))).await;
        assert!(lease.remember(RoleMemory { position: 1, detail: String::new() }).await.expect("an answer"));
        assert!(lease.is_held());
        assert!(!lease.remember(RoleMemory::default()).await.expect("an answer"));
        lease.lost().await;
    }
}
