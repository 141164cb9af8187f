//! A provider of the document: how to call it, and where an environment holds its key.

use std::collections::BTreeMap;

use events::event::admin::{ProviderKindName, ServerName};
use serde::Deserialize;

use crate::unique_map::unique_map;

/// A variable that programs for other services of Google's may have.
const OF_OTHERS: &str = "GOOGLE_BASE_URL";

/// A provider. Names of variables are those of its vendor's own tools where these have one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Lower-case letters, digits and `_`; at most 64.
    pub id: String,
    pub name: String,
    /// The kind of provider as the gateway knows it.
    pub kind: ProviderKindName,
    /// The known server behind the address, for the kind `openai`.
    pub server: Option<ServerName>,
    /// True for a server on this machine, which has a private address and needs no key.
    #[serde(default)]
    pub local: bool,
    /// Absent if it differs for each account or region.
    pub base_url: Option<String>,
    /// The address of each region, with `{region}` in its place.
    pub base_url_template: Option<String>,
    /// The vendor's documentation of its API.
    pub documentation: String,
    /// Variables that may hold the API key; the first that is set counts. Empty if it is never in one.
    pub key_variables: Vec<String>,
    /// Variables that hold an access key in parts.
    pub access_key_variables: Option<AccessKeyVariables>,
    /// The variable with another address.
    pub base_url_variable: Option<String>,
    /// Variables that may name the region; the first that is set counts.
    #[serde(default)]
    pub region_variables: Vec<String>,
    /// The variable with the version of the API.
    pub api_version_variable: Option<String>,
    /// Headers whose values are in variables; by the header's name.
    #[serde(default, deserialize_with = "unique_map")]
    pub header_variables: BTreeMap<String, String>,
}

/// The variables of an access key that signs requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessKeyVariables {
    pub id: String,
    pub secret: String,
    /// Set only with a temporary key.
    pub session_token: String,
}

impl Provider {
    /// The variables that may hold another address; the first that is set counts. Beside `X_API_KEY`, that is `X_BASE_URL`.
    pub fn address_variables(&self) -> Vec<String> {
        let mut variables: Vec<String> = self.base_url_variable.iter().cloned().collect();
        for beside in self.key_variables.iter().filter_map(|key| beside_key(key)) {
            if !variables.contains(&beside) && beside != OF_OTHERS {
                variables.push(beside);
            }
        }
        variables
    }

    /// All variables that it names.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let parts = self.access_key_variables.iter().flat_map(|parts| [&parts.id, &parts.secret, &parts.session_token]);
        let lists = self.key_variables.iter().chain(&self.region_variables).chain(self.header_variables.values());
        let single = self.base_url_variable.iter().chain(&self.api_version_variable);
        lists.chain(single).chain(parts).map(String::as_str)
    }
}

/// The variable of the address beside that of a key.
fn beside_key(key: &str) -> Option<String> {
    Some([key.strip_suffix("API_KEY")?, "BASE_URL"].concat())
}
