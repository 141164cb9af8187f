//! The map of `docs/ARCHITECTURE.md`: a row for each crate and each folder at the root, with the crates that it imports. The other
//! tests of the structure go by its rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use super::{dependencies, package, root};

const PAGE: &str = "docs/ARCHITECTURE.md";
/// The header of its tables: crates that are shipped, and the other folders.
const HEADER: &str = "| folder | what | imports |";
/// The only folder with a third level.
const DEEP: &str = "command/dialects/";

/// A crate of the map.
struct MappedCrate {
    /// Its folder; `.` for the binary, whose code is in `src/`.
    member: String,
    /// The crates of the workspace that it imports, by their names in `Cargo.toml` and in their order.
    imports: Vec<String>,
}

/// A folder with its row.
struct Entry {
    folder: String,
    is_shipped: bool,
    line: String,
}

impl Entry {
    /// `None` for a folder that is no crate.
    fn mapped_crate(&self) -> Option<MappedCrate> {
        let cell = self.line.split('|').nth(3).expect("a third column").trim();
        let member = if self.folder == "src" { ".".to_owned() } else { self.folder.clone() };
        let mut imports: Vec<String> = match cell {
            "" => return None,
            "nothing" | "–" => Vec::new(),
            names => names.split(' ').map(|name| package(name).to_owned()).collect(),
        };
        if self.is_shipped && cell != "nothing" {
            imports.push("events".to_owned());
        }
        imports.sort();
        Some(MappedCrate { member, imports })
    }
}

/// The crates that are shipped.
static SHIPPED: LazyLock<Vec<MappedCrate>> =
    LazyLock::new(|| entries().iter().filter(|entry| entry.is_shipped).filter_map(Entry::mapped_crate).collect());

/// The folders of the crates that are shipped; `.` is the binary.
pub fn shipped() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|mapped| mapped.member.as_str())
}

fn all_crates() -> Vec<MappedCrate> {
    entries().iter().filter_map(Entry::mapped_crate).collect()
}

/// Every folder of the map, in its order.
fn entries() -> Vec<Entry> {
    let page = fs::read_to_string(root().join(PAGE)).expect("the page");
    let tables = page.split(HEADER).skip(1).enumerate().flat_map(|(table, text)| {
        let lines = text.lines().skip(2).take_while(|line| line.starts_with('|'));
        lines.map(move |line| (table == 0, line))
    });
    let of_row = |(is_shipped, line): (bool, &str)| {
        let cell = line.split('|').nth(1).expect("a first column");
        let folders = cell.split('`').skip(1).step_by(2).flat_map(expanded);
        let entry = |folder: String| Entry {
            folder: folder.strip_suffix('/').expect("a folder ends with a slash").to_owned(),
            is_shipped,
            line: line.to_owned(),
        };
        folders.map(entry).collect::<Vec<_>>()
    };
    tables.flat_map(of_row).collect()
}

/// `a/{b,c}/` is `a/b/` and `a/c/`.
fn expanded(folders: &str) -> Vec<String> {
    let Some((before, rest)) = folders.split_once('{') else { return vec![folders.to_owned()] };
    let (names, after) = rest.split_once('}').expect("a closing brace");
    names.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

/// The folders at the root, without those that are ignored.
fn top_folders() -> BTreeSet<String> {
    let ignored = fs::read_to_string(root().join(".gitignore")).expect("what is ignored");
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).chain([".git"]).collect();
    let entries = fs::read_dir(root()).expect("the root").map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !ignored.contains(&name.as_str())).collect()
}

/// The members of the workspace, the root included.
fn members() -> BTreeSet<String> {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = ")).expect("its members");
    members.split('"').skip(1).step_by(2).chain(["."]).map(str::to_owned).collect()
}

#[test]
fn the_map_has_every_crate_and_every_folder_at_the_root_once() {
    let entries = entries();
    let folders: BTreeSet<&str> = entries.iter().map(|entry| entry.folder.as_str()).collect();
    let mut twice: Vec<&str> = entries.iter().map(|entry| entry.folder.as_str()).collect();
    for folder in &folders {
        let at = twice.iter().position(|other| other == folder).expect("it is there");
        twice.remove(at);
    }
    assert!(twice.is_empty(), "{PAGE} has two rows for {twice:?}");
    let missing: Vec<&&str> = folders.iter().filter(|folder| !root().join(folder).is_dir()).collect();
    assert!(missing.is_empty(), "{PAGE} has rows for folders that are not there: {missing:?}");
    let mapped: BTreeSet<String> = all_crates().into_iter().map(|mapped| mapped.member).collect();
    let differing: Vec<String> = mapped.symmetric_difference(&members()).cloned().collect();
    assert!(differing.is_empty(), "the crates of {PAGE} and the members in Cargo.toml differ: {differing:?}");
    let top: BTreeSet<String> =
        folders.iter().filter(|folder| !folder.contains('/')).map(|&name| name.into()).collect();
    let differing: Vec<String> = top.symmetric_difference(&top_folders()).cloned().collect();
    assert!(differing.is_empty(), "{PAGE} has no row for these folders at the root: {differing:?}");
}

#[test]
fn crates_import_what_the_map_says() {
    let crates = all_crates();
    let ours: BTreeSet<&str> = crates.iter().map(|mapped| package(&mapped.member)).collect();
    for MappedCrate { member, imports } in &crates {
        let known = dependencies(member).into_iter().filter(|name| ours.contains(name.as_str()));
        assert_eq!(&known.collect::<Vec<_>>(), imports, "{member}: its Cargo.toml, and its row in {PAGE}");
    }
    let is_shipped = |name: &str| shipped().any(|member| package(member) == name);
    for MappedCrate { member, imports } in SHIPPED.iter() {
        assert!(imports.iter().all(|name| is_shipped(name)), "{member} imports what is not shipped: {imports:?}");
    }
}

/// The parts of a crate are listed in the crate.
#[test]
fn the_map_names_folders_of_two_levels_and_no_files() {
    for Entry { folder, line, .. } in entries() {
        let is_deep = Path::new(&folder).components().count() > 2;
        assert!(!is_deep || folder.starts_with(DEEP), "{PAGE}: {folder}");
        let file = [".rs", ".sql", ".toml", ".py"].into_iter().find(|ending| line.contains(ending));
        assert!(file.is_none(), "{PAGE}: {line}");
    }
}

/// The image is built from the folders that its `.dockerignore` lets through: Cargo reads every member.
#[test]
fn an_image_is_built_from_every_crate() {
    let read = fs::read_to_string(root().join("compose/Dockerfile.dockerignore")).expect("what an image is built from");
    let read: BTreeSet<&str> = read.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let members = members();
    let folders = members.iter().filter(|member| *member != ".").filter_map(|member| member.split('/').next());
    let missing: BTreeSet<&str> = folders.chain(["src"]).filter(|folder| !read.contains(folder)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
