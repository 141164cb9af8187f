//! The files that are read: one, all YAML files of a folder in the order of their names, or standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

const FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
const FILES_MAX: usize = 1000;
/// The most bytes of all files together.
pub const FILES_BYTES_MAX: usize = 32 * 1024 * 1024;
const STDIN: &str = "-";

/// A file that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name as it is shown.
    pub name: Rc<str>,
    /// The folder at which relative paths in it begin.
    pub folder: PathBuf,
    pub text: String,
}

/// Reads the file or folder.
///
/// Errors: a sentence.
pub fn read(path: &Path) -> Result<Vec<SourceFile>, String> {
    if path == Path::new(STDIN) {
        let text = text_of(io::stdin().lock()).map_err(|reason| format!("standard input {reason}"))?;
        return Ok(vec![SourceFile { name: "standard input".into(), folder: PathBuf::from("."), text }]);
    }
    let paths = paths(path)?;
    let files: Vec<SourceFile> = paths.iter().map(|path| read_file(path)).collect::<Result<_, _>>()?;
    if files.iter().map(|file| file.text.len()).sum::<usize>() > FILES_BYTES_MAX {
        return Err(format!("the files in {} have more than {} MiB", path.display(), FILES_BYTES_MAX >> 20));
    }
    Ok(files)
}

/// The files that are read: the file, or those of the folder.
///
/// Errors: a sentence.
pub fn paths(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let paths = yaml_files(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match paths.len() {
        0 => Err(format!("{} has no file that ends in .yaml or .yml", path.display())),
        count if count > FILES_MAX => Err(format!("{} has more than {FILES_MAX} files", path.display())),
        _ => Ok(paths),
    }
}

fn yaml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_yaml && !is_hidden && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<SourceFile, String> {
    let shown = path.display();
    if path.exists() && !path.is_file() {
        return Err(format!("{shown} is neither a file nor a folder"));
    }
    let file = File::open(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = text_of(file).map_err(|reason| format!("{shown} {reason}"))?;
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(SourceFile { name: shown.to_string().into(), folder, text })
}

fn text_of(source: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len > FILE_BYTES_MAX) {
        return Err(format!("has more than {} MiB", FILE_BYTES_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_files_of_a_folder_are_read_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["b.yml", "a.yaml", "c.json", ".hidden.yaml"] {
            fs::write(path(name), name).expect("a file");
        }
        fs::create_dir(path("d.yaml")).expect("a folder");
        let texts: Vec<String> = read(folder.path()).expect("files").into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["a.yaml", "b.yml"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("large.yaml"), vec![b'#'; FILES_BYTES_MAX + 1]).expect("a file");
        fs::write(path("latin.yaml"), b"name: \xe4").expect("a file");
        for (path, reason) in [
            (path("large.yaml"), "large.yaml has more than 32 MiB"),
            (path("latin.yaml"), "latin.yaml is not UTF-8"),
            (path("none.yaml"), "none.yaml: No such file"),
            (PathBuf::from("/dev/zero"), "/dev/zero is neither a file nor a folder"),
        ] {
            let error = read(&path).expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
        let empty = tempfile::tempdir().expect("a folder");
        assert!(read(empty.path()).expect_err("refused").ends_with("has no file that ends in .yaml or .yml"));
    }
}
