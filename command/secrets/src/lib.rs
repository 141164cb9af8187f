//! Secrets at rest and in memory: the node's key, the keys derived from it, and the vault of provider keys.
//!
//! - `vault` has the keys of providers, of tenants (`vault/tenant_keys.rs`), of content (`vault/content_keys.rs`) and of the
//!   log (`vault/log_key.rs`). `tenant_key` wraps a tenant's key to a node (ADR-0031), `nodes` has the nodes and the tenants
//!   that they serve (ADR-0017), and `age_file` reads copies of builds before.
//! - `operator_key`: the operator's key. `key_check`: the check of API keys. `reseal`: another node's key.

pub mod base62;
pub mod environment_keys;
pub mod file;
pub mod key_check;
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
mod tenant_key;

use std::fmt;
use std::sync::Arc;

pub use environment_keys::EnvironmentKeys;
pub use file::SecretFileError;
pub use key_check::KeyCheck;
pub use node_key::NodeKey;
pub use served_tenants::ServedTenants;
pub use vault::{Vault, VaultError, log_key};

/// A text that must not be shown: `Debug` and `Display` print `[redacted]`. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. The caller is responsible for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_in_no_format() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "[redacted] [redacted] Some([redacted])");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
