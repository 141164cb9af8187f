//! Which providers the environment names: those whose API key, or whose address, is in a variable. Pure: variables come through a
//! function.
//!
//! A provider of which a part is missing is not found, and a note says what is missing: the variables may be there for other
//! programs. A value that cannot be right is a fault, which ends the start. Neither repeats the value of a key.

use std::collections::BTreeMap;
use std::net::IpAddr;

use catalogue::AccessKeyVariables;
use dialects::{ProviderKind, Server, upstreams};
use events::event::admin::{Origin, OutputCapField, Provider, ServerName};
use events::ids::ProviderId;
use secrets::Secret;

use super::addresses::{in_region, is_this_gateway, may_be_private};
use super::deployments::{self, Deployment};
use crate::admin::base_url;

const KEY_LEN_MAX: usize = 4096;
const URL_LEN_MAX: usize = 2000;
const WORD_LEN_MAX: usize = 64;
const HEADER_LEN_MAX: usize = 1024;
/// The models of Azure's deployments, which only the account knows.
pub const DEPLOYMENTS_VARIABLE: &str = "AZURE_OPENAI_DEPLOYMENTS";
/// The setting with which an access key of AWS counts as one for Bedrock: many machines have one for something else.
pub const BEDROCK_SETTING: &str = "LEDGERWAY_BEDROCK";

/// A provider that variables can name.
#[derive(Clone, Debug)]
pub struct KnownProvider {
    /// Its id in the catalogue, and its name.
    pub id: String,
    pub kind: ProviderKind,
    pub server: Option<Server>,
    /// Where it is, if no variable says otherwise; may have `{region}` in it.
    pub base_url: Option<String>,
    /// The variables of its key; the first that is set counts.
    pub key_variables: Vec<String>,
    /// The variables of an access key, which counts if none of the others is set.
    pub access_key: Option<AccessKeyVariables>,
    pub base_url_variables: Vec<String>,
    pub region_variables: Vec<String>,
    pub api_version_variables: Vec<String>,
    /// Variables that become headers, by the name of the header.
    pub header_variables: BTreeMap<String, String>,
    /// True if it is on this machine by default, and needs no key.
    pub is_local: bool,
}

/// What else counts besides the variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectionSettings {
    /// True if an access key of AWS is for Bedrock.
    pub bedrock: bool,
    /// The port of this gateway, which is no provider of its own; `None` if it is not known yet.
    pub own_port: Option<u16>,
    /// Looks the addresses of a name up; `None` if no name is looked up.
    pub resolve: Option<fn(&str) -> Vec<IpAddr>>,
}

/// A provider that the environment names.
#[derive(Clone, Debug)]
pub struct FoundProvider {
    pub id: String,
    pub kind: ProviderKind,
    pub server: Option<Server>,
    pub base_url: String,
    /// True if a variable gave the address: what is behind it may be another server than the vendor's.
    pub has_own_address: bool,
    /// True if the address is a private one.
    pub is_private: bool,
    /// The variable of its key; `None` if it needs none.
    pub key_variable: Option<String>,
    pub key: Option<Secret>,
    /// Every variable that its key may be in.
    pub key_variables: Vec<String>,
    pub region: Option<String>,
    pub api_version: Option<String>,
    pub headers: BTreeMap<String, String>,
    /// The deployments of an account, by model; `None` for a provider whose models are the same for all accounts.
    pub deployments: Option<Vec<Deployment>>,
}

/// What the environment names.
#[derive(Clone, Debug, Default)]
pub struct Detected {
    /// In the order of the catalogue.
    pub providers: Vec<FoundProvider>,
    /// What seems to be meant and is not complete; a sentence each.
    pub notes: Vec<String>,
}

/// A variable whose value cannot be right. The value of a key is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}, for example {variable}={example}")]
pub struct EnvironmentFault {
    pub variable: String,
    pub problem: String,
    pub example: String,
}

impl EnvironmentFault {
    fn new(variable: &str, problem: impl Into<String>, example: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), problem: problem.into(), example: example.into() }
    }
}

impl FoundProvider {
    /// The provider's state as its events record it.
    pub fn state(&self, id: ProviderId, name: String) -> Provider {
        let takes = |setting: &str| upstreams::of(self.kind).endpoint().is_some_and(|e| e.settings.contains(&setting));
        // The host of a provider's own address says which server it is; another one does not.
        let named = self.server.filter(|_| self.has_own_address && takes("server"));
        let has_deployments = upstreams::has_deployments(self.kind);
        let provider = Provider {
            base_url: Some(self.base_url.clone()),
            allow_private_network: self.is_private,
            headers: self.headers.clone(),
            // Its deployments of reasoning models take no other, and the others take both.
            output_cap_field: if has_deployments {
                OutputCapField::MaxCompletionTokens
            } else {
                OutputCapField::default()
            },
            output_cap_field_given: has_deployments,
            api_version: self.api_version.clone(),
            server: named.and_then(|server| server.as_str().parse::<ServerName>().ok()),
            region: self.region.clone(),
            origin: Some(Origin::Environment),
            key_variable: self.key_variable.clone(),
            ..Provider::new(id, name, self.kind)
        };
        Provider { discover_models: self.is_private && upstreams::model_list_of(&provider).is_some(), ..provider }
    }

    /// True for the provider that was made from these variables, maybe from another one of them.
    pub fn made(&self, provider: &Provider) -> bool {
        let is_of_kind = ProviderKind::named(&provider.kind) == Some(self.kind);
        let has_variable = match &provider.key_variable {
            Some(variable) => self.key_variables.contains(variable),
            None => self.key_variable.is_none(),
        };
        provider.origin == Some(Origin::Environment) && is_of_kind && has_variable
    }
}

/// Finds the providers that the environment names.
///
/// Errors: the first variable whose value cannot be right.
pub fn detect(
    known: &[KnownProvider],
    settings: DetectionSettings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Detected, EnvironmentFault> {
    let environment = Variables { settings, variable: &variable };
    let mut detected = Detected::default();
    for provider in known {
        match environment.find(provider)? {
            Finding::Found(found) => {
                if found.deployments.as_ref().is_some_and(Vec::is_empty) {
                    let note = format!("{DEPLOYMENTS_VARIABLE} is not set: the provider {} has no models", found.id);
                    detected.notes.push(note);
                }
                detected.providers.push(*found);
            }
            Finding::Incomplete(note) => detected.notes.push(note),
            Finding::Absent => detected.notes.extend(environment.unused_access_key(provider)),
        }
    }
    Ok(detected)
}

enum Finding {
    Found(Box<FoundProvider>),
    /// With what is missing.
    Incomplete(String),
    Absent,
}

struct Variables<'a> {
    settings: DetectionSettings,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    fn find(&self, known: &KnownProvider) -> Result<Finding, EnvironmentFault> {
        let key = self.key(known)?;
        // An address alone may be there for other programs.
        let address = if key.is_some() || known.is_local { self.address(known)? } else { None };
        if key.is_none() && address.is_none() {
            return Ok(Finding::Absent);
        }
        let own_address = match address {
            Some((name, address)) if self.settings.own_port.is_some_and(|port| is_this_gateway(&address, port)) => {
                return Ok(Finding::Incomplete(format!(
                    "{name} is the address of this gateway: the provider is left out"
                )));
            }
            address => address.map(|(_, address)| address),
        };
        let key_variable = key.as_ref().map(|(variable, _)| variable.clone());
        let of = key_variable.as_deref().unwrap_or(&known.id);
        let region = self.region(known)?;
        let base_url = match (&own_address, &known.base_url) {
            (Some(address), _) => address.clone(),
            (None, None) => return Ok(missing(of, &known.base_url_variables)),
            (None, Some(template)) if template.contains("{region}") && region.is_none() => {
                return self.missing_region(of, known);
            }
            (None, Some(template)) => in_region(template, region.as_deref()),
        };
        let deployments = self.deployments(known)?;
        Ok(Finding::Found(Box::new(FoundProvider {
            id: known.id.clone(),
            kind: known.kind,
            server: known.server,
            base_url,
            has_own_address: own_address.is_some(),
            is_private: own_address.is_some_and(|address| may_be_private(&address, self.settings.resolve)),
            key_variable,
            key: key.map(|(_, key)| key),
            key_variables: known.keys().map(str::to_owned).collect(),
            region,
            api_version: self.word(&known.api_version_variables, "2024-10-21")?.map(|(_, version)| version),
            headers: self.headers(known)?,
            deployments,
        })))
    }

    /// A variable that is empty is as one that is not set.
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set, with its value.
    fn first<'n>(&self, names: &'n [String]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The text of a key. A file that it was read from may have ended it with a line end, which no key has.
    fn key_text(&self, name: &str) -> Option<String> {
        let mut key = self.get(name)?;
        if key.ends_with('\n') {
            key.pop();
            if key.ends_with('\r') {
                key.pop();
            }
        }
        Some(key).filter(|key| !key.is_empty())
    }

    /// The provider's key, and the variable that it is named by.
    fn key(&self, known: &KnownProvider) -> Result<Option<(String, Secret)>, EnvironmentFault> {
        let key = known.key_variables.iter().find_map(|name| Some((name, self.key_text(name)?)));
        if let Some((name, key)) = key {
            // In a key for Bedrock, a colon would make it an access key.
            let is_one_part = known.access_key.is_none() || !key.contains(':');
            return match is_key(&key) && is_one_part {
                true => Ok(Some((name.to_owned(), Secret::new(key)))),
                false => Err(no_key(name)),
            };
        }
        match &known.access_key {
            Some(variables) if self.settings.bedrock => self.access_key(variables).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// Says that there is an access key which is not used: it may be meant for Bedrock.
    fn unused_access_key(&self, known: &KnownProvider) -> Option<String> {
        let variables = known.access_key.as_ref().filter(|_| !self.settings.bedrock)?;
        self.key_text(&variables.id)?;
        let (id, provider) = (&variables.id, &known.id);
        Some(format!("{id} is set, but {BEDROCK_SETTING} is not: to use it for {provider}, set {BEDROCK_SETTING}=on"))
    }

    /// The access key in the form in which administration takes it.
    fn access_key(&self, variables: &AccessKeyVariables) -> Result<(String, Secret), EnvironmentFault> {
        let part = |name: &str, value: String| match is_key(&value) && !value.contains(':') {
            true => Ok(value),
            false => Err(no_key(name)),
        };
        let required = |name: &str| match self.key_text(name) {
            Some(value) => part(name, value),
            None => {
                let problem = format!("is not set, but {BEDROCK_SETTING} asks for Bedrock with an access key");
                Err(EnvironmentFault::new(name, problem, "YOUR_KEY"))
            }
        };
        let (id, secret) = (required(&variables.id)?, required(&variables.secret)?);
        let token =
            self.key_text(&variables.session_token).map(|token| part(&variables.session_token, token)).transpose()?;
        let parts: Vec<String> = [Some(id), Some(secret), token].into_iter().flatten().collect();
        Ok((variables.id.clone(), Secret::new(parts.join(":"))))
    }

    /// The address that a variable gives, and the variable.
    fn address<'n>(&self, known: &'n KnownProvider) -> Result<Option<(&'n str, String)>, EnvironmentFault> {
        let Some((name, text)) = self.first(&known.base_url_variables) else { return Ok(None) };
        let example = known.base_url.as_deref().unwrap_or("https://RESOURCE.openai.azure.com");
        let wrong = |problem: String| EnvironmentFault::new(name, problem, in_region(example, Some("us-east-1")));
        if text.chars().count() > URL_LEN_MAX {
            return Err(wrong(format!("has more than {URL_LEN_MAX} characters")));
        }
        let address = base_url::normal_form(&text).map_err(|reason| wrong(reason.to_owned()))?;
        if base_url::is_forbidden(&address, true) {
            return Err(wrong("is an address that is never called: link-local and metadata addresses".to_owned()));
        }
        if let Some(end) = upstreams::of(known.kind).endpoint().and_then(|endpoint| endpoint.wrong_end_of(&address)) {
            return Err(wrong(format!("must not have {end}, a path that the gateway appends itself")));
        }
        if let Some(corrected) = upstreams::corrected_base_url(known.kind, &address) {
            let problem = "is not where this host serves the API".to_owned();
            return Err(EnvironmentFault::new(name, problem, corrected));
        }
        Ok(Some((name, address)))
    }

    fn region(&self, known: &KnownProvider) -> Result<Option<String>, EnvironmentFault> {
        Ok(self.word(&known.region_variables, "us-east-1")?.map(|(_, region)| region))
    }

    /// A word, which becomes part of an address or of a signature.
    fn word<'n>(&self, names: &'n [String], example: &str) -> Result<Option<(&'n str, String)>, EnvironmentFault> {
        let Some((name, word)) = self.first(names) else { return Ok(None) };
        let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if word.len() <= WORD_LEN_MAX && word.bytes().all(is_of_word) {
            return Ok(Some((name, word)));
        }
        let problem = "must consist of at most 64 letters, digits, \".\", \"_\" and \"-\"";
        Err(EnvironmentFault::new(name, problem, example))
    }

    fn headers(&self, known: &KnownProvider) -> Result<BTreeMap<String, String>, EnvironmentFault> {
        let given = known.header_variables.iter().filter_map(|(header, name)| Some((header, name, self.get(name)?)));
        let checked = given.map(|(header, name, value)| match value.len() <= HEADER_LEN_MAX && is_visible(&value) {
            true => Ok((header.to_ascii_lowercase(), value)),
            false => Err(EnvironmentFault::new(name, "must consist of visible ASCII characters", "org-1")),
        });
        checked.collect()
    }

    fn deployments(&self, known: &KnownProvider) -> Result<Option<Vec<Deployment>>, EnvironmentFault> {
        if !upstreams::has_deployments(known.kind) {
            return Ok(None);
        }
        let wrong = |problem| EnvironmentFault::new(DEPLOYMENTS_VARIABLE, problem, deployments::EXAMPLE);
        deployments::read(&self.get(DEPLOYMENTS_VARIABLE).unwrap_or_default()).map(Some).map_err(wrong)
    }

    /// A key for Bedrock without a region. It is a fault if the operator has asked for Bedrock.
    fn missing_region(&self, of: &str, known: &KnownProvider) -> Result<Finding, EnvironmentFault> {
        match known.region_variables.first() {
            Some(name) if self.settings.bedrock => {
                let problem = format!("is not set, but {BEDROCK_SETTING} asks for Bedrock, which is in a region");
                Err(EnvironmentFault::new(name, problem, "us-east-1"))
            }
            Some(_) | None => Ok(missing(of, &known.region_variables)),
        }
    }
}

impl KnownProvider {
    /// Every variable that a key may be named by.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let access_key = self.access_key.as_ref().map(|variables| variables.id.as_str());
        self.key_variables.iter().map(String::as_str).chain(access_key)
    }
}

fn missing(of: &str, variables: &[String]) -> Finding {
    Finding::Incomplete(format!("{of} is set, but {} is not: the provider is left out", variables.join(" or ")))
}

fn no_key(variable: &str) -> EnvironmentFault {
    EnvironmentFault::new(variable, "is not an API key: it must consist of visible ASCII characters", "YOUR_KEY")
}

fn is_key(text: &str) -> bool {
    text.len() <= KEY_LEN_MAX && is_visible(text)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
