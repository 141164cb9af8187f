//! An object that was read.

use bytes::Bytes;

pub enum Object {
    Whole(Bytes),
    TooLong { bytes: u64 },
}
