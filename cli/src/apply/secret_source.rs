//! Secrets, which files name but do not have: `api_key: {env: NAME}` or `{file: PATH}`, and the same of each secret header.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use command::admin::setup::DEV_KEY_FILE;
use events_log::LEDGER_FILE;
use secrets::{Secret, node_key, operator_key};

use super::yaml::{Node, NodeValue};
use crate::settings::setting;

/// The fields of a provider.
pub const API_KEY: &str = "api_key";
pub const SECRET_HEADERS: &str = "secret_headers";
pub const ENV: &str = "env";
pub const FILE: &str = "file";
const FORM: &str = "must be {env: NAME} or {file: PATH}: a secret does not belong in this file";
const HEADERS_FORM: &str =
    "must be a mapping of names and {env: NAME} or {file: PATH}: secrets do not belong in this file";
const OF_THE_GATEWAY: &str =
    "must not name a variable that begins with LEDGERWAY_: it is the gateway's own, and would be sent to the provider";
const OF_A_DATA_FOLDER: &str = "is in the data folder of a gateway, whose keys must not be sent to a provider; keep the provider's key in another folder";
/// The password of the ledger's database, which its client reads.
const PG_PASSWORD: &str = "PGPASSWORD";
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    Variable(String),
    File(PathBuf),
}

/// One or several secrets of a provider, as a file has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets<S> {
    /// Nothing: they stay as they are.
    Unsaid,
    /// There are none.
    Removed,
    From(S),
}

/// The source of a provider's API key.
pub type ApiKey = Secrets<SecretSource>;
/// The sources of its secret headers, by their names.
pub type SecretHeaders = Secrets<BTreeMap<String, SecretSource>>;

impl ApiKey {
    /// Reads the field. `folder` is that of the file.
    ///
    /// Errors: it is not of this form. The reason does not repeat what is there, which may be a secret.
    pub fn read(node: &Node, folder: &Path) -> Result<Self, &'static str> {
        if node.value == NodeValue::Null {
            return Ok(Self::Removed);
        }
        SecretSource::of(node, folder).map(Self::From)
    }
}

impl SecretHeaders {
    /// Reads the field. The names are in lower case, as the gateway has them.
    ///
    /// Errors: as for an API key; two of the names are one.
    pub fn read(node: &Node, folder: &Path) -> Result<Self, &'static str> {
        let members = match &node.value {
            NodeValue::Null => return Ok(Self::Removed),
            NodeValue::Map(members) if members.is_empty() => return Ok(Self::Removed),
            NodeValue::Map(members) => members,
            NodeValue::Boolean(_) | NodeValue::Number(_) | NodeValue::Text(_) | NodeValue::List(_) => {
                return Err(HEADERS_FORM);
            }
        };
        let mut sources = BTreeMap::new();
        for member in members {
            let source = SecretSource::of(&member.node, folder)?;
            if sources.insert(member.name.to_ascii_lowercase(), source).is_some() {
                return Err("has a header twice: names of headers ignore case");
            }
        }
        Ok(Self::From(sources))
    }
}

impl SecretSource {
    fn of(node: &Node, folder: &Path) -> Result<Self, &'static str> {
        let NodeValue::Map(members) = &node.value else { return Err(FORM) };
        let [member] = &members[..] else { return Err(FORM) };
        let text = member.node.text().filter(|text| !text.is_empty() && !text.contains('\0')).ok_or(FORM)?;
        match &*member.name {
            ENV if text.contains('=') => Err(FORM),
            ENV if text.starts_with("LEDGERWAY_") => Err(OF_THE_GATEWAY),
            ENV => Ok(Self::Variable(text.to_owned())),
            FILE => Ok(Self::File(folder.join(text))),
            _ => Err(FORM),
        }
    }
}

/// The gateway's own secrets, which are not sent to providers.
#[derive(Clone, Copy, Debug)]
pub struct OwnSecrets<'a> {
    /// The data folder of the gateway.
    pub data: &'a Path,
    /// The key that `apply` itself uses.
    pub key: Option<&'a Secret>,
}

impl OwnSecrets<'_> {
    /// Whether this file is in the data folder of a gateway: this one's, or another's.
    fn has_file(self, path: &Path) -> bool {
        let canonical = |path: &Path| path.canonicalize().ok();
        canonical(path).is_some_and(|path| {
            let is_beside = |name: &str| path.with_file_name(name).exists();
            canonical(self.data).is_some_and(|data| path.starts_with(data))
                || [LEDGER_FILE, node_key::FILE].into_iter().any(is_beside)
        })
    }

    /// The name of the gateway's own secret that equals this one or a word of it, such as what follows `Bearer`; `None` if there is
    /// none. The secret itself is compared: it may have been copied, or be in a file that is mounted twice.
    fn name_of(self, secret: &str) -> Option<String> {
        let has = |own: &str| own == secret || secret.split_whitespace().any(|word| word == own);
        let is_in_file = |path: &Path| file_text(path).is_ok_and(|text| has(text.trim()));
        let value = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_in_variable =
            |name: &str| value(name).is_some_and(|value| value.to_str().is_some_and(|text| has(text.trim())));
        let of_settings = setting::ALL.iter().filter(|setting| setting.holds_secret()).find_map(|setting| {
            let file = setting.file_variable();
            if is_in_variable(setting.variable) {
                return Some(setting.variable.to_owned());
            }
            value(&file).is_some_and(|path| is_in_file(Path::new(&path))).then_some(file)
        });
        let of_database = || is_in_variable(PG_PASSWORD).then(|| PG_PASSWORD.to_owned());
        let of_run = || self.key.is_some_and(|key| has(key.reveal())).then(|| "the key that apply uses".to_owned());
        let is_of_folder = |name: &&str| is_in_file(&self.data.join(name));
        let of_folder = || {
            [node_key::FILE, operator_key::FILE, DEV_KEY_FILE]
                .into_iter()
                .find(is_of_folder)
                .map(|name| format!("{name} in the data folder"))
        };
        of_settings.or_else(of_database).or_else(of_folder).or_else(of_run)
    }
}

impl SecretSource {
    /// Errors: there is none. The reason names where it was looked for, never what is there.
    pub fn read(&self, own: OwnSecrets<'_>) -> Result<Secret, String> {
        let found = match self {
            Self::Variable(name) => match std::env::var_os(name) {
                None => return Err("is not set".to_owned()),
                Some(value) => value.into_string().map_err(|_| "is not UTF-8".to_owned())?,
            },
            Self::File(path) if own.has_file(path) => return Err(OF_A_DATA_FOLDER.to_owned()),
            Self::File(path) => file_text(path)?,
        };
        let secret = found.trim();
        if secret.is_empty() {
            return Err("is empty".to_owned());
        }
        match own.name_of(secret) {
            Some(name) => Err(format!(
                "has the same secret as {name}: it is the gateway's own, and must not be sent to a provider; name the provider's own key"
            )),
            None => Ok(Secret::new(secret)),
        }
    }
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

    fn nothing() -> OwnSecrets<'static> {
        OwnSecrets { data: Path::new("/no/such/folder"), key: None }
    }

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
    fn each_secret_header_is_named_and_never_written_out() {
        let read = |text: &str| {
            let node = documents(text).expect("YAML").pop().unwrap_or(Node { line: 1, value: NodeValue::Null });
            SecretHeaders::read(&node, Path::new("/etc/ledgerway"))
        };
        let sources = [
            ("x-auth".to_owned(), SecretSource::Variable("AUTH".to_owned())),
            ("x-key".to_owned(), SecretSource::File(PathBuf::from("/etc/ledgerway/key"))),
        ];
        assert_eq!(read("{X-Auth: {env: AUTH}, x-key: {file: key}}"), Ok(SecretHeaders::From(sources.into())));
        assert_eq!((read("~"), read("{}")), (Ok(SecretHeaders::Removed), Ok(SecretHeaders::Removed)));
        for wrong in ["sk-1", "{x-auth: sk-1}", "{x-auth: ~}", "[sk-1]", "{x-auth: {env: A}, X-Auth: {env: A}}"] {
            assert!(read(wrong).is_err_and(|reason| !reason.contains("sk-1")), "{wrong}");
        }
    }

    #[test]
    fn a_secret_of_the_gateway_is_found_behind_a_scheme() {
        let (folder, data) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::fs::write(data.path().join(operator_key::FILE), "sk-2\n").expect("a file");
        let key = Secret::new("sk-1");
        let own = OwnSecrets { data: data.path(), key: Some(&key) };
        let read = |value: &str| {
            std::fs::write(folder.path().join("header"), value).expect("a file");
            SecretSource::File(folder.path().join("header")).read(own)
        };
        for (value, name) in [
            ("Bearer sk-1\n", "the key that apply uses"),
            ("Bearer  sk-2", "admin.key in the data folder"),
            ("Key sk-2 of the gateway", "admin.key in the data folder"),
        ] {
            let refused = read(value).expect_err("refused");
            assert!(refused.starts_with(&format!("has the same secret as {name}: ")), "{value}: {refused}");
        }
        assert_eq!(read("Bearer sk-12").expect("another secret").reveal(), "Bearer sk-12");
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
            let of_folder = OwnSecrets { data: folder.path(), ..nothing() };
            assert_eq!(source.read(of_folder).expect_err("refused"), OF_A_DATA_FOLDER);
            let of_key = OwnSecrets { key: Some(&Secret::new("sk-1")), ..nothing() };
            assert_eq!(
                source.read(of_key).expect_err("refused"),
                "has the same secret as the key that apply uses: it is the gateway's own, and must not be sent to a provider; name the provider's own key"
            );
            assert_eq!(source.read(nothing()).expect("a secret").reveal(), "sk-1");
            std::fs::write(folder.path().join(LEDGER_FILE), "").expect("a file");
            assert_eq!(source.read(nothing()).expect_err("refused"), OF_A_DATA_FOLDER);
            std::fs::remove_file(folder.path().join(LEDGER_FILE)).expect("a file");
        }
        let data = tempfile::tempdir().expect("a folder");
        std::fs::write(data.path().join(node_key::FILE), "sk-1").expect("a file");
        let said = file("key").read(OwnSecrets { data: data.path(), ..nothing() }).expect_err("a copy is refused");
        assert!(said.starts_with("has the same secret as node.key in the data folder: "), "{said}");
        std::fs::write(folder.path().join("empty"), " \n").expect("a file");
        std::fs::write(folder.path().join("large"), vec![b'k'; 65 * 1024]).expect("a file");
        for (source, reason) in [
            (file("empty"), "is empty"),
            (file("large"), "has more than 64 KiB"),
            (SecretSource::File(folder.path().to_owned()), "is not a file"),
            (SecretSource::Variable("NO_SUCH_VARIABLE_OF_TESTS".to_owned()), "is not set"),
        ] {
            assert_eq!(source.read(nothing()).expect_err("refused"), reason);
        }
    }
}
