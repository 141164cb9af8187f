//! Which providers the environment names: those whose API key, or whose address, is in a variable. Pure: variables come through a
//! function.
//!
//! A provider of which a part is missing is not found, and a note says what is missing: the variables may be there for other
//! programs. A value that cannot be right is a fault, which ends the start. Neither repeats the value of a key.

mod variables;

use std::collections::BTreeMap;
use std::net::IpAddr;

use built_in_catalogue::AccessKeyVariables;
use dialects::{ProviderKind, Server};

use super::addresses::{in_region, is_this_gateway, may_be_private};
use super::found_provider::FoundProvider;
use variables::Variables;

pub use variables::EnvironmentFault;

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

impl KnownProvider {
    /// Every variable that a key may be named by.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let access_key = self.access_key.as_ref().map(|variables| variables.id.as_str());
        self.key_variables.iter().map(String::as_str).chain(access_key)
    }
}

/// The inputs of detection besides the variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectionSettings {
    /// True if an access key of AWS is for Bedrock.
    pub bedrock: bool,
    /// The port of this gateway, which is no provider of its own; `None` if it is not known yet.
    pub own_port: Option<u16>,
    /// Looks the addresses of a name up; `None` if no name is looked up.
    pub resolve: Option<fn(&str) -> Vec<IpAddr>>,
}

/// The result of detection.
#[derive(Clone, Debug, Default)]
pub struct Detected {
    /// In the order of the catalogue.
    pub providers: Vec<FoundProvider>,
    /// A sentence for each setting that seems to be meant and is not complete.
    pub notes: Vec<String>,
}

/// Finds the providers that the environment names.
///
/// Errors: the first variable whose value cannot be right.
pub fn detect(
    known: &[KnownProvider],
    settings: DetectionSettings,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Detected, EnvironmentFault> {
    let variables = Variables { settings, variable: &variable };
    let mut detected = Detected::default();
    for provider in known {
        match find(&variables, provider)? {
            Detection::Found(found) => {
                if found.deployments.as_ref().is_some_and(Vec::is_empty) {
                    let note = format!("{DEPLOYMENTS_VARIABLE} is not set: the provider {} has no models", found.id);
                    detected.notes.push(note);
                }
                detected.providers.push(*found);
            }
            Detection::Incomplete(note) => detected.notes.push(note),
            Detection::Absent => detected.notes.extend(unused_access_key(&variables, provider)),
        }
    }
    Ok(detected)
}

enum Detection {
    Found(Box<FoundProvider>),
    /// With what is missing.
    Incomplete(String),
    Absent,
}

fn find(variables: &Variables<'_>, known: &KnownProvider) -> Result<Detection, EnvironmentFault> {
    let key = variables.key(known)?;
    // An address alone may be there for other programs.
    let address = if key.is_some() || known.is_local { variables.address(known)? } else { None };
    if key.is_none() && address.is_none() {
        return Ok(Detection::Absent);
    }
    let own_address = match address {
        Some((name, address)) if variables.settings.own_port.is_some_and(|port| is_this_gateway(&address, port)) => {
            return Ok(Detection::Incomplete(format!(
                "{name} is the address of this gateway: the provider is left out"
            )));
        }
        address => address.map(|(_, address)| address),
    };
    let key_variable = key.as_ref().map(|(variable, _)| variable.clone());
    let of = key_variable.as_deref().unwrap_or(&known.id);
    let region = variables.region(known)?;
    let base_url = match (&own_address, &known.base_url) {
        (Some(address), _) => address.clone(),
        (None, None) => return Ok(missing(of, &known.base_url_variables)),
        (None, Some(template)) if template.contains("{region}") && region.is_none() => {
            return missing_region(variables, of, known);
        }
        (None, Some(template)) => in_region(template, region.as_deref()),
    };
    let deployments = variables.deployments(known)?;
    Ok(Detection::Found(Box::new(FoundProvider {
        id: known.id.clone(),
        kind: known.kind,
        server: known.server,
        base_url,
        has_own_address: own_address.is_some(),
        is_private: own_address.is_some_and(|address| may_be_private(&address, variables.settings.resolve)),
        key_variable,
        key: key.map(|(_, key)| key),
        key_variables: known.keys().map(str::to_owned).collect(),
        region,
        api_version: variables.api_version(known)?,
        headers: variables.headers(known)?,
        deployments,
    })))
}

/// Says that there is an access key which is not used: it may be meant for Bedrock.
fn unused_access_key(variables: &Variables<'_>, known: &KnownProvider) -> Option<String> {
    let id = &known.access_key.as_ref().filter(|_| !variables.settings.bedrock)?.id;
    variables.key_text(id)?;
    let provider = &known.id;
    Some(format!("{id} is set, but {BEDROCK_SETTING} is not: to use it for {provider}, set {BEDROCK_SETTING}=on"))
}

/// A key for Bedrock without a region. It is a fault if the operator has asked for Bedrock.
fn missing_region(variables: &Variables<'_>, of: &str, known: &KnownProvider) -> Result<Detection, EnvironmentFault> {
    match known.region_variables.first() {
        Some(name) if variables.settings.bedrock => {
            let problem = format!("is not set, but {BEDROCK_SETTING} asks for Bedrock, which is in a region");
            Err(EnvironmentFault::new(name, problem, "us-east-1"))
        }
        Some(_) | None => Ok(missing(of, &known.region_variables)),
    }
}

fn missing(of: &str, variables: &[String]) -> Detection {
    Detection::Incomplete(format!("{of} is set, but {} is not: the provider is left out", variables.join(" or ")))
}

#[cfg(test)]
mod tests;
