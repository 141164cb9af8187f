//! The messages and services of `proto/ledgerway/v1`.

#![allow(clippy::all, reason = "generated")]

// The generated code names these.
use {prost as _, tonic_prost as _};

tonic::include_proto!("ledgerway.v1");

/// The descriptors of the files and of all that they import.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
