//! A segment while it is written: the canonical forms of consecutive events, each with a line feed after it, as gzip. `zcat`
//! shows it. Events are compressed as they come, so that a segment takes as much memory as its object.

use std::io::{self, Write};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::canonical::{self, CanonicalError};
use events::event::Recorded;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{Context, SHA256};

use crate::digest::Digest;

/// An event cannot be added to a segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    #[error("compress a segment: {0}")]
    Compress(#[from] io::Error),
    #[error("position {found} does not follow position {before}")]
    NotNext { before: u64, found: u64 },
}

/// The end of a segment: its last event.
#[derive(Clone, Copy)]
struct End {
    position: u64,
    recorded_at: DateTime<Utc>,
    sha256: Digest,
}

/// Consecutive events that are not sealed yet.
pub struct OpenSegment {
    gzip: GzEncoder<Vec<u8>>,
    hasher: Context,
    bytes: u64,
    first: u64,
    first_recorded_at: DateTime<Utc>,
    last: End,
    /// The hash of event 1, if it is in this segment.
    log: Option<Digest>,
}

/// The events of a segment, ready to be put.
pub struct PackedSegment {
    pub object: Bytes,
    pub events_bytes: u64,
    pub events_sha256: Digest,
    pub first: u64,
    pub last: u64,
    pub first_recorded_at: DateTime<Utc>,
    pub last_recorded_at: DateTime<Utc>,
    pub last_event_sha256: Digest,
    pub log: Option<Digest>,
}

impl OpenSegment {
    /// A segment that begins with this event.
    pub fn begin(recorded: &Recorded) -> Result<Self, SegmentError> {
        let line = canonical::envelope(recorded)?;
        let last =
            End { position: recorded.position, recorded_at: recorded.recorded_at, sha256: Digest::of(line.as_bytes()) };
        let mut segment = Self {
            gzip: GzEncoder::new(Vec::new(), Compression::default()),
            hasher: Context::new(&SHA256),
            bytes: 0,
            first: recorded.position,
            first_recorded_at: recorded.recorded_at,
            last,
            log: (recorded.position == 1).then_some(last.sha256),
        };
        segment.write(line)?;
        Ok(segment)
    }

    /// Adds the next event.
    pub fn add(&mut self, recorded: &Recorded) -> Result<(), SegmentError> {
        let (before, found) = (self.last.position, recorded.position);
        if found != before + 1 {
            return Err(SegmentError::NotNext { before, found });
        }
        let line = canonical::envelope(recorded)?;
        self.last = End { position: found, recorded_at: recorded.recorded_at, sha256: Digest::of(line.as_bytes()) };
        self.write(line)
    }

    fn write(&mut self, line: String) -> Result<(), SegmentError> {
        let mut line = line.into_bytes();
        line.push(b'\n');
        self.hasher.update(&line);
        self.gzip.write_all(&line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    pub const fn events(&self) -> u64 {
        self.last.position - self.first + 1
    }

    pub const fn first_recorded_at(&self) -> DateTime<Utc> {
        self.first_recorded_at
    }

    /// The bytes of its events before compression.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn pack(self) -> Result<PackedSegment, SegmentError> {
        let Self { gzip, hasher, bytes, first, first_recorded_at, last, log } = self;
        Ok(PackedSegment {
            object: gzip.finish()?.into(),
            events_bytes: bytes,
            events_sha256: Digest::of_all(hasher),
            first,
            last: last.position,
            first_recorded_at,
            last_recorded_at: last.recorded_at,
            last_event_sha256: last.sha256,
            log,
        })
    }
}
