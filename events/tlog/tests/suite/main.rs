//! Tests of the formats, from outside the crate: against a small model of the RFC, and against code of others.

mod ct_merkle_crate;
mod merkle;
mod model;
mod published;
mod rfc_vectors;
