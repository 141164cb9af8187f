//! The names of an archive's objects, below the address of the object store.
//!
//! `archive/v1/manifests/{first}.json` and `archive/v1/segments/{first}-{last}-{hash}.jsonl.gz`: positions have twenty digits, so
//! that the order of names is the order of positions. The name of a manifest has the first position alone: of two archivers that
//! end a segment at different positions, one puts it.

use crate::digest::Digest;

/// All objects of an archive are below it.
pub const FOLDER: &str = "archive";
pub const MANIFESTS: &str = "archive/v1/manifests";
pub const SEGMENTS: &str = "archive/v1/segments";

pub fn manifest(first: u64) -> String {
    format!("{MANIFESTS}/{first:020}.json")
}

pub fn segment(first: u64, last: u64, object: &Digest) -> String {
    format!("{SEGMENTS}/{first:020}-{last:020}-{}.jsonl.gz", object.short())
}

/// The first position in the name of a manifest; `None` if no manifest is called like that.
pub fn first_of_manifest(name: &str) -> Option<u64> {
    let first = name.strip_prefix(MANIFESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    let first: u64 = Some(first).filter(|first| first.len() == 20)?.parse().ok()?;
    (manifest(first) == name).then_some(first)
}

/// The first position in the name of a segment; `None` if no segment is called like that.
pub fn first_of_segment(name: &str) -> Option<u64> {
    let (first, _) = name.strip_prefix(SEGMENTS)?.strip_prefix('/')?.strip_suffix(".jsonl.gz")?.split_once('-')?;
    first.parse().ok().filter(|_| first.len() == 20)
}

/// Whether the name of a segment has the hash of this object.
pub fn has_hash(name: &str, object: &Digest) -> bool {
    let hash = name.strip_suffix(".jsonl.gz").and_then(|name| name.rsplit_once('-'));
    hash.is_some_and(|(_, hash)| hash == object.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_positions_do_and_are_read_as_they_are_written() {
        let positions = [1, 9, 10, 50_001, u64::MAX];
        let names = positions.map(manifest);
        assert!(names.is_sorted());
        assert_eq!(names.map(|name| first_of_manifest(&name)), positions.map(Some));
        for other in ["", "x", "archive/v1/manifests/1.json", "archive/v1/manifests/+0000000000000000001.json"] {
            assert_eq!(first_of_manifest(other), None, "{other}");
        }
        let segment = segment(1, 20, &Digest::of(b""));
        assert_eq!(segment, "archive/v1/segments/00000000000000000001-00000000000000000020-e3b0c44298fc1c14.jsonl.gz");
        assert_eq!((first_of_segment(&segment), first_of_segment("archive/v1/segments/x.jsonl.gz")), (Some(1), None));
    }
}
