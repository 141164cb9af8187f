//! Reading an archive in order. Nothing in it is trusted: manifests must form a chain from position 1 on, segments must be what
//! their manifests say, and each line must be the canonical form of the next event.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use events::canonical;
use events::event::Recorded;
use flate2::bufread::GzDecoder;
use object_storage::{Enough, Listed, Object};
use ring::digest::{Context, SHA256};

use crate::archive::Archive;
use crate::damage::{Damage, DamageKind};
use crate::digest::Digest;
use crate::manifest::{Manifest, OBJECT_BYTES_MAX};
use crate::newest::Newest;
use crate::object_name::{self, FOLDER, MANIFESTS, SEGMENTS};
use crate::read_error::ReadError;

/// The findings in an archive that is not damaged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub manifests: u64,
    /// The last position.
    pub last: u64,
    /// Segments of positions up to the last one that no manifest names: an archiver that was stopped, or was not the first, may
    /// leave some, and they do no harm. A segment after the last position may be one whose manifest is just being put.
    pub unused_segments: u64,
}

/// The segments of an archive, in order.
pub struct Segments {
    archive: Archive,
    /// The first positions of the manifests, in order, from the end.
    firsts: Vec<u64>,
    /// The names of the segments that were read.
    named: HashSet<String>,
    /// The last position that was listed: for progress.
    listed_last: u64,
    chain: Chain,
}

impl Segments {
    /// All segments, from position 1 on.
    pub async fn all(archive: &Archive) -> Result<Self, ReadError> {
        let firsts = manifests(archive).await?;
        Ok(Self::of(archive, firsts, Chain::default()))
    }

    /// The segments that have positions from the first to the last of these, for reading a part: the manifests before them are
    /// not looked at.
    pub async fn with_positions(archive: &Archive, from: u64, to: u64) -> Result<Self, ReadError> {
        let mut firsts = manifests(archive).await?;
        let begin = firsts.partition_point(|first| *first <= from).saturating_sub(1);
        let end = firsts.partition_point(|first| *first <= to);
        firsts.truncate(end);
        firsts.drain(..begin.min(end));
        Ok(Self::of(archive, firsts, Chain { begins_anywhere: true, ..Chain::default() }))
    }

    fn of(archive: &Archive, mut firsts: Vec<u64>, chain: Chain) -> Self {
        let listed_last = firsts.last().copied().unwrap_or(0);
        firsts.reverse();
        Self { archive: archive.clone(), firsts, named: HashSet::new(), listed_last, chain }
    }

    /// The first position of the last segment: about where the archive ends.
    pub const fn last_begins_with(&self) -> u64 {
        self.listed_last
    }

    /// The next segment; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<SegmentEvents>, ReadError> {
        let Some(first) = self.firsts.pop() else { return Ok(None) };
        let found = self.archive.manifest_at(first).await?;
        self.chain.accept(&found)?;
        let manifest = found.manifest;
        self.named.insert(manifest.object.clone());
        let damaged = |kind: DamageKind| kind.of(manifest.object.clone(), manifest.first);
        // Also one of another length than the manifest says: its hash says which of the two is wrong.
        let object = match self.archive.objects.get(&manifest.object, OBJECT_BYTES_MAX).await? {
            Some(Object::Whole(object)) => object,
            Some(Object::TooLong { bytes: found }) => {
                let expected = manifest.object_bytes;
                return Err(damaged(DamageKind::SegmentLength { expected, found }).into());
            }
            None => return Err(damaged(DamageKind::SegmentMissing).into()),
        };
        SegmentEvents::open(manifest, object).map(Some).map_err(ReadError::from)
    }

    /// Returns the findings, after the last segment. Refuses objects that no manifest names and that nobody could have put: an archive
    /// can be restored from beside them, but somebody or a disk has changed it.
    pub async fn finish_strictly(self) -> Result<Checked, ReadError> {
        let (archive, named) = (self.archive.clone(), self.named.clone());
        let checked = self.finish().await?;
        let (mut unused, mut unknown) = (Vec::new(), None);
        let found = |listed: Listed| {
            match object_name::first_of_segment(&listed.name) {
                Some(first) if !named.contains(&listed.name) => unused.push((listed, first)),
                Some(_) => {}
                // One whose manifest was put since the manifests were listed.
                None if object_name::first_of_manifest(&listed.name).is_some() => {}
                None => unknown = Some(listed.name),
            }
            if unknown.is_some() { Enough::Yes } else { Enough::No }
        };
        archive.objects.list(FOLDER, None, found).await?;
        if let Some(name) = unknown {
            return Err(DamageKind::UnknownObject.of(name, 1).into());
        }
        for (listed, first) in unused {
            must_have_its_name(&archive, listed, first).await?;
        }
        Ok(checked)
    }

    /// Returns the findings, after the last segment.
    pub async fn finish(self) -> Result<Checked, ReadError> {
        let last = self.chain.before.map_or(0, |before| before.manifest.last);
        let mut unused_segments = 0;
        self.archive
            .objects
            .list(SEGMENTS, None, |listed| {
                let is_before_the_end = object_name::first_of_segment(&listed.name).is_some_and(|first| first <= last);
                unused_segments += u64::from(is_before_the_end && !self.named.contains(&listed.name));
                Enough::No
            })
            .await?;
        Ok(Checked { manifests: self.named.len() as u64, last, unused_segments })
    }
}

/// Refuses a segment that no manifest names if its bytes do not have the hash in its name.
async fn must_have_its_name(archive: &Archive, listed: Listed, first: u64) -> Result<(), ReadError> {
    let bytes_max = listed.bytes.min(OBJECT_BYTES_MAX);
    let kind = match archive.objects.get(&listed.name, bytes_max).await? {
        Some(Object::Whole(object)) if object_name::has_hash(&listed.name, &Digest::of(&object)) => return Ok(()),
        // It was deleted meanwhile.
        None => return Ok(()),
        Some(Object::Whole(_)) => DamageKind::NotItsName,
        Some(Object::TooLong { bytes: found }) => DamageKind::SegmentLength { expected: bytes_max, found },
    };
    Err(kind.of(listed.name, first).into())
}

/// The first positions of all manifests, in order.
async fn manifests(archive: &Archive) -> Result<Vec<u64>, ReadError> {
    let (mut firsts, mut unknown) = (Vec::new(), None);
    archive
        .objects
        .list(MANIFESTS, None, |listed| match object_name::first_of_manifest(&listed.name) {
            Some(first) => {
                firsts.push(first);
                Enough::No
            }
            None => {
                unknown = Some(listed.name);
                Enough::Yes
            }
        })
        .await?;
    if let Some(name) = unknown {
        return Err(DamageKind::UnknownObject.of(name, 1).into());
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// The point from which the next manifest must continue.
#[derive(Default)]
struct Chain {
    before: Option<Newest>,
    /// The first manifest need not be that of position 1.
    begins_anywhere: bool,
}

impl Chain {
    fn accept(&mut self, found: &Newest) -> Result<(), Damage> {
        let manifest = &found.manifest;
        match &self.before {
            Some(before) => continues(before, manifest)?,
            None if self.begins_anywhere => {}
            None => begins(manifest)?,
        }
        self.before = Some(found.clone());
        Ok(())
    }
}

pub fn begins(manifest: &Manifest) -> Result<(), Damage> {
    let kind = match manifest {
        Manifest { first: 1, previous: None, .. } => return Ok(()),
        Manifest { first: 1, .. } => DamageKind::NoneBefore,
        Manifest { first, .. } => DamageKind::Gap { expected: 1, found: *first },
    };
    Err(kind.of(object_name::manifest(manifest.first), 1))
}

pub fn continues(before: &Newest, manifest: &Manifest) -> Result<(), Damage> {
    let next = before.manifest.last.saturating_add(1);
    must_follow(before, manifest).map_err(|kind| {
        // Either may be the one that was changed: the reason names the other one.
        let is_before = matches!(kind, DamageKind::PreviousChanged { .. });
        let (object, position) = if is_before {
            (before.manifest.first, before.manifest.first)
        } else {
            (manifest.first, next.min(manifest.first))
        };
        kind.of(object_name::manifest(object), position)
    })
}

fn must_follow(before: &Newest, manifest: &Manifest) -> Result<(), DamageKind> {
    let Newest { manifest: earlier, sha256 } = before;
    let (expected, found) = (earlier.last.saturating_add(1), manifest.first);
    if manifest.log != earlier.log {
        return Err(DamageKind::OtherLog { expected: earlier.log, found: manifest.log });
    }
    if found > expected {
        return Err(DamageKind::Gap { expected, found });
    }
    if found < expected {
        return Err(DamageKind::Overlap { expected, found });
    }
    match manifest.previous {
        None => return Err(DamageKind::PreviousAbsent),
        Some(previous) if previous != *sha256 => {
            let after = object_name::manifest(manifest.first);
            return Err(DamageKind::PreviousChanged { expected: previous, found: *sha256, after });
        }
        Some(_) => {}
    }
    if manifest.first_recorded_at < earlier.last_recorded_at {
        return Err(DamageKind::OlderThanPrevious);
    }
    let (expected, found) = (earlier.revaluation_begins_after, manifest.revaluation_begins_after);
    if found == expected { Ok(()) } else { Err(DamageKind::RevaluationBegins { expected, found }) }
}

/// The events of a segment, in order.
pub struct SegmentEvents {
    manifest: Manifest,
    lines: BufReader<std::io::Take<GzDecoder<bytes::buf::Reader<Bytes>>>>,
    hasher: Context,
    bytes: u64,
    /// The lines that were read.
    read: u64,
    last: Option<(DateTime<Utc>, Digest)>,
    is_done: bool,
}

impl SegmentEvents {
    fn open(manifest: Manifest, object: Bytes) -> Result<Self, Damage> {
        let sha256 = Digest::of(&object);
        let is_as_named = object_name::has_hash(&manifest.object, &sha256);
        let damaged = |kind: DamageKind| match is_as_named {
            true => DamageKind::ManifestChanged.of(object_name::manifest(manifest.first), manifest.first),
            false => kind.of(manifest.object.clone(), manifest.first),
        };
        let (expected, found) = (manifest.object_bytes, object.len() as u64);
        if found != expected {
            return Err(damaged(DamageKind::SegmentLength { expected, found }));
        }
        let (expected, found) = (manifest.object_sha256, sha256);
        if found != expected {
            return Err(damaged(DamageKind::SegmentChanged { expected, found }));
        }
        // One byte more than there should be, so that more is noticed and never unpacked.
        let unpacked = GzDecoder::new(object.reader()).take(manifest.events_bytes + 1);
        let lines = BufReader::with_capacity(64 * 1024, unpacked);
        Ok(Self { manifest, lines, hasher: Context::new(&SHA256), bytes: 0, read: 0, last: None, is_done: false })
    }

    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next events, at most `max`; none after the last. What the segment has as a whole is known to be right only then.
    pub fn page(&mut self, max: usize) -> Result<Vec<Recorded>, Damage> {
        let mut page = Vec::new();
        let mut line = Vec::new();
        while !self.is_done && page.len() < max {
            line.clear();
            let bytes = self.bytes;
            let next = self.next(&mut line);
            // After the last line, it is the segment as a whole that is not right.
            let read = if self.bytes == bytes { 0 } else { self.read };
            match next.map_err(|kind| self.damaged(kind, self.manifest.first + read))? {
                Some(recorded) => page.push(recorded),
                None => self.is_done = true,
            }
        }
        Ok(page)
    }

    /// The segment is as it was put, by its hash. So if it is not what its manifest says, the manifest is the one that is wrong.
    fn damaged(&self, kind: DamageKind, position: u64) -> Damage {
        if kind.is_of_manifest() {
            kind.of(object_name::manifest(self.manifest.first), position)
        } else {
            kind.of(self.manifest.object.clone(), position)
        }
    }

    fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<Recorded>, DamageKind> {
        self.lines.read_until(b'\n', line).map_err(|error| DamageKind::NotGzip(error.to_string()))?;
        let (number, expected) = (self.read + 1, self.manifest.events_bytes);
        self.bytes += line.len() as u64;
        if self.bytes > expected {
            return Err(DamageKind::UnpacksToMore { expected });
        }
        if line.is_empty() {
            return self.must_be_whole().map(|()| None);
        }
        self.hasher.update(line);
        if line.pop() != Some(b'\n') {
            return Err(DamageKind::LineNotEnded { line: number });
        }
        let text = std::str::from_utf8(line).map_err(|_| DamageKind::NotUtf8 { line: number })?;
        let recorded = canonical::recorded(text).map_err(|source| DamageKind::NotAnEvent { line: number, source })?;
        self.must_follow(&recorded, number, text)?;
        self.read = number;
        Ok(Some(recorded))
    }

    fn must_follow(&mut self, recorded: &Recorded, line: u64, text: &str) -> Result<(), DamageKind> {
        let (expected, found) = (self.manifest.first + self.read, recorded.position);
        if found != expected {
            return Err(DamageKind::Position { line, expected, found });
        }
        let at = recorded.recorded_at;
        match self.last {
            None if at != self.manifest.first_recorded_at => return Err(DamageKind::Times),
            Some((before, _)) if at < before => return Err(DamageKind::TimeBack { line }),
            _ => {}
        }
        let sha256 = Digest::of(text.as_bytes());
        if found == 1 && sha256 != self.manifest.log {
            return Err(DamageKind::FirstEvent { expected: self.manifest.log, found: sha256 });
        }
        self.last = Some((at, sha256));
        Ok(())
    }

    /// Compares what was read with the manifest, after the last line.
    fn must_be_whole(&mut self) -> Result<(), DamageKind> {
        let (expected, found) = (self.manifest.events_bytes, self.bytes);
        if found != expected {
            return Err(DamageKind::EventsLength { expected, found });
        }
        let after = self.lines.get_ref().get_ref().get_ref().get_ref().remaining() as u64;
        if after > 0 {
            return Err(DamageKind::AfterTheEnd(after));
        }
        let hasher = std::mem::replace(&mut self.hasher, Context::new(&SHA256));
        let (expected, found) = (self.manifest.events_sha256, Digest::of_all(hasher));
        if found != expected {
            return Err(DamageKind::EventsChanged { expected, found });
        }
        let (first, last, count) = (self.manifest.first, self.manifest.last, self.read);
        if count != self.manifest.count {
            return Err(DamageKind::Count { first, last, count });
        }
        match self.last {
            Some((at, _)) if at != self.manifest.last_recorded_at => Err(DamageKind::Times),
            Some((_, sha256)) if sha256 != self.manifest.last_event_sha256 => Err(DamageKind::LastEvent),
            Some(_) | None => Ok(()),
        }
    }
}
