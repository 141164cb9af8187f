//! Secrets at rest and in memory: the node's key, the keys derived from it, and the vault of provider keys.
//!
//! - `vault` has the keys of providers, of tenants (`vault/tenant_keys.rs`), of content (`vault/content_keys.rs`) and of the
//!   log (`vault/log_key.rs`); `secret_id` names the secrets of providers. `tenant_key` wraps a tenant's key to a node (ADR-0031),
//!   `nodes` has the nodes and the tenants that they serve (ADR-0017), and `age_file` reads copies of builds before.
//! - `content_key_reader` opens keys of content from a ledger that is only read.
//! - `operator_key`: the operator's key. `key_check`: the check of API keys. `key_macs`: what is stored
//!   of them. `reseal`: another node's key.

pub mod base62;
pub mod content_key_reader;
pub mod environment_keys;
pub mod file;
pub mod key_check;
pub mod key_macs;
pub mod keyless;
pub mod node_key;
pub mod operator_key;
pub mod reseal;
pub mod served_tenants;
pub mod vault;
pub mod wrong_key;

mod age_file;
mod identity;
mod nodes;
mod sealed_box;
mod secret_id;
mod tenant_key;

pub use environment_keys::EnvironmentKeys;
pub use events::secret::Secret;
pub use file::SecretFileError;
pub use key_check::KeyCheck;
pub use key_macs::KeyMacs;
pub use node_key::NodeKey;
pub use secret_id::SecretId;
pub use served_tenants::ServedTenants;
pub use vault::{Vault, VaultError, log_key};
