//! Damage to the objects of an archive. Each kind has a word, by which scripts tell them apart, and a sentence.

use events::canonical;

use crate::digest::Digest;

/// The first thing that is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {kind}")]
pub struct Damage {
    /// The object, by its name below the address of the object store.
    pub object: String,
    /// The first position that cannot be trusted.
    pub position: u64,
    pub kind: DamageKind,
}

#[derive(Debug, thiserror::Error)]
pub enum DamageKind {
    #[error("no object of an archive is called that")]
    UnknownObject,
    #[error("it has {bytes} bytes, which no manifest has")]
    ManifestTooLong { bytes: u64 },
    #[error("it is not JSON: {0}")]
    ManifestNotJson(String),
    #[error("it is of version {found}, which this version of ledgerway cannot read")]
    ManifestVersion { found: u64 },
    #[error("it is not a manifest: {0}")]
    ManifestMember(String),
    #[error("it is not in canonical form (RFC 8785)")]
    ManifestNotCanonical,
    #[error("it begins with position {first}, and is named after another one")]
    ManifestName { first: u64 },
    #[error("it says that its positions are from {first} to {last}")]
    PositionsReversed { first: u64, last: u64 },
    #[error("it says that there are {count} events from position {first} to {last}")]
    Count { first: u64, last: u64, count: u64 },
    #[error("it says that its last event is older than its first")]
    TimesReversed,
    #[error("it says that its segment is longer than any")]
    SegmentTooLong,
    #[error("it names a segment {found:?}, which is not what its positions and its hash say")]
    SegmentName { found: String },
    /// A segment that no manifest names.
    #[error("its bytes do not have the hash in its name")]
    NotItsName,
    /// A manifest that was listed before.
    #[error("it is gone")]
    ManifestMissing,
    #[error("it is of another ledger: the hash of its first event is {found}, and in the manifest before {expected}")]
    OtherLog { expected: Digest, found: Digest },
    #[error("positions {expected} to {} are missing before it", found - 1)]
    Gap { expected: u64, found: u64 },
    #[error("it begins with position {found}, which the manifest before has too: {expected} comes next")]
    Overlap { expected: u64, found: u64 },
    #[error("it is the first manifest, and says that there is one before it")]
    NoneBefore,
    #[error("it does not say which manifest is before it")]
    PreviousAbsent,
    #[error("it was changed, or {after} was: its SHA-256 is {found}, and {expected} in that one, which comes after it")]
    PreviousChanged { expected: Digest, found: Digest, after: String },
    #[error("its first event is older than the last one of the manifest before")]
    OlderThanPrevious,
    #[error(
        "it says that corrected prices concern requests after position {found}, and the manifest before says {expected}"
    )]
    RevaluationBegins { expected: u64, found: u64 },
    #[error(
        "it was changed: its segment has the hash in its name, and another length or SHA-256 than the manifest says"
    )]
    ManifestChanged,
    #[error("the segment is missing")]
    SegmentMissing,
    #[error("the segment has {found} bytes, and not {expected}")]
    SegmentLength { expected: u64, found: u64 },
    #[error("the segment was changed: its SHA-256 is {found}, and not {expected}")]
    SegmentChanged { expected: Digest, found: Digest },
    #[error("the segment is not gzip, or was cut off: {0}")]
    NotGzip(String),
    #[error("the segment has {0} bytes after the end of its events")]
    AfterTheEnd(u64),
    #[error("the segment unpacks to more than {expected} bytes")]
    UnpacksToMore { expected: u64 },
    #[error("the segment unpacks to {found} bytes, and not {expected}")]
    EventsLength { expected: u64, found: u64 },
    #[error("the events of the segment are not those of its manifest: their SHA-256 is {found}, and not {expected}")]
    EventsChanged { expected: Digest, found: Digest },
    #[error("line {line} has no line feed after it")]
    LineNotEnded { line: u64 },
    #[error("line {line} is not UTF-8")]
    NotUtf8 { line: u64 },
    #[error("line {line} is not an event: {source}")]
    NotAnEvent { line: u64, source: canonical::ReadError },
    #[error("line {line} is the event at position {found}, and not {expected}")]
    Position { line: u64, expected: u64, found: u64 },
    #[error("line {line} is older than the event before it")]
    TimeBack { line: u64 },
    #[error("the times of the segment's events are not those of the manifest")]
    Times,
    #[error("the last event of the segment is not the one of the manifest")]
    LastEvent,
    #[error(
        "the first event is not the one that the ledger is named after: its SHA-256 is {found}, and not {expected}"
    )]
    FirstEvent { expected: Digest, found: Digest },
    /// The objects are as they were written, and what they say is not the log of a sound ledger.
    #[error("the ledger in it is not sound: {0}")]
    Ledger(String),
}

impl DamageKind {
    /// One word for each kind.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::UnknownObject => "unknown_object",
            Self::ManifestTooLong { .. } => "manifest_too_long",
            Self::ManifestNotJson(_) => "manifest_not_json",
            Self::ManifestVersion { .. } => "manifest_version",
            Self::ManifestMember(_) => "manifest_member",
            Self::ManifestNotCanonical => "manifest_not_canonical",
            Self::ManifestName { .. } => "manifest_name",
            Self::PositionsReversed { .. } => "positions_reversed",
            Self::Count { .. } => "count",
            Self::TimesReversed => "times_reversed",
            Self::SegmentTooLong => "segment_too_long",
            Self::SegmentName { .. } => "segment_name",
            Self::ManifestMissing => "manifest_missing",
            Self::OtherLog { .. } => "other_log",
            Self::Gap { .. } => "gap",
            Self::Overlap { .. } => "overlap",
            Self::NoneBefore => "none_before",
            Self::PreviousAbsent => "previous_absent",
            Self::PreviousChanged { .. } => "previous_changed",
            Self::OlderThanPrevious => "older_than_previous",
            Self::RevaluationBegins { .. } => "revaluation_begins",
            Self::NotItsName => "not_its_name",
            Self::ManifestChanged => "manifest_changed",
            Self::SegmentMissing => "segment_missing",
            Self::SegmentLength { .. } => "segment_length",
            Self::SegmentChanged { .. } => "segment_changed",
            Self::NotGzip(_) => "not_gzip",
            Self::AfterTheEnd(_) => "after_the_end",
            Self::UnpacksToMore { .. } => "unpacks_to_more",
            Self::EventsLength { .. } => "events_length",
            Self::EventsChanged { .. } => "events_changed",
            Self::LineNotEnded { .. } => "line_not_ended",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::NotAnEvent { .. } => "not_an_event",
            Self::Position { .. } => "position",
            Self::TimeBack { .. } => "time_back",
            Self::Times => "times",
            Self::LastEvent => "last_event",
            Self::FirstEvent { .. } => "first_event",
            Self::Ledger(_) => "ledger",
        }
    }

    /// Whether a segment that has its hash is not what its manifest says of it.
    pub(crate) const fn is_of_manifest(&self) -> bool {
        matches!(
            self,
            Self::UnpacksToMore { .. }
                | Self::EventsLength { .. }
                | Self::EventsChanged { .. }
                | Self::Count { .. }
                | Self::Times
                | Self::LastEvent
                | Self::FirstEvent { .. }
        )
    }

    /// The damage of an object, from a position on.
    pub fn of(self, object: impl Into<String>, position: u64) -> Damage {
        Damage { object: object.into(), position, kind: self }
    }
}
