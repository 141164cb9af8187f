//! The values of the environment's variables, checked. One that cannot be right is a fault, which does not repeat a key.

use std::collections::BTreeMap;

use built_in_catalogue::AccessKeyVariables;
use dialects::provider_dialects;
use secrets::Secret;

use super::{BEDROCK_SETTING, DEPLOYMENTS_VARIABLE, DetectionSettings, KnownProvider};
use crate::admin::base_url;
use crate::credential_like::is_credential_value;
use crate::environment::addresses::in_region;
use crate::environment::deployments::{self, Deployment};

const KEY_LEN_MAX: usize = 4096;
const URL_LEN_MAX: usize = 2000;
const WORD_LEN_MAX: usize = 64;
const HEADER_LEN_MAX: usize = 1024;

/// A variable whose value cannot be right. The value of a key is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}, for example {variable}={example}")]
pub struct EnvironmentFault {
    pub variable: String,
    pub problem: String,
    pub example: String,
}

impl EnvironmentFault {
    pub(super) fn new(variable: &str, problem: impl Into<String>, example: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), problem: problem.into(), example: example.into() }
    }
}

/// The variables, through a function, and what else counts.
pub(super) struct Variables<'a> {
    pub(super) settings: DetectionSettings,
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    /// A variable that is empty is as one that is not set.
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set, with its value.
    fn first<'n>(&self, names: &'n [String]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    /// The text of a key. A file that it was read from may have ended it with a line end, which no key has.
    pub(super) fn key_text(&self, name: &str) -> Option<String> {
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
    pub(super) fn key(&self, known: &KnownProvider) -> Result<Option<(String, Secret)>, EnvironmentFault> {
        let key = known.key_variables.iter().find_map(|name| Some((name, self.key_text(name)?)));
        if let Some((name, key)) = key {
            // In a key for Bedrock, a colon would make it an access key.
            let is_one_part = known.access_key.is_none() || !key.contains(':');
            return match may_be_key(&key) && is_one_part {
                true => Ok(Some((name.to_owned(), Secret::new(key)))),
                false => Err(no_key(name)),
            };
        }
        match &known.access_key {
            Some(variables) if self.settings.bedrock => self.access_key(variables).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    /// The access key in the form in which administration takes it.
    fn access_key(&self, variables: &AccessKeyVariables) -> Result<(String, Secret), EnvironmentFault> {
        let part = |name: &str, value: String| match may_be_key(&value) && !value.contains(':') {
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
    pub(super) fn address<'n>(&self, known: &'n KnownProvider) -> Result<Option<(&'n str, String)>, EnvironmentFault> {
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
        if let Some(end) =
            provider_dialects::of(known.kind).endpoint().and_then(|endpoint| endpoint.wrong_end_of(&address))
        {
            return Err(wrong(format!("must not have {end}, a path that the gateway appends itself")));
        }
        if let Some(corrected) = provider_dialects::corrected_base_url(known.kind, &address) {
            let problem = "is not where this host serves the API".to_owned();
            return Err(EnvironmentFault::new(name, problem, corrected));
        }
        Ok(Some((name, address)))
    }

    pub(super) fn region(&self, known: &KnownProvider) -> Result<Option<String>, EnvironmentFault> {
        Ok(self.word(&known.region_variables, "us-east-1")?.map(|(_, region)| region))
    }

    pub(super) fn api_version(&self, known: &KnownProvider) -> Result<Option<String>, EnvironmentFault> {
        Ok(self.word(&known.api_version_variables, "2024-10-21")?.map(|(_, version)| version))
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

    pub(super) fn headers(&self, known: &KnownProvider) -> Result<BTreeMap<String, String>, EnvironmentFault> {
        let given = known.header_variables.iter().filter_map(|(header, name)| Some((header, name, self.get(name)?)));
        let checked = given.map(|(header, name, value)| {
            let header = header.to_ascii_lowercase();
            let (of, example) =
                if header == "openai-project" { ("project", "proj_1") } else { ("organization", "org-1") };
            let fault = |problem: &str| Err(EnvironmentFault::new(name, problem, example));
            if value.len() > HEADER_LEN_MAX || !is_visible(&value) {
                return fault("must consist of visible ASCII characters");
            }
            if is_credential_value(&header, &value) {
                let problem = "looks like an API key, and events would contain it";
                return fault(&format!("{problem}: set it to the {of}'s id"));
            }
            Ok((header, value))
        });
        checked.collect()
    }

    pub(super) fn deployments(&self, known: &KnownProvider) -> Result<Option<Vec<Deployment>>, EnvironmentFault> {
        if !provider_dialects::has_deployments(&known.kind.into()) {
            return Ok(None);
        }
        let wrong = |problem| EnvironmentFault::new(DEPLOYMENTS_VARIABLE, problem, deployments::EXAMPLE);
        deployments::read(&self.get(DEPLOYMENTS_VARIABLE).unwrap_or_default()).map(Some).map_err(wrong)
    }
}

fn no_key(variable: &str) -> EnvironmentFault {
    EnvironmentFault::new(variable, "is not an API key: it must consist of visible ASCII characters", "YOUR_KEY")
}

fn may_be_key(text: &str) -> bool {
    text.len() <= KEY_LEN_MAX && is_visible(text)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
