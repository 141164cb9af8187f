//! The changes of a provider's API key and secret headers, which replies do not show.

use std::collections::BTreeMap;

use command::admin::body_format::Body;
use secrets::Secret;
use serde_json::Value;

use super::desired::Desired;
use super::live::Live;
use super::mistake::Mistake;
use super::secret_source::{API_KEY, OwnSecrets, SECRET_HEADERS, SecretSource, Secrets};

/// When secrets are sent to providers that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsSent {
    WhereNeeded,
    All,
}

/// The change of one or several secrets.
#[derive(Clone, Debug)]
pub enum SecretChange<S> {
    Kept,
    Removed,
    Set(S),
}

/// The changes of a provider's secrets.
#[derive(Clone, Debug)]
pub struct SecretChanges {
    pub api_key: SecretChange<Secret>,
    pub headers: SecretChange<BTreeMap<String, Secret>>,
}

/// A provider that the gateway has.
#[derive(Clone, Copy)]
pub struct LiveProvider<'a> {
    pub live: &'a Live,
    /// To another address.
    pub moves: bool,
}

impl SecretChanges {
    pub const NONE: Self = Self { api_key: SecretChange::Kept, headers: SecretChange::Kept };

    /// Those that a file asks for. Secrets go to a provider that is new, has none or other headers, or moves, and to all if that
    /// is asked.
    pub fn of(
        desired: &Desired,
        provider: Option<LiveProvider<'_>>,
        sent: SecretsSent,
        own: OwnSecrets<'_>,
    ) -> Result<Self, Mistake> {
        let is_needed = sent == SecretsSent::All || provider.is_none_or(|provider| provider.moves);
        let live = provider.map(|provider| provider.live);
        let has_key = live.is_some_and(|live| live.has_api_key);
        let api_key = match &desired.api_key {
            Secrets::From(source) if is_needed || !has_key => {
                let key = read(desired, API_KEY, source, own)?;
                check(desired, API_KEY, key.reveal().into())?;
                SecretChange::Set(key)
            }
            Secrets::Removed if has_key => SecretChange::Removed,
            Secrets::Removed | Secrets::Unsaid | Secrets::From(_) => SecretChange::Kept,
        };
        let has_headers = live.is_some_and(|live| !live.secret_headers.is_empty());
        let has_these = |sources: &BTreeMap<String, SecretSource>| {
            live.is_some_and(|live| live.secret_headers.iter().eq(sources.keys()))
        };
        let headers = match &desired.secret_headers {
            Secrets::From(sources) if is_needed || !has_these(sources) => {
                let mut headers = BTreeMap::new();
                for (name, source) in sources {
                    let field = format!("{SECRET_HEADERS}.{name}");
                    headers.insert(name.clone(), read(desired, &field, source, own)?);
                }
                check(desired, SECRET_HEADERS, values(&headers))?;
                SecretChange::Set(headers)
            }
            Secrets::Removed if has_headers => SecretChange::Removed,
            Secrets::Removed | Secrets::Unsaid | Secrets::From(_) => SecretChange::Kept,
        };
        Ok(Self { api_key, headers })
    }

    pub const fn is_none(&self) -> bool {
        matches!(self, Self { api_key: SecretChange::Kept, headers: SecretChange::Kept })
    }

    /// Adds them to the body that is sent.
    pub fn put_into(&self, body: &mut Body) {
        let api_key = match &self.api_key {
            SecretChange::Kept => None,
            SecretChange::Removed => Some(Value::Null),
            SecretChange::Set(key) => Some(key.reveal().into()),
        };
        let headers = match &self.headers {
            SecretChange::Kept => None,
            SecretChange::Removed => Some(Value::Null),
            SecretChange::Set(headers) => Some(values(headers)),
        };
        let given = [(API_KEY, api_key), (SECRET_HEADERS, headers)];
        body.extend(given.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?))));
    }

    /// The lines about them, without what they are.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let words = [(API_KEY, self.api_key.in_words()), (SECRET_HEADERS, self.headers.in_words())];
        words.into_iter().filter_map(|(field, words)| Some(format!("    {field}: {}", words?)))
    }
}

impl<S> SecretChange<S> {
    const fn in_words(&self) -> Option<&'static str> {
        match self {
            Self::Kept => None,
            Self::Removed => Some("removed"),
            Self::Set(_) => Some("set"),
        }
    }
}

fn read(desired: &Desired, field: &str, source: &SecretSource, own: OwnSecrets<'_>) -> Result<Secret, Mistake> {
    let read = source.read(own);
    read.map_err(|reason| desired.mistake(field, format!("{source} {reason}")))
}

fn values(headers: &BTreeMap<String, Secret>) -> Value {
    let values: Body = headers.iter().map(|(name, value)| (name.clone(), value.reveal().into())).collect();
    values.into()
}

/// Errors: no provider takes such a secret. The reason does not repeat it.
fn check(desired: &Desired, field: &str, secret: Value) -> Result<(), Mistake> {
    let mut body = desired.body.clone();
    body.insert(field.to_owned(), secret);
    match desired.kind.format().normal(&body) {
        Ok(_) => Ok(()),
        Err(error) => {
            // One of several headers.
            let field = if error.field.starts_with(field) { error.field.as_str() } else { field };
            Err(desired.mistake(field, error.reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::desired;
    use super::super::files::SourceFile;
    use super::super::names::Names;
    use super::*;

    #[test]
    fn a_refused_secret_header_is_named_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("right"), "sk-1").expect("a file");
        std::fs::write(folder.path().join("wrong"), "sk-2\nsk-3").expect("a file");
        let text = "providers:\n  - name: p\n    kind: openai\n    base_url: https://api.example.com\n    secret_headers:\n      \
                    x-a: {file: right}\n      x-b: {file: wrong}\n";
        let file = SourceFile { name: "file".into(), folder: folder.path().to_owned(), text: text.to_owned() };
        let desired = desired::read(&[file], &mut Names::default()).expect("a provider").pop().expect("a provider");
        let own = OwnSecrets { data: Path::new("/no/such/folder"), key: None };
        let mistake = SecretChanges::of(&desired, None, SecretsSent::WhereNeeded, own).expect_err("refused");
        assert_eq!(mistake.field, "providers[0].secret_headers.x-b");
        assert!(!mistake.reason.contains("sk-"), "{}", mistake.reason);
    }
}
