//! Tests of the formats, from outside the crate: against a small model of the RFC, and against code of others.

mod ct_merkle_crate;
mod example;
mod foreign_bytes;
mod merkle;
mod model;
mod proof_file;
mod published;
mod rfc_vectors;
mod signed_note_crate;
mod tampering;
mod tlog_tiles_crate;
mod witness;
