//! Manifests: each says what is in one segment, and has the hash of the manifest before it.

use chrono::{DateTime, Utc};
use events::canonical;
use events::time::wire;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::damage::DamageKind;
use crate::digest::Digest;
use crate::object_name;

/// The form of manifests and segments.
pub const VERSION: u64 = 1;
/// The longest manifest. One has about 900 bytes.
pub const MANIFEST_BYTES_MAX: u64 = 16 * 1024;
/// The most bytes of events in a segment. An archiver ends one much earlier, at an event of any size.
pub const EVENTS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The longest compressed segment: what does not compress grows by a little.
pub const OBJECT_BYTES_MAX: u64 = EVENTS_BYTES_MAX + EVENTS_BYTES_MAX / 1000;

/// The description of a segment. Its object is the canonical JSON of this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u64,
    /// The ledger: the SHA-256 of its first event's canonical form.
    pub log: Digest,
    pub first: u64,
    pub last: u64,
    pub count: u64,
    #[serde(with = "wire")]
    pub first_recorded_at: DateTime<Utc>,
    #[serde(with = "wire")]
    pub last_recorded_at: DateTime<Utc>,
    /// SHA-256 of the canonical form of the last event.
    pub last_event_sha256: Digest,
    /// The segment before compression: its events in canonical form, each with a line feed after it.
    pub events_bytes: u64,
    pub events_sha256: Digest,
    /// The segment's name below the address of the object store.
    pub object: String,
    pub object_bytes: u64,
    pub object_sha256: Digest,
    /// SHA-256 of the manifest before, as it is stored; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
    /// The position after which corrected prices concern earlier requests. The events do not say it, and it is the same in all
    /// manifests of a ledger.
    pub revaluation_begins_after: u64,
}

impl Manifest {
    /// The bytes as they are stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>, canonical::CanonicalError> {
        Ok(canonical::to_string(&serde_json::to_value(self)?)?.into_bytes())
    }

    /// Reads a stored manifest, and checks it as far as it can be checked alone.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, DamageKind> {
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(DamageKind::ManifestTooLong { bytes: bytes.len() as u64 });
        }
        let value: Value =
            serde_json::from_slice(bytes).map_err(|error| DamageKind::ManifestNotJson(error.to_string()))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(VERSION) | None => {}
            Some(found) => return Err(DamageKind::ManifestVersion { found }),
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|error| DamageKind::ManifestMember(error.to_string()))?;
        manifest.check(name, bytes)?;
        Ok(manifest)
    }

    fn check(&self, name: &str, bytes: &[u8]) -> Result<(), DamageKind> {
        if self.to_bytes().ok().as_deref() != Some(bytes) {
            return Err(DamageKind::ManifestNotCanonical);
        }
        let Self { first, last, count, .. } = *self;
        if object_name::manifest(first) != name {
            return Err(DamageKind::ManifestName { first });
        }
        if first == 0 || last < first {
            return Err(DamageKind::PositionsReversed { first, last });
        }
        if last - first != count.wrapping_sub(1) {
            return Err(DamageKind::Count { first, last, count });
        }
        if self.last_recorded_at < self.first_recorded_at {
            return Err(DamageKind::TimesReversed);
        }
        if self.events_bytes > EVENTS_BYTES_MAX || self.object_bytes > OBJECT_BYTES_MAX {
            return Err(DamageKind::SegmentTooLong);
        }
        if self.object != object_name::segment(first, last, &self.object_sha256) {
            return Err(DamageKind::SegmentName { found: self.object.clone() });
        }
        Ok(())
    }
}
