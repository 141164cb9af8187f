//! Secrets, which files name but do not have: `api_key: {env: NAME}` or `{file: PATH}`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use secrets::Secret;

use super::yaml::{Node, NodeValue};

/// The field of a provider.
pub const API_KEY: &str = "api_key";
pub const ENV: &str = "env";
pub const FILE: &str = "file";
const FORM: &str = "must be {env: NAME} or {file: PATH}: a secret does not belong in this file";
const OF_THE_GATEWAY: &str =
    "must not name a variable that begins with LEDGERWAY_: it is the gateway's own, and would be sent to the provider";
const OF_THE_DATA_FOLDER: &str = "is in the gateway's data folder, whose keys must not be sent to a provider";
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    Variable(String),
    File(PathBuf),
}

/// What a file says of a provider's API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKey {
    /// Nothing: it stays as it is.
    Unsaid,
    /// There is none.
    Removed,
    From(SecretSource),
}

impl ApiKey {
    /// Reads the field. `folder` is that of the file.
    ///
    /// Errors: it is not of this form. The reason does not repeat what is there, which may be a secret.
    pub fn read(node: &Node, folder: &Path) -> Result<Self, &'static str> {
        let members = match &node.value {
            NodeValue::Null => return Ok(Self::Removed),
            NodeValue::Map(members) => members,
            NodeValue::Boolean(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::List(_) => return Err(FORM),
        };
        let [member] = &members[..] else { return Err(FORM) };
        let text = member.node.text().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or(FORM)?;
        match &*member.name {
            ENV if text.contains('=') => Err(FORM),
            ENV if text.starts_with("LEDGERWAY_") => Err(OF_THE_GATEWAY),
            ENV => Ok(Self::From(SecretSource::Variable(text.to_owned()))),
            FILE => Ok(Self::From(SecretSource::File(folder.join(text)))),
            _ => Err(FORM),
        }
    }
}

impl SecretSource {
    /// `data` is the data folder of the gateway.
    ///
    /// Errors: there is none. The reason names where it was looked for, never what is there.
    pub fn read(&self, data: &Path) -> Result<Secret, String> {
        let found = match self {
            Self::Variable(name) => match std::env::var_os(name) {
                None => return Err("is not set".to_owned()),
                Some(value) => value.into_string().map_err(|_| "is not UTF-8".to_owned())?,
            },
            Self::File(path) if is_within(path, data) => return Err(OF_THE_DATA_FOLDER.to_owned()),
            Self::File(path) => file_text(path)?,
        };
        match found.trim() {
            "" => Err("is empty".to_owned()),
            secret => Ok(Secret::new(secret)),
        }
    }
}

/// Whether the file is in the folder, by whatever way it is named.
fn is_within(path: &Path, folder: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    whole(path).zip(whole(folder)).is_some_and(|(path, folder)| path.starts_with(folder))
}

fn file_text(path: &Path) -> Result<String, String> {
    if path.exists() && !path.is_file() {
        return Err("is not a file".to_owned());
    }
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > SECRET_BYTES_MAX) {
        return Err(format!("has more than {} KiB", SECRET_BYTES_MAX >> 10));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::documents;
    use super::*;

    fn read(text: &str) -> Result<ApiKey, &'static str> {
        let node = documents(text).expect("YAML").pop().unwrap_or(Node { line: 1, value: NodeValue::Null });
        ApiKey::read(&node, Path::new("/etc/ledgerway"))
    }

    #[test]
    fn a_secret_is_named_and_never_written_out() {
        let variable = SecretSource::Variable("OPENAI_API_KEY".to_owned());
        assert_eq!(read("{env: OPENAI_API_KEY}"), Ok(ApiKey::From(variable)));
        let file = SecretSource::File(PathBuf::from("/etc/ledgerway/keys/openai"));
        assert_eq!(read("{file: keys/openai}"), Ok(ApiKey::From(file)));
        assert_eq!(read("~"), Ok(ApiKey::Removed));
        for wrong in
            ["sk-1", "{value: sk-1}", "{env: A, file: b}", "{env: ''}", "[sk-1]", "{env: 5}", "{}", "{env: A=b}"]
        {
            assert_eq!(read(wrong), Err(FORM), "{wrong}");
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_without_what_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| SecretSource::File(folder.path().join(name));
        std::fs::write(folder.path().join("key"), "sk-1\n").expect("a file");
        // The gateway's own keys, by whatever way.
        std::os::unix::fs::symlink(folder.path().join("key"), folder.path().join("link")).expect("a link");
        for name in ["key", "link", "../".repeat(20).as_str()] {
            let source = if name.starts_with('.') {
                SecretSource::File(folder.path().join(name).join(&folder.path().join("key").display().to_string()[1..]))
            } else {
                file(name)
            };
            assert_eq!(source.read(folder.path()).expect_err("refused"), OF_THE_DATA_FOLDER);
        }
        std::fs::write(folder.path().join("empty"), " \n").expect("a file");
        std::fs::write(folder.path().join("large"), vec![b'k'; 65 * 1024]).expect("a file");
        assert_eq!(file("key").read(Path::new("/no/such/folder")).expect("a secret").reveal(), "sk-1");
        for (source, reason) in [
            (file("empty"), "is empty"),
            (file("large"), "has more than 64 KiB"),
            (SecretSource::File(folder.path().to_owned()), "is not a file"),
            (SecretSource::Variable("NO_SUCH_VARIABLE_OF_TESTS".to_owned()), "is not set"),
        ] {
            assert_eq!(source.read(Path::new("/no/such/folder")).expect_err("refused"), reason);
        }
    }
}
