//! A log with the files that it has published, by their paths.

use std::collections::BTreeMap;

use tlog::{
    EntryBundle, EntryBundleId, Hash, Tile, TileId, TileInMemory, TileNodes, Tiles, Tree, TreeHead, tiles_between,
};

pub struct PublishedLog {
    pub tree: Tree,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl PublishedLog {
    /// A log that has published a checkpoint at each of these sizes.
    pub fn at(sizes: impl IntoIterator<Item = u64>) -> Self {
        let mut log = Self { tree: Tree::new(), files: BTreeMap::new() };
        for size in sizes {
            log.grow_to(size);
        }
        log
    }

    /// Appends entries, and publishes what changed: exactly the tiles that it should.
    pub fn grow_to(&mut self, size: u64) -> TreeHead {
        let (old, mut written) = (self.tree.size(), Vec::new());
        for index in old..size {
            self.tree.append(Hash::of_leaf(&entry(index)), &mut written).expect("there is room");
        }
        written.extend(self.tree.partial_tiles_since(old));
        let mut ids: Vec<TileId> = written.iter().map(Tile::id).collect();
        ids.sort_unstable();
        assert_eq!(ids, tiles_between(old, size).collect::<Vec<_>>(), "from {old} to {size}");
        self.files.extend(written.iter().map(|tile| (tile.id().to_string(), tile.to_bytes())));
        for index in old / 256..size.div_ceil(256) {
            let id = EntryBundleId::in_tree(size, index).expect("a bundle");
            let mut bundle = EntryBundle::new();
            for entry_index in (index * 256..size).take(id.width().into()) {
                bundle.push(&entry(entry_index)).expect("it fits");
            }
            self.files.insert(id.to_string(), bundle.into_bytes());
        }
        self.tree.head()
    }

    /// These tiles and no others.
    pub fn fetch(&self, ids: &[TileId]) -> Tiles {
        ids.iter().map(|id| self.tile(*id)).collect()
    }

    /// The same, full ones with their nodes.
    pub fn fetch_with_nodes(&self, ids: &[TileId]) -> Tiles {
        let with_nodes = |tile: Tile| TileNodes::of(&tile).map_or(TileInMemory::Hashes(tile), TileInMemory::Nodes);
        ids.iter().map(|id| with_nodes(self.tile(*id))).collect()
    }

    pub fn tile(&self, id: TileId) -> Tile {
        let bytes = self.files.get(&id.to_string()).unwrap_or_else(|| panic!("{id} was published"));
        Tile::parse(id, bytes).expect("a tile")
    }
}

/// An entry of the log, unlike all others.
pub fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

pub fn leaf(index: u64) -> Hash {
    Hash::of_leaf(&entry(index))
}
