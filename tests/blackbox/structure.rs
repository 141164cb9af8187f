//! What the tree promises of itself: which rooms know what.

use std::fs;
use std::path::{Path, PathBuf};

/// The engine of the log, and the views: all that knows SQLite.
const DATABASES: [&str; 2] = ["events/src/log/engine/sqlite", "projections/src/views"];
const CRATES: [&str; 6] = ["events", "projections", "command", "query", "openapi", "."];
/// How a statement begins, in a text or a file of its own.
const STATEMENTS: [&str; 7] = ["\"SELECT ", "\"INSERT ", "\"UPDATE ", "\"DELETE ", "\"CREATE ", "\"WITH ", "\"PRAGMA "];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, by its path from the root.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path.strip_prefix(root()).expect("below the root").to_owned());
        }
    }
}

fn names_a_database(path: &Path) -> bool {
    if path.extension().is_some_and(|extension| extension == "sql") {
        return true;
    }
    let text = fs::read_to_string(root().join(path)).expect("a file of text");
    text.contains("rusqlite") || STATEMENTS.iter().any(|statement| text.contains(statement))
}

#[test]
fn the_log_and_the_views_alone_know_sql() {
    let mut sources = Vec::new();
    for member in CRATES {
        files(&root().join(member).join("src"), &mut sources);
    }
    let is_of_a_database = |path: &Path| {
        DATABASES.iter().any(|database| path.to_string_lossy().trim_start_matches("./").starts_with(database))
    };
    let (inside, outside): (Vec<&PathBuf>, Vec<&PathBuf>) = sources.iter().partition(|path| is_of_a_database(path));
    assert!(
        inside.iter().filter(|path| names_a_database(path)).count() > 50,
        "the databases are looked for where they are"
    );
    let strangers: Vec<&&PathBuf> = outside.iter().filter(|path| names_a_database(path)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    for member in ["command", "openapi", "query"] {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
        assert!(!manifest.contains("rusqlite"), "{member}");
    }
}
