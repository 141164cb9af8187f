//! The keys of providers, and the access tokens that some are exchanged for.

pub mod access_tokens;
pub mod provider_keys;
