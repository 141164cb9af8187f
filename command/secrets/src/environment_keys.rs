//! API keys of providers that are in variables of the process. They stay in memory: nothing writes them.

use std::collections::HashMap;

use super::Secret;

/// The keys by the names of their variables, each with the only address that it may be sent to.
#[derive(Debug, Default)]
pub struct EnvironmentKeys {
    keys: HashMap<String, (String, Secret)>,
}

impl EnvironmentKeys {
    pub fn insert(&mut self, variable: impl Into<String>, base_url: impl Into<String>, key: Secret) {
        self.keys.insert(variable.into(), (base_url.into(), key));
    }

    /// The key in this variable, for a provider at this address; `None` if the process has no such variable, or has it for
    /// another address: the provider's row may be older than the process.
    pub fn key(&self, variable: &str, base_url: Option<&str>) -> Option<&Secret> {
        let (address, key) = self.keys.get(variable)?;
        (Some(address.as_str()) == base_url).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_the_address_of_its_variable_alone() {
        let mut keys = EnvironmentKeys::default();
        keys.insert("A_API_KEY", "https://a.example.com/v1", Secret::new("k"));
        let key = |variable, base_url| keys.key(variable, base_url).map(Secret::reveal);
        assert_eq!(key("A_API_KEY", Some("https://a.example.com/v1")), Some("k"));
        assert_eq!(key("A_API_KEY", Some("https://b.example.com/v1")), None);
        assert_eq!(key("A_API_KEY", None), None);
        assert_eq!(key("B_API_KEY", Some("https://a.example.com/v1")), None);
    }
}
