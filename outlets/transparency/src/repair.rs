//! Repairs damaged files of the published log from the ledger. What a file must have follows from the signed root, so that any process may
//! write it, and twice does no harm; if the ledger has other events than were published, nothing is written.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use events::canonical::CanonicalError;
use events::event::published_log_repaired::RepairedFile;
use events_log::{Log, LogError, PAGE_EVENTS};
use futures_util::{StreamExt, TryStreamExt, stream};
use tlog::{EntryBundle, EntryBundleId, Hash, RefusedEntry, Tile, TileId, Tree, TreeFull, partial_tiles};
use tokio::time::{Instant, sleep};

use crate::checked::{CheckedTree, KeptTiles};
use crate::damaged_file::TreeFile;
use crate::entry;
use crate::files::{File, Files, FilesError, PUTS_AT_A_TIME};
use crate::published::PublishedLog;
use crate::published_error::PublishedError;
use crate::repair_requests::{RepairEnd, RepairQueue, RepairRequest, RepairRequests};
use crate::repaired_files::PendingRepairs;

/// How often the way down to a file is checked: it has at most eight tiles, a bundle, and partial tiles beside them.
const TRIES_MAX: usize = 16;
/// How long the task rests after a repair that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// After a page of events, the task rests for so many times as long as it took.
const REST: u32 = 2;
/// How often repairs are recorded, if there are more of them.
const RECORD_EVERY: Duration = Duration::from_secs(60);

/// A file is damaged, and was not repaired.
#[derive(Debug, thiserror::Error)]
enum RepairError {
    #[error(transparent)]
    Published(#[from] PublishedError),
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error(transparent)]
    Full(#[from] TreeFull),
    #[error(transparent)]
    Entry(#[from] RefusedEntry),
    #[error("the events of the ledger from position {first} to {last} are not those that were published")]
    OtherEvents { first: u64, last: u64 },
    #[error("it is damaged again and again")]
    Again,
}

impl RepairError {
    const fn end(&self) -> RepairEnd {
        match self {
            // Of the store or the database, which may answer again.
            Self::Published(_) | Self::Files(_) | Self::Log(_) => RepairEnd::MayBeAskedFor,
            Self::Canonical(_) | Self::Full(_) | Self::Entry(_) | Self::OtherEvents { .. } | Self::Again => {
                RepairEnd::Failed
            }
        }
    }
}

/// The task that repairs files, one after the other.
pub struct Repairer {
    requests: RepairQueue,
    /// The ledger, and the files whose repair is not recorded yet.
    pending: Arc<PendingRepairs>,
    recorded_at: Option<Instant>,
}

/// The task that repairs files of the published log of a ledger, and the way to it.
pub fn repairer(ledger: Log) -> (RepairRequests, Repairer) {
    let (sender, requests) = RepairRequests::channel();
    (sender, Repairer { requests, pending: Arc::new(PendingRepairs::new(ledger)), recorded_at: None })
}

impl Repairer {
    /// The repairs that are not recorded yet, for whoever stops the task.
    pub fn pending(&self) -> Arc<PendingRepairs> {
        Arc::clone(&self.pending)
    }

    /// Repairs what is asked for, until nobody can ask any more.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = outlets::until(self.due()) => {
                    self.recorded_at = Some(Instant::now());
                    self.pending.record().await;
                }
                request = self.requests.next() => match request {
                    Some(request) => self.repair(request).await,
                    None => return self.pending.record().await,
                },
            }
        }
    }

    /// When what was repaired is recorded.
    fn due(&self) -> Option<Instant> {
        let due = || self.recorded_at.map_or_else(Instant::now, |at| at + RECORD_EVERY);
        self.pending.are_there().then(due)
    }

    async fn repair(&self, RepairRequest { files, file }: RepairRequest) {
        let place = files.place();
        let end = match self.repair_in_newest(files, file).await {
            Ok(()) => RepairEnd::MayBeAskedFor,
            Err(error) => {
                let path = file.path();
                tracing::warn!(path, place, %error, "a file of the published log is damaged, and was not repaired");
                sleep(REST_AFTER_FAILURE).await;
                error.end()
            }
        };
        self.requests.ended(file, end);
    }

    /// Repairs a file if it is one of the newest tree. Those of an earlier one may be gone for good.
    async fn repair_in_newest(&self, files: Arc<Files>, file: TreeFile) -> Result<(), RepairError> {
        let newest = PublishedLog::new((*files).clone()).checkpoint(self.pending.ledger()).await?;
        let Some(newest) = newest.filter(|newest| file.is_of_tree(newest.head.size)) else { return Ok(()) };
        // Nothing that was found right before: another file may be damaged by now. Nor does it ask for itself.
        let tree = CheckedTree::new(files, newest.head, Arc::new(Mutex::new(KeptTiles::default())));
        self.repair_way_to(&tree, file, &newest.origin).await
    }

    /// Repairs what is damaged from the root down to a file.
    async fn repair_way_to(&self, tree: &CheckedTree, file: TreeFile, origin: &str) -> Result<(), RepairError> {
        for _ in 0..TRIES_MAX {
            match tree.first_damaged(file).await? {
                None => return Ok(()),
                Some(TreeFile::Bundle(id)) => self.repair_bundle(tree, id, origin).await?,
                Some(TreeFile::Tile(id)) if id.is_partial() => self.repair_edge(tree, id, origin).await?,
                Some(TreeFile::Tile(id)) => {
                    let tile = self.tile_of_ledger(id).await?;
                    if !tree.is_right(&tile).await? {
                        return Err(other_events(TreeFile::Tile(id)));
                    }
                    self.write(tree, TreeFile::Tile(id), tile.to_bytes().into(), origin).await?;
                }
            }
        }
        Err(RepairError::Again)
    }

    /// Repairs the partial tiles: this one, and others if they do not give the root with it.
    async fn repair_edge(&self, tree: &CheckedTree, first: TileId, origin: &str) -> Result<(), RepairError> {
        let ids = partial_tiles(tree.head().size);
        let mut tiles = Vec::new();
        for id in &ids {
            tiles.push(tree.unchecked(*id).await.ok());
        }
        let mut mended = Vec::new();
        let others = ids.iter().filter(|id| **id != first);
        for id in std::iter::once(&first).chain(others) {
            let tile = self.tile_of_ledger(*id).await?;
            if let Some(place) = ids.iter().position(|other| other == id).and_then(|at| tiles.get_mut(at)) {
                *place = Some(tile.clone());
            }
            mended.push(tile);
            let edge: Option<Vec<Tile>> = tiles.iter().cloned().collect();
            if edge.is_some_and(|edge| tree.is_edge(&edge)) {
                for tile in mended {
                    self.write(tree, TreeFile::Tile(tile.id()), tile.to_bytes().into(), origin).await?;
                }
                return Ok(());
            }
        }
        Err(other_events(TreeFile::Tile(first)))
    }

    /// Repairs a bundle, whose tile is right.
    async fn repair_bundle(&self, tree: &CheckedTree, id: EntryBundleId, origin: &str) -> Result<(), RepairError> {
        let file = TreeFile::Bundle(id);
        let (first, last) = file.positions();
        let (mut bundle, mut leaves) = (EntryBundle::new(), Vec::new());
        for entry in self.entries(first - 1, usize::from(id.width())).await? {
            leaves.push(Hash::of_leaf(&entry));
            bundle.push(&entry)?;
        }
        if !tree.has_leaves(id, &leaves).await? {
            return Err(RepairError::OtherEvents { first, last });
        }
        self.write(tree, file, bundle.into_bytes().into(), origin).await
    }

    /// The entries of so many events after a position.
    async fn entries(&self, after: u64, count: usize) -> Result<Vec<Vec<u8>>, RepairError> {
        let entries = self.pending.ledger().read(move |reader| {
            let events = reader.after(after, count)?;
            let entry = |recorded| {
                let mut entry = Vec::new();
                entry::push(&mut entry, recorded).map(|()| entry)
            };
            Ok(events.iter().map(entry).collect::<Result<Vec<_>, CanonicalError>>())
        });
        Ok(entries.await??)
    }

    /// A tile as the ledger has it.
    async fn tile_of_ledger(&self, id: TileId) -> Result<Tile, RepairError> {
        let file = TreeFile::Tile(id);
        let (first, last) = file.positions();
        // The events under a tile make a tree, whose only tile of this level has the same hashes.
        let (mut tree, mut tiles) = (Tree::new(), Vec::new());
        let events = last - first + 1;
        while tree.size() < events {
            let began = Instant::now();
            let rest = usize::try_from(events - tree.size()).unwrap_or(PAGE_EVENTS);
            let page = self.entries(first - 1 + tree.size(), rest.min(PAGE_EVENTS)).await?;
            if page.is_empty() {
                return Err(other_events(file));
            }
            for entry in &page {
                tree.append(Hash::of_leaf(entry), &mut tiles)?;
            }
            tiles.retain(|tile| tile.id().level() == id.level());
            if tree.size() < events {
                sleep(began.elapsed() * REST).await;
            }
        }
        tiles.extend(tree.partial_tiles_since(0));
        let tile = tiles.iter().find(|tile| tile.id().level() == id.level());
        let tile = tile.and_then(|tile| Tile::parse(id, &tile.to_bytes()).ok());
        tile.ok_or_else(|| other_events(file))
    }

    /// Writes a file that has been compared with the root.
    async fn write(&self, tree: &CheckedTree, file: TreeFile, bytes: Bytes, origin: &str) -> Result<(), RepairError> {
        if let Some(repaired) = mend(tree.files(), file, bytes).await? {
            let (path, place) = (&repaired.path, tree.place());
            tracing::warn!(path, place, "a damaged file of the published log was written again from the ledger");
            self.pending.add(origin, tree.head().size, repaired);
        }
        Ok(())
    }
}

fn other_events(file: TreeFile) -> RepairError {
    let (first, last) = file.positions();
    RepairError::OtherEvents { first, last }
}

/// Puts files that are missing or have other bytes, and returns these. The caller has compared the roots of their trees.
pub async fn mend_all(files: &Files, derived: Vec<File>) -> Result<Vec<RepairedFile>, FilesError> {
    let mended = derived.into_iter().map(|File { path, bytes }| async move {
        match TreeFile::parse(&path) {
            Some(file) => mend(files, file, bytes).await,
            None => Ok(None),
        }
    });
    let mended = stream::iter(mended).buffer_unordered(PUTS_AT_A_TIME).try_collect::<Vec<_>>().await?;
    Ok(mended.into_iter().flatten().collect())
}

/// Replaces a file if it has other bytes, or is missing.
async fn mend(files: &Files, file: TreeFile, bytes: Bytes) -> Result<Option<RepairedFile>, FilesError> {
    let path = file.path();
    let Some(replaced) = files.mend(File { path: path.clone(), bytes }).await? else { return Ok(None) };
    let (first, last) = file.positions();
    Ok(Some(RepairedFile { path: crate::files::name(&path), found_sha256: replaced.found_sha256, first, last }))
}
