//! Copies of the log as sealed files, in a folder or in an S3 bucket: segments of compressed JSON Lines, each with a manifest
//! that has the hash of the manifest before it. You can check the files and build the ledger anew from them alone.
//!
//! - [`Archive`] is the place of an archive.
//! - [`Archiver`] continues an archive; [`role::ArchiveOutlet`] does so while a gateway runs.
//! - [`Segments`] reads an archive in order and trusts nothing in it; [`Damage`] says what is wrong, and in which object.
//!
//! No decision waits for the archive, and a gateway serves without it.
//!
//! An object is written once and never changed or deleted: it is put only if there is none of its name, and read back. A manifest is put
//! after its segment, and its name has its first position alone, so that of two archivers one commits (ADR-0024). Nothing in an
//! archive is secret: it has what `/v1/events` serves to an auditor, and nothing else.
//!
//! Rejected: segments of one batch each (millions of objects), and Parquet, which nobody can hash or read without a library.

mod archive;
mod archiver;
mod damage;
mod digest;
mod manifest;
mod newest;
mod object_name;
mod read_error;
pub mod role;
mod segment;
mod segments;

pub use archive::Archive;
pub use archiver::{ArchiveError, Archiver, Sealed, SegmentLimits};
pub use damage::{Damage, DamageKind};
pub use digest::Digest;
pub use manifest::Manifest;
pub use newest::{LogDiffers, Newest, compare_with_log};
pub use read_error::ReadError;
pub use segments::{Checked, SegmentEvents, Segments};
