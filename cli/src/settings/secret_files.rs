//! Secrets in files, as orchestrators mount them: `LEDGERWAY_NODE_KEY_FILE` names a file with what `LEDGERWAY_NODE_KEY` would be.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrets::Secret;

use super::setting::{ALL, Advice, Setting, WrongConfig};

/// Longer than any secret.
const BYTES_MAX: u64 = 64 * 1024;

/// The secrets that variables name files of, by the variables that they stand for.
#[derive(Debug, Default)]
pub struct SecretFiles {
    secrets: BTreeMap<&'static str, Secret>,
}

impl SecretFiles {
    /// Reads every file that a variable names.
    ///
    /// Errors: a file cannot be read or has no secret, or the secret is given by its own variable, too.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, WrongConfig> {
        let mut secrets = BTreeMap::new();
        for setting in ALL.iter().filter(|setting| setting.is_secret) {
            let name = setting.file_variable();
            let Some(path) = variable(&name) else { continue };
            if variable(setting.variable).is_some_and(|value| !value.is_empty()) {
                let problem = format!("is set, and so is {}", setting.variable);
                return Err(WrongConfig { name, problem, advice: Advice::Unset });
            }
            let secret = read_file(&path).map_err(|problem| wrong(setting, name, problem))?;
            secrets.insert(setting.variable, secret);
        }
        Ok(Self { secrets })
    }

    /// The secret that a file has in place of a variable.
    pub fn get(&self, variable: &str) -> Option<&Secret> {
        self.secrets.get(variable)
    }
}

fn wrong(setting: &Setting, name: String, problem: String) -> WrongConfig {
    let file = setting.variable.trim_start_matches(super::setting::PREFIX).to_ascii_lowercase();
    let advice = Advice::Example(format!("{name}=/run/secrets/{file}"));
    WrongConfig { name, problem, advice }
}

/// True if this is a file or a place for one, and not a secret that was given in place of its name.
pub fn is_plainly_path(path: &Path) -> bool {
    // Secrets can have slashes, also as their first character.
    let folder = path.parent().filter(|folder| folder.parent().is_some());
    path.exists() || folder.is_some_and(Path::is_dir)
}

/// The secret in a file, without surrounding white space.
fn read_file(path: &str) -> Result<Secret, String> {
    if path.is_empty() {
        return Err("is empty, and names no file".to_owned());
    }
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(format!("names {path:?}, which is not text")),
        Err(error) if is_plainly_path(Path::new(path)) => {
            Err(format!("names {path:?}, which cannot be read ({error})"))
        }
        Err(error) => Err(format!(
            "names a file that cannot be read ({error}); its name is not shown, because it may be the secret itself"
        )),
        Ok(bytes) if bytes as u64 > BYTES_MAX => Err(format!("names {path:?}, which is too long for a secret")),
        Ok(_) if text.trim().is_empty() => Err(format!("names {path:?}, which is empty")),
        Ok(_) => Ok(Secret::new(text.trim())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NAME: &str = "LEDGERWAY_NODE_KEY";
    const FILE_NAME: &str = "LEDGERWAY_NODE_KEY_FILE";

    fn read(given: &[(&str, &str)]) -> Result<SecretFiles, String> {
        let variable =
            |asked: &str| given.iter().find(|(name, _)| *name == asked).map(|(_, value)| (*value).to_owned());
        SecretFiles::read(variable).map_err(|wrong| wrong.to_string())
    }

    /// Holds: bin.secret-files
    #[test]
    fn a_file_has_the_secret_without_its_line_end_and_a_wrong_one_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("a file");
            path.to_str().expect("a path").to_owned()
        };
        let good = file("good", b"  secret-of-the-node\r\n");
        let files = read(&[(FILE_NAME, &good)]).expect("a secret");
        assert_eq!(files.get(NAME).map(Secret::reveal), Some("secret-of-the-node"));
        assert!(files.get("LEDGERWAY_ADMIN_KEY").is_none());
        // A variable that is set to nothing, as a template leaves it, is not set.
        assert!(read(&[(NAME, ""), (FILE_NAME, &good)]).is_ok());
        let both = read(&[(NAME, "another"), (FILE_NAME, &good)]).expect_err("two secrets");
        assert_eq!(both, format!("{FILE_NAME} is set, and so is {NAME}, so unset it"));
        let too_long = file("long", &[b'a'; BYTES_MAX as usize + 1]);
        for (path, problem) in [
            ("", "is empty, and names no file"),
            (&file("empty", b"\n"), "which is empty"),
            (&file("binary", b"\xff\xfe"), "which is not text"),
            (&too_long, "which is too long for a secret"),
            ("/nowhere/at/all", "names a file that cannot be read"),
            (folder.path().to_str().expect("a path"), "which cannot be read"),
            (folder.path().join("typo").to_str().expect("a path"), "/typo\", which cannot be read"),
        ] {
            let wrong = read(&[(FILE_NAME, path)]).expect_err("it is wrong");
            assert!(wrong.starts_with(FILE_NAME) && wrong.contains(problem), "{wrong}");
            assert!(wrong.ends_with("for example LEDGERWAY_NODE_KEY_FILE=/run/secrets/node_key"), "{wrong}");
        }
    }

    /// Holds: bin.secret-files
    #[test]
    fn a_secret_in_place_of_the_name_of_its_file_is_not_repeated() {
        for secret in [
            "4f1f0c2f7a5b4d0e8c1b2a3948576a6b4f1f0c2f7a5b4d0e8c1b2a3948576a6b",
            "kJ3/x0aQ9+Zr1nV8bT5yU2wE7oP4sD6g=",
            "/J3kx0aQ9+Zr1nV8bT5yU2wE7oP4sD6g=",
            "postgres://ledgerway:password@db.internal/ledgerway",
        ] {
            let wrong = read(&[(FILE_NAME, secret)]).expect_err("no such file");
            assert!(wrong.starts_with(FILE_NAME) && !wrong.contains(secret), "{wrong}");
        }
    }
}
