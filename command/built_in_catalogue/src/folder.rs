//! The catalogue in a data folder, which takes the place of the shipped one.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use events::private::{self, ReplaceError};

use crate::catalogue::{Catalogue, InvalidCatalogue, TEXT_LEN_MAX};

/// The file in the data folder.
pub const CATALOGUE_FILE: &str = "catalogue.json";

/// The most characters that are printed of what is wrong with a file.
const WARNING_CHARS_MAX: usize = 400;

/// A file that is no catalogue, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableCatalogue {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a regular file", path = .path.display())]
    NoFile { path: PathBuf },
    #[error("{path} is not a catalogue: it is not UTF-8", path = .path.display())]
    NotText { path: PathBuf },
    #[error("{path} {source}", path = .path.display())]
    Invalid { path: PathBuf, source: InvalidCatalogue },
    #[error("the catalogue in the database {0}")]
    InDatabase(InvalidCatalogue),
}

/// The catalogue that is used with a data folder or a database.
#[derive(Debug)]
pub struct InForce {
    pub catalogue: Cow<'static, Catalogue>,
    /// Why the other document is not used, if it cannot be. The shipped one takes its place: a price that is not the
    /// newest is better than none, and better than one that may be wrong.
    pub unusable: Option<UnreadableCatalogue>,
}

impl InForce {
    /// The catalogue of this version of the gateway.
    pub fn shipped() -> Self {
        Self { catalogue: Cow::Borrowed(Catalogue::shipped()), unusable: None }
    }

    /// The models, prices and aliases of another catalogue, unless the shipped one is newer. Providers are always those of the
    /// shipped one.
    fn unless_older(other: Catalogue) -> Self {
        let shipped = Catalogue::shipped();
        if other.version() < shipped.version() {
            return Self::shipped();
        }
        Self { catalogue: Cow::Owned(other.with_providers_of(shipped)), unusable: None }
    }

    /// A sentence on the file that is not used, and on what is, for whoever looks after the gateway.
    pub fn warning(&self) -> Option<String> {
        let unusable = self.unusable.as_ref()?;
        let why: String = unusable.to_string().chars().filter(|c| !c.is_control()).take(WARNING_CHARS_MAX).collect();
        Some(format!("{why}: the catalogue of {} is used, which is part of the binary", self.catalogue.version()))
    }
}

/// The catalogue of a data folder: the models, prices and aliases of the file in it, unless the shipped one is newer, or else
/// the shipped one. Providers are always those of the shipped one.
pub fn in_force(dir: &Path) -> InForce {
    match read_folder(dir) {
        Ok(Some((catalogue, _))) => InForce::unless_older(catalogue),
        Ok(None) => InForce::shipped(),
        Err(error) => InForce { unusable: Some(error), ..InForce::shipped() },
    }
}

/// The catalogue of nodes that share this document: its models, prices and aliases, unless the shipped one is newer.
pub fn in_force_of_document(text: &str) -> InForce {
    match Catalogue::parse(text) {
        Ok(catalogue) => InForce::unless_older(catalogue),
        Err(error) => InForce { unusable: Some(UnreadableCatalogue::InDatabase(error)), ..InForce::shipped() },
    }
}

/// The catalogue in a data folder, and its text; `None` if there is no such file.
pub fn read_folder(dir: &Path) -> Result<Option<(Catalogue, String)>, UnreadableCatalogue> {
    let path = dir.join(CATALOGUE_FILE);
    match check_file(&path).and_then(|()| read_file(&path)) {
        Ok(read) => Ok(Some(read)),
        Err(UnreadableCatalogue::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Errors: it is no regular file. A pipe, for example, would be waited for without end.
fn check_file(path: &Path) -> Result<(), UnreadableCatalogue> {
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(UnreadableCatalogue::NoFile { path: path.to_owned() }),
        Err(source) => Err(UnreadableCatalogue::Read { path: path.to_owned(), source }),
    }
}

/// Why a catalogue does not take the place of the one in force: it is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Older {
    /// Older than the shipped one, which would stay in force.
    #[error(
        "is a catalogue of {version}, and this version of the gateway has one of {shipped}, which would stay in force"
    )]
    ThanShipped { version: NaiveDate, shipped: NaiveDate },
    /// Older than the one in force. It is taken if the import is forced.
    #[error("is a catalogue of {version}, and the one in force is of {in_force}")]
    ThanInForce { version: NaiveDate, in_force: NaiveDate },
}

/// Checks that a catalogue is not older than the shipped one, nor than the one in force.
pub fn check_age(newer: &Catalogue, in_force: &Catalogue) -> Result<(), Older> {
    let (version, in_force, shipped) = (newer.version(), in_force.version(), Catalogue::shipped().version());
    if version < shipped {
        return Err(Older::ThanShipped { version, shipped });
    }
    if version < in_force { Err(Older::ThanInForce { version, in_force }) } else { Ok(()) }
}

/// The catalogue in a file, and its text.
pub fn read_file(path: &Path) -> Result<(Catalogue, String), UnreadableCatalogue> {
    let text = read_text(path).map_err(|source| UnreadableCatalogue::Read { path: path.to_owned(), source })?;
    let text = String::from_utf8(text).map_err(|_| UnreadableCatalogue::NotText { path: path.to_owned() })?;
    let parsed = Catalogue::parse(&text);
    let catalogue = parsed.map_err(|source| UnreadableCatalogue::Invalid { path: path.to_owned(), source })?;
    Ok((catalogue, text))
}

/// At most one byte more than a catalogue may have, whatever the file is.
fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(TEXT_LEN_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Writes the text of a catalogue into a data folder (0600). A crash leaves the old file or the new one.
///
/// Errors: with [`ReplaceError::NotSynced`], the new one is in force.
pub fn write(dir: &Path, text: &str) -> Result<(), ReplaceError> {
    private::replace(&dir.join(CATALOGUE_FILE), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OLD: &str = r#"{"schema":1,"version":"2020-01-01","sources":[],"providers":[],"models":[],"aliases":{}}"#;

    #[test]
    fn the_file_in_the_folder_is_in_force_unless_the_shipped_one_is_newer() {
        let folder = tempfile::tempdir().expect("a folder");
        let models = || {
            let InForce { catalogue, unusable } = in_force(folder.path());
            (catalogue.models().len(), unusable.map(|error| error.to_string()))
        };
        let shipped = Catalogue::shipped().models().len();
        assert_eq!(models(), (shipped, None));
        write(folder.path(), OLD).expect("written");
        assert_eq!(models(), (shipped, None));
        let same_day = OLD.replace("2020-01-01", &Catalogue::shipped().version().to_string());
        write(folder.path(), &same_day).expect("replaced");
        assert_eq!(models(), (0, None));
        assert_eq!(in_force(folder.path()).catalogue.providers(), Catalogue::shipped().providers());
        write(folder.path(), "{}").expect("replaced");
        let (used, why) = models();
        let why = why.expect("no catalogue");
        assert!(used == shipped && why.contains(CATALOGUE_FILE) && why.contains("is not a catalogue"), "{why}");
        let file = folder.path().join(CATALOGUE_FILE);
        fs::remove_file(&file).expect("it was there");
        fs::create_dir(&file).expect("a folder");
        let (used, why) = models();
        assert!(used == shipped && why.is_some_and(|why| why.ends_with("is not a regular file")));
    }

    #[test]
    fn only_the_owner_can_read_what_is_written_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("catalogue.json-next"), "left by a crash").expect("a file");
        write(folder.path(), OLD).expect("written");
        let files: Vec<_> =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file")).collect();
        assert_eq!(files.iter().map(fs::DirEntry::file_name).collect::<Vec<_>>(), [CATALOGUE_FILE]);
        let mode = files[0].metadata().expect("its mode").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_too_large_or_no_text_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        fs::write(&path, [0xff, 0xfe]).expect("a file");
        assert!(read_file(&path).is_err_and(|error| error.to_string().ends_with("it is not UTF-8")));
        File::create(&path).expect("a file").set_len(TEXT_LEN_MAX as u64 + 1).expect("a long one");
        assert!(read_file(&path).is_err_and(|error| error.to_string().ends_with("is larger than 16 MiB")));
        assert!(read_file(folder.path()).is_err_and(|error| error.to_string().starts_with("cannot read ")));
    }
}
