//! The published log for those who read it over the network. Anybody can, so that what they keep busy is bounded. Callers with a key
//! have room of their own, of which one tenant takes no more than a part; those who reach the whole platform have theirs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError, Weak};
use std::time::Duration;

use events::ids::TenantId;
use events_log::Log;
use object_storage::{NotOpened, Objects, Open, Opening};
use tokio::sync::{Mutex, OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::checked::CheckedTree;
use crate::files::Files;
use crate::published::{Checkpoint, PublishedLog};
use crate::published_error::PublishedError;
use crate::repair_requests::RepairRequests;

/// For how many of each kind of reader it is read at a time.
const READERS_MAX: usize = 32;
/// How many of them a tenant's may be.
const TENANT_READERS_MAX: usize = 8;
/// Above this number, tenants are forgotten that read nothing.
const TENANTS_KEPT: usize = 1024;
/// How long others wait.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long opening the object store may take.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// The published log, which is opened when it is first read. Cheap to clone.
#[derive(Clone)]
pub struct PublishedPlace {
    /// Names the keys of the published log.
    ledger: Log,
    repairs: RepairRequests,
    opening: Arc<Mutex<Opening<Objects>>>,
    opened: Arc<OnceCell<PublishedLog>>,
    anybody: Arc<Semaphore>,
    callers: Arc<Semaphore>,
    platform: Arc<Semaphore>,
    tenants: Arc<TenantRooms>,
}

/// The kinds of readers. Each has room of its own.
#[derive(Clone, Copy)]
pub enum ReaderKind {
    Anybody,
    /// Has a key, of this tenant if it is of one.
    Caller(Option<TenantId>),
}

/// The room of each tenant that reads.
#[derive(Default)]
struct TenantRooms(SyncMutex<HashMap<TenantId, Weak<Semaphore>>>);

impl TenantRooms {
    fn of(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(&tenant).and_then(Weak::upgrade) {
            return room;
        }
        if rooms.len() >= TENANTS_KEPT {
            rooms.retain(|_, room| room.strong_count() > 0);
        }
        let room = Arc::new(Semaphore::new(TENANT_READERS_MAX));
        rooms.insert(tenant, Arc::downgrade(&room));
        room
    }
}

/// The log, for one reader.
pub struct Reading<'a> {
    log: PublishedLog,
    place: &'a PublishedPlace,
    _permits: Permits,
}

/// The newest checkpoint, and the files of its tree.
pub struct NewestTree {
    pub checkpoint: Checkpoint,
    pub tree: CheckedTree,
}

impl Reading<'_> {
    /// `None` if nothing is published yet.
    pub async fn newest(&self) -> Result<Option<NewestTree>, PublishedError> {
        let PublishedPlace { ledger, repairs, .. } = self.place;
        let Some(checkpoint) = self.log.checkpoint(ledger).await? else { return Ok(None) };
        let tree = self.log.tree(checkpoint.head).repaired_by(repairs.clone());
        Ok(Some(NewestTree { checkpoint, tree }))
    }
}

struct Permits {
    _common: OwnedSemaphorePermit,
    _tenant: Option<OwnedSemaphorePermit>,
}

impl PublishedPlace {
    /// The ledger names the keys of the log. What is found damaged is repaired by the task behind `repairs`.
    pub fn new(open: Open<Objects>, ledger: Log, repairs: RepairRequests) -> Self {
        let room = || Arc::new(Semaphore::new(READERS_MAX));
        let opening = Arc::new(Mutex::new(Opening::new(open)));
        Self {
            ledger,
            repairs,
            opening,
            opened: Arc::default(),
            anybody: room(),
            callers: room(),
            platform: room(),
            tenants: Arc::default(),
        }
    }

    /// Waits until there is room for another reader.
    pub async fn read(&self, kind: ReaderKind) -> Result<Reading<'_>, PublishedError> {
        let permits = timeout(WAIT_MAX, self.admit(kind)).await;
        let Ok(Some(permits)) = permits else { return Err(PublishedError::Busy) };
        // Readers wait side by side, each for at most `OPEN_MAX`, although only one attempt to open is made.
        let opened = timeout(OPEN_MAX, self.opened.get_or_try_init(|| self.open())).await;
        let log = opened.map_err(|_| NotOpened::Silent)??.clone();
        Ok(Reading { log, place: self, _permits: permits })
    }

    /// A tenant's reader waits for the others of its tenant first: it keeps no place of all meanwhile.
    async fn admit(&self, kind: ReaderKind) -> Option<Permits> {
        let (room, tenant) = match kind {
            ReaderKind::Anybody => (&self.anybody, None),
            ReaderKind::Caller(None) => (&self.platform, None),
            ReaderKind::Caller(Some(tenant)) => (&self.callers, Some(tenant)),
        };
        let of_tenant = match tenant {
            Some(tenant) => Some(self.tenants.of(tenant).acquire_owned().await.ok()?),
            None => None,
        };
        let of_all = Arc::clone(room).acquire_owned().await.ok()?;
        Some(Permits { _common: of_all, _tenant: of_tenant })
    }

    async fn open(&self) -> Result<PublishedLog, PublishedError> {
        let objects = self.opening.lock().await.within(OPEN_MAX).await?;
        Ok(PublishedLog::new(Files::new(objects)))
    }
}
