//! An upstream as one call sees it: its address with a key, the pace of its answer, and how it fails.

pub mod credentials;
pub mod failure;
pub mod stream_pace;
pub mod token_exchange;
