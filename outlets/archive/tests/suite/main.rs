//! Tests of archives, from outside the crate: in folders and on an S3 server.

mod archiving;
mod damage;
mod flipped_bits;
mod place;
mod role;
mod s3;
mod story;
