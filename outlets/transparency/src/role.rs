//! The publisher of a running gateway: follows the log, and publishes a checkpoint half a second after an event that is in none.
//!
//! Of several nodes, the one with the lease publishes. One that was suspended and goes on beside the next one publishes no other
//! history: a checkpoint is remembered in the ledger's database before it is published, which only the holder of the lease can, and
//! tiles are put only if there are none of their names. At worst, an older checkpoint of the same history replaces a newer one
//! until the next one comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use blocking_work::OUTLETS;
use events::event::Recorded;
use events::event::published_log_repaired::RepairedFile;
use events_log::backoff::Backoff;
use events_log::role::{Role, RoleMemory};
use events_log::{Followed, Follower, LogError, PAGE_EVENTS};
use object_storage::{NotOpened, Objects, Open, Opening};
use outlets::{AnyOutlet, LeasedRole, Outlet, until};
use reqwest::Client;
use tlog::{
    EntryBundle, EntryBundleId, Hash, InvalidProof, SignedCheckpoint, TILE_WIDTH, Tree, TreeHead, partial_tiles,
    verify_consistency,
};
use tokio::time::{Instant, sleep};

use crate::checkpoint::CheckpointError;
use crate::damaged_file::TreeFile;
use crate::files::{Files, FilesError};
use crate::key_history::KeyHistory;
use crate::ledger::{Differs, NewestLeaves, compare_with_ledger};
use crate::publication::{AddError, Publication};
use crate::published::PublishedLog;
use crate::published_error::PublishedError;
use crate::repair::mend_all;
use crate::repaired_files::RepairedFiles;
use crate::signing::{CheckpointSigner, OpenSigner, SigningError};
use crate::witnesses::{WitnessAddress, Witnesses};

/// How long after the first event that is in no checkpoint one is published.
const PUBLISH_AFTER: Duration = Duration::from_millis(500);
/// How long events are collected before they are added.
const COLLECT: Duration = Duration::from_millis(100);
/// After work of a certain time, the publisher rests for so many times as long: it takes at most a ninth of a core.
const REST: u32 = 8;
/// The same while it is behind, with a page of events or more to add: until it has caught up, adding takes at most a third of a core.
const REST_BEHIND: u32 = 2;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(400);
/// The most events that are added at a time.
const ADDED_MAX: usize = 4096;
/// So many bytes of files are published before more events are added.
pub const FILES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long partial files stay that no checkpoint needs any more: a reader may have just read the one that did.
pub const PARTIAL_KEPT: Duration = Duration::from_secs(60);

/// The parts of a publisher.
pub struct PublisherParts {
    pub open: Open<Objects>,
    /// The name of the log, which has at least one key.
    pub origin: String,
    pub open_signer: OpenSigner,
    /// Whether a log of which there is nothing yet is begun: if it was published before, it would contradict itself.
    pub may_begin: bool,
    /// The witnesses that are asked to cosign checkpoints, each with its key.
    pub witnesses: Vec<WitnessAddress>,
    pub client: Client,
    /// [`WITNESS_RETRY_AFTER`](crate::WITNESS_RETRY_AFTER), except in tests.
    pub witness_retry_after: Duration,
    /// [`PARTIAL_KEPT`], except in tests.
    pub partial_kept: Duration,
    /// [`FILES_BYTES_MAX`], except in tests.
    pub files_bytes_max: usize,
}

/// The outlet that publishes the log.
pub struct Publisher {
    parts: PublisherParts,
    opening: Opening<Objects>,
    witnesses: Witnesses,
    signer: CheckpointSigner,
}

impl Publisher {
    pub fn new(parts: PublisherParts) -> Self {
        Self {
            opening: Opening::new(Arc::clone(&parts.open)),
            witnesses: Witnesses::new(parts.client.clone(), parts.witnesses.clone(), parts.witness_retry_after),
            signer: CheckpointSigner::new(Arc::clone(&parts.open_signer)),
            parts,
        }
    }
}

/// The log cannot be published now.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error(transparent)]
    Published(#[from] PublishedError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Differs(#[from] Differs),
    #[error(transparent)]
    Add(#[from] AddError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error(
        "there are two checkpoints of {size} events with different roots: one of {remembered}, and one of {published} in the object store"
    )]
    TwoRoots { size: u64, remembered: Hash, published: Hash },
    #[error("the newest checkpoint, of {new} events, does not continue the one of {old}: {reason}")]
    Inconsistent { old: u64, new: u64, reason: InvalidProof },
    #[error("the newest checkpoint in the object store is of {size} events, and not the one that is continued here")]
    Replaced { size: u64 },
    #[error("the ledger does not have the {size} events of the newest checkpoint as they were published")]
    OtherRoot { size: u64 },
    #[error(
        "this ledger may have been published before, and its checkpoint is not here: put the folder tlog back into the object store; to publish it \
         anew, set LEDGERWAY_TRANSPARENCY_ANEW=true; to publish none, LEDGERWAY_TRANSPARENCY=false (docs/transparency.md#a-ledger-that-is-behind-its-checkpoint)"
    )]
    Gone,
    #[error("cannot read the log: {0}")]
    Log(#[from] LogError),
    #[error("the publisher's thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Publisher> for AnyOutlet {
    fn from(outlet: Publisher) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for Publisher {
    const ROLE: Role = Role::Transparency;
    /// They begin anew once a checkpoint was published.
    const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    type Error = RoleError;

    async fn open(&mut self) -> Result<(), RoleError> {
        Ok(self.opening.before_role().await?)
    }

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), RoleError> {
        let objects = self.opening.for_role().await?;
        let work = Work {
            parts: &self.parts,
            published: PublishedLog::new(Files::new(objects)),
            role,
            newest: None,
            signer: &mut self.signer,
            witnesses: &mut self.witnesses,
            replaced: VecDeque::new(),
            repaired: RepairedFiles::default(),
        };
        work.run().await
    }
}

/// Whether the files that are derived from the ledger are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Derived {
    /// Nothing: only the roots are compared.
    Compared,
    /// All. Those that were missing or damaged count as repaired if they are of the tree of this size, and not of one on the way, which
    /// nobody has seen.
    Put { size: u64 },
}

/// The work under one lease.
struct Work<'a, 'r> {
    parts: &'a PublisherParts,
    published: PublishedLog,
    role: &'a mut LeasedRole<'r>,
    /// The checkpoint that the next one continues, with the cosignatures that it has.
    newest: Option<SignedCheckpoint>,
    signer: &'a mut CheckpointSigner,
    witnesses: &'a mut Witnesses,
    /// Partial files that no checkpoint needs any more, with when they can be deleted.
    replaced: VecDeque<(Instant, Vec<String>)>,
    /// The files that were missing or damaged, and were written again.
    repaired: RepairedFiles,
}

impl Work<'_, '_> {
    async fn run(mut self) -> Result<(), RoleError> {
        let (mut publication, mut keys) = self.begin().await?;
        self.role.status.working();
        self.role.status.reached(publication.position());
        self.cosign(&keys).await?;
        let mut follower = self.role.log.follow(publication.position(), PAGE_EVENTS);
        let mut due = None;
        loop {
            let followed = tokio::select! {
                () = until(due) => None,
                () = until(self.witnesses.due()), if self.head().size > 0 => {
                    self.cosign(&keys).await?;
                    continue;
                }
                followed = follower.next() => match followed? {
                    None => return Ok(()),
                    Some(followed) => Some(followed),
                },
            };
            if let Some(followed) = followed {
                if matches!(followed, Followed::Batch(_) | Followed::Others(_)) {
                    sleep(COLLECT).await;
                }
                let events = collected(&followed, &mut follower);
                // Before they are in a tree: whatever it names, its checkpoint is signed by the key that it says.
                events.iter().for_each(|recorded| keys.add(recorded));
                publication = self.add(publication, events).await?;
                if publication.has_news() {
                    due.get_or_insert_with(|| Instant::now() + PUBLISH_AFTER);
                }
            }
            if self.is_full(&publication) || due.is_some_and(|due| due <= Instant::now()) {
                self.publish(&mut publication, &keys).await?;
                due = None;
            }
        }
    }

    /// True if what there is should be published before more is added.
    fn is_full(&self, publication: &Publication) -> bool {
        publication.bundle_bytes() >= self.parts.files_bytes_max
    }

    /// Adds events off the async threads, and rests afterwards.
    async fn add(&self, mut publication: Publication, events: Vec<Arc<Recorded>>) -> Result<Publication, RoleError> {
        let began = Instant::now();
        let rest = if events.len() < PAGE_EVENTS { REST } else { REST_BEHIND };
        let added = OUTLETS.run(None, move || {
            events.iter().try_for_each(|recorded| publication.add(recorded))?;
            Ok::<_, AddError>(publication)
        });
        let publication = added.await??;
        sleep((began.elapsed() * rest).min(REST_MAX)).await;
        Ok(publication)
    }

    /// Publishes a checkpoint of all that was added.
    async fn publish(&mut self, publication: &mut Publication, keys: &KeyHistory) -> Result<(), RoleError> {
        let (head, files) = publication.take_files();
        self.must_be_newest(keys).await?;
        self.published.files().put_all(files).await?;
        let before = self.head().size;
        let signed = self.signer.sign(keys, before, head).await?;
        self.put_checkpoint(&signed).await?;
        self.newest = Some(signed);
        publication.published();
        self.role.succeeded(head.size);
        self.delete_replaced(before).await;
        self.cosign(keys).await
    }

    /// Asks the witnesses that have not cosigned the newest checkpoint, and publishes it once more with their cosignatures. It is
    /// published before they are asked: whoever does not care about witnesses does not wait for them.
    async fn cosign(&mut self, keys: &KeyHistory) -> Result<(), RoleError> {
        let Some(mut checkpoint) = self.newest.clone().filter(|newest| newest.unverified().head().size > 0) else {
            return Ok(());
        };
        let (published, clock) = (&self.published, self.role.clock);
        if !self.witnesses.is_empty() && self.witnesses.cosign(&mut checkpoint, published, clock).await {
            self.must_be_newest(keys).await?;
            self.published.files().replace_checkpoint(checkpoint.to_string().into()).await?;
            self.newest = Some(checkpoint);
        }
        Ok(())
    }

    /// The tree of the newest checkpoint.
    fn head(&self) -> TreeHead {
        head_of(self.newest.as_ref())
    }

    /// The checkpoint is still the one that the next one continues. Whoever publishes from a copy of the database has replaced it, and
    /// need not meet a tile of this history before one is full.
    async fn must_be_newest(&self, keys: &KeyHistory) -> Result<(), RoleError> {
        let found = self.published.files().checkpoint().await?;
        let found = found.map(|bytes| keys.read_in_force(&bytes)).transpose()?.unwrap_or(TreeHead::EMPTY);
        if found == self.head() { Ok(()) } else { Err(RoleError::Replaced { size: found.size }) }
    }

    /// Remembers a checkpoint whose files are published, and publishes it, if no other process has the role. In this order: what was
    /// published is remembered, whatever happens in between.
    async fn put_checkpoint(&self, signed: &SignedCheckpoint) -> Result<(), RoleError> {
        let (position, text) = (signed.unverified().head().size, signed.to_string());
        self.role.remember(RoleMemory { position, detail: text.clone() }).await?;
        Ok(self.published.files().replace_checkpoint(text.into()).await?)
    }

    /// Deletes partial files that the newest checkpoint does not need, and the one before it did, once they are old enough.
    async fn delete_replaced(&mut self, before: u64) {
        let (now, needed) = (Instant::now(), partial_files(self.head().size));
        let replaced = partial_files(before).into_iter().filter(|path| !needed.contains(path)).collect();
        self.replaced.push_back((now + self.parts.partial_kept, replaced));
        let mut paths = Vec::new();
        while self.replaced.front().is_some_and(|(due, _)| *due <= now) {
            paths.extend(self.replaced.pop_front().into_iter().flat_map(|(_, paths)| paths));
        }
        if let Err(error) = self.published.files().delete_all(paths).await {
            tracing::debug!(%error, "partial files of the published log stay, which does no harm");
        }
    }

    /// Continues what was published, if it is of this log.
    async fn begin(&mut self) -> Result<(Publication, KeyHistory), RoleError> {
        let memory = self.role.lease.memory().await?;
        let bytes = self.published.files().checkpoint().await?;
        // Read last, so that it has the key of whatever was published by then.
        let origin = self.parts.origin.clone();
        let history = self.role.log.read(move |reader| KeyHistory::read(&origin, reader)).await?;
        let keys = history.keys();
        let remembered = memory.map(|memory| keys.signed(memory.detail.as_bytes())).transpose()?;
        let in_force = remembered.as_ref().filter(|signed| history.must_be_in_force(&keys, signed).is_ok());
        let may_replace = self.parts.may_begin && head_of(in_force).size > 0;
        // Whoever has a key that was replaced could have signed it.
        let published = match bytes.as_deref().map(|bytes| history.signed_in_force(bytes)).transpose() {
            // What is remembered may be as old as a backup.
            Ok(None) if !self.parts.may_begin => return Err(RoleError::Gone),
            // A damaged one is replaced by the one that is remembered, if that is not of a backup, and so is one of a key that was stolen.
            Err(error @ (CheckpointError::Malformed(_) | CheckpointError::Replaced { .. })) if may_replace => {
                tracing::warn!(%error, "the checkpoint in the object store is replaced by the newest one of this ledger");
                None
            }
            published => published?,
        };
        let heads = [head_of(published.as_ref()), head_of(remembered.as_ref())];
        let is_published = heads[1].size <= heads[0].size;
        let [older, newest] = if is_published { [heads[1], heads[0]] } else { heads };
        if older.size == newest.size && older.root != newest.root {
            let [published, remembered] = heads.map(|head| head.root);
            return Err(RoleError::TwoRoots { size: newest.size, remembered, published });
        }
        let restored = match self.must_continue(&older, &newest).await {
            Ok(()) => self.restore(newest).await,
            Err(error) => Err(error),
        };
        let publication = match restored {
            // All that is in the files is in the ledger, too.
            Err(RoleError::Published(
                PublishedError::Missing { .. }
                | PublishedError::Damaged(_)
                | PublishedError::Checkpoint(CheckpointError::Malformed(_)),
            )) => self.rebuild(&older, newest).await?,
            restored => restored?,
        };
        // The published one has the cosignatures. The other one was remembered, and its process ended before it was published: it is
        // published as it was signed.
        if !is_published && let Some(remembered) = &remembered {
            self.put_checkpoint(remembered).await?;
        }
        self.newest = if is_published { published } else { remembered };
        Ok((publication, history))
    }

    async fn must_continue(&self, old: &TreeHead, new: &TreeHead) -> Result<(), RoleError> {
        if old.size == 0 || old.size == new.size {
            return Ok(());
        }
        let proof = self.published.tree(*new).consistency_proof(old.size, new.size).await?;
        verify_consistency(old, new, &proof).map_err(|reason| RoleError::Inconsistent {
            old: old.size,
            new: new.size,
            reason,
        })
    }

    /// The tree of a checkpoint, from its files, if the ledger has its newest events.
    async fn restore(&self, head: TreeHead) -> Result<Publication, RoleError> {
        let checked = self.published.tree(head);
        let Some(newest) = checked.newest_leaves().await? else {
            return Ok(Publication::new(Tree::new(), EntryBundle::new()));
        };
        let (tree, open) = (checked.restored().await?, checked.open_bundle().await?);
        self.published.must_be_whole(head.size).await?;
        self.must_be_of_ledger(newest).await?;
        Ok(Publication::new(tree, open))
    }

    /// Puts all files of a checkpoint again, if the ledger has its root, and that of an older checkpoint. The roots are compared
    /// before the first file is put: nobody would replace the files of another history.
    async fn rebuild(&mut self, older: &TreeHead, newest: TreeHead) -> Result<Publication, RoleError> {
        tracing::warn!(
            events = newest.size,
            "files of the published log are missing or damaged: writing them again from the ledger"
        );
        self.role.status.working();
        self.derive([*older, newest], Derived::Compared).await?;
        let derived = self.derive([*older, newest], Derived::Put { size: newest.size }).await;
        // Also those before a failure.
        let mut repaired = std::mem::take(&mut self.repaired);
        repaired.listed.sort_by(|one, other| one.path.cmp(&other.path));
        let place = self.published.place();
        for RepairedFile { path, .. } in &repaired.listed {
            tracing::warn!(path, place, "a file of the published log was written again from the ledger");
        }
        if !repaired.is_empty()
            && let Err(error) = repaired.record(self.role.log, &self.parts.origin, newest.size).await
        {
            tracing::warn!(%error, "the repair of the published log is not recorded");
        }
        derived
    }

    /// Derives the trees of these checkpoints from the ledger, with their files.
    async fn derive(&mut self, heads: [TreeHead; 2], files: Derived) -> Result<Publication, RoleError> {
        let mut publication = Publication::new(Tree::new(), EntryBundle::new());
        for head in heads {
            while publication.position() < head.size {
                let page = self.events_after(publication.position(), head.size).await?;
                publication = self.add(publication, page).await?;
                if self.is_full(&publication) {
                    self.derived(&mut publication, files).await?;
                }
            }
            if self.derived(&mut publication, files).await? != head {
                return Err(RoleError::OtherRoot { size: head.size });
            }
        }
        Ok(publication)
    }

    /// Has done with the files that there are by now; returns the tree.
    async fn derived(&mut self, publication: &mut Publication, files: Derived) -> Result<TreeHead, RoleError> {
        let (head, derived) = publication.take_files();
        if let Derived::Put { size } = files {
            let is_counted = |name: &str| TreeFile::of_name(name).is_some_and(|file| file.is_of_tree(size));
            let mended = mend_all(self.published.files(), derived).await?;
            mended.into_iter().filter(|file| is_counted(&file.path)).for_each(|file| self.repaired.add(file));
        }
        publication.published();
        Ok(head)
    }

    /// A page of events after a position, up to another one, which the ledger must have.
    async fn events_after(&self, after: u64, until: u64) -> Result<Vec<Arc<Recorded>>, RoleError> {
        let wanted = usize::try_from(until - after).unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS);
        let page = self.role.log.read(move |reader| reader.after(after, wanted)).await?;
        if page.is_empty() {
            Err(RoleError::OtherRoot { size: until })
        } else {
            Ok(page.into_iter().map(Arc::new).collect())
        }
    }

    async fn must_be_of_ledger(&self, newest: NewestLeaves) -> Result<(), RoleError> {
        let place = self.published.files().place();
        let compared = self.role.log.read(move |reader| Ok(compare_with_ledger(&place, &newest, reader)));
        Ok(compared.await??)
    }
}

/// These events and what follows them already, as far as it is added at a time.
fn collected(first: &Followed, follower: &mut Follower) -> Vec<Arc<Recorded>> {
    let mut events = first.events().to_vec();
    while events.len() < ADDED_MAX
        && let Some(next) = follower.try_next()
    {
        events.extend_from_slice(next.events());
    }
    events
}

/// The tree of a checkpoint; the empty one if there is none.
fn head_of(checkpoint: Option<&SignedCheckpoint>) -> TreeHead {
    checkpoint.map_or(TreeHead::EMPTY, |signed| *signed.unverified().head())
}

/// The partial tiles and the partial bundle of a tree.
fn partial_files(size: u64) -> Vec<String> {
    let bundle = EntryBundleId::in_tree(size, size / u64::from(TILE_WIDTH)).map(|bundle| bundle.to_string());
    partial_tiles(size).iter().map(ToString::to_string).chain(bundle).collect()
}
