//! The structure of the tree: which crates and modules may depend on which.

use std::fs;
use std::path::{Path, PathBuf};

mod closure;
mod comments;
mod cycles;
mod declarations;
mod dialects;
mod map;

use map::shipped;

/// The folders that may use a database: the engines of the log, the views, and their copy for analysts.
const DATABASES: [&str; 5] = [
    "log/src/engine/postgres",
    "log/src/engine/sqlite",
    "projections/src/views",
    "projections/access_log/src",
    "outlets/analysts/src",
];
/// The beginnings of SQL statements.
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
    let bytes = fs::read(root().join(path)).expect("a file");
    let text = String::from_utf8_lossy(&bytes);
    ["rusqlite", "sqlx"].iter().any(|driver| text.contains(driver))
        || STATEMENTS.iter().any(|statement| text.contains(statement))
}

#[test]
fn only_the_log_and_the_views_use_sql() {
    let mut sources = Vec::new();
    for member in shipped() {
        files(&root().join(member).join("src"), &mut sources);
    }
    let is_of_a_database = |path: &Path| {
        DATABASES.iter().any(|database| path.to_string_lossy().trim_start_matches("./").starts_with(database))
    };
    let (inside, outside): (Vec<&PathBuf>, Vec<&PathBuf>) = sources.iter().partition(|path| is_of_a_database(path));
    assert!(
        inside.iter().filter(|path| names_a_database(path)).count() > 50,
        "DATABASES names the folders of the databases"
    );
    let others: Vec<&&PathBuf> = outside.iter().filter(|path| names_a_database(path)).collect();
    assert!(others.is_empty(), "{others:?}");
    let knows_none =
        |member: &&str| !["log", "projections", "projections/access_log", "outlets/analysts", "."].contains(member);
    for member in shipped().filter(knows_none) {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
        // Tests damage a database.
        let manifest = manifest.split("[dev-dependencies]").next().expect("its beginning");
        assert!(!manifest.contains("rusqlite") && !manifest.contains("sqlx"), "{member}");
    }
}

/// The name of a crate: that of its folder, but for the log, whose name is taken by a crate that many dependencies log with.
fn package(member: &str) -> &str {
    if member == "log" { "events_log" } else { member.rsplit('/').next().unwrap_or(member) }
}

/// The names under `[dependencies]`.
fn dependencies(member: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
    let lines = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next()).map(str::to_owned).collect()
}

/// Another engine would be a folder of its own, and a line where a log is opened.
#[test]
fn the_engine_of_the_log_is_named_only_where_it_is_opened() {
    let naming = |engine: &str| {
        let folder = Path::new("log/src/engine").join(engine);
        let names = [format!("{engine}::"), format!("engine::{engine}")];
        let named = |(path, code): &(PathBuf, String)| {
            !path.with_extension("").starts_with(&folder) && names.iter().any(|name| code.contains(name))
        };
        let mut naming: Vec<String> =
            sources("log").into_iter().filter(named).map(|(path, _)| path.display().to_string()).collect();
        naming.sort();
        naming
    };
    let opened = ["log/src/lib.rs", "log/src/open.rs", "log/src/stepped.rs"];
    assert_eq!(naming("postgres"), opened);
    // A ledger is copied from one into the other.
    let copied = ["log/src/engine/postgres/copy.rs", "log/src/lib.rs", "log/src/open.rs"];
    assert_eq!(naming("sqlite"), [&copied[..], &["log/src/stepped.rs"]].concat());
}

/// A refusal is recorded by its code; the crates that serve HTTP decide on its status and its words.
#[test]
fn events_and_the_log_know_no_http() {
    for member in ["events", "log"] {
        let known = dependencies(member);
        assert!(!known.iter().any(|name| ["axum", "http", "hyper", "tower"].contains(&name.as_str())), "{known:?}");
        for (path, code) in sources(member) {
            let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let names = ["fn status", "StatusCode", "http::", "native_body", "min_position", "x-ledgerway-"];
            let named = lines.find(|line| names.iter().any(|name| line.contains(name)));
            assert_eq!(named, None, "{}", path.display());
        }
    }
}

/// The files that a file declares as tests: what is named after `#[cfg(test)]`, and what is below it.
fn declared_tests(path: &Path, text: &str) -> Vec<PathBuf> {
    let is_root = path.file_stem().is_some_and(|stem| stem == "lib" || stem == "main");
    let folder = if is_root { path.with_file_name("") } else { path.with_extension("") };
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
    declared.filter_map(|line| Some(folder.join(line.split_once("mod ")?.1))).collect()
}

/// The source files of a crate with their paths from the root, without tests.
fn sources(member: &str) -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files(&root().join(member).join("src"), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root().join(&path)).expect("a source");
        (path, text)
    };
    let mut sources: Vec<(PathBuf, String)> = paths.into_iter().map(read).collect();
    let tests: Vec<PathBuf> = sources.iter().flat_map(|(path, text)| declared_tests(path, text)).collect();
    sources.retain(|(path, _)| !tests.iter().any(|test| path.with_extension("").starts_with(test)));
    for (_, text) in &mut sources {
        text.truncate(text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len()));
    }
    assert!(!sources.is_empty(), "{member}");
    sources
}

/// A pool has bounds and turns. Without one, whoever comes first has all threads.
#[test]
fn work_that_blocks_has_a_pool() {
    let starts_some = |code: &str| {
        let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        lines.any(|line| ["spawn_blocking", "block_in_place"].iter().any(|name| line.contains(name)))
    };
    let starting = shipped().flat_map(sources).filter(|(_, code)| starts_some(code)).map(|(path, _)| path);
    assert_eq!(starting.collect::<Vec<_>>(), [Path::new("blocking_work/src/lib.rs")]);
}

/// The look-up of a name blocks for as long as a name server does not answer.
#[test]
fn names_are_looked_up_in_turns() {
    let looks_up = |code: &str| ["lookup_host", "to_socket_addrs"].iter().any(|name| code.contains(name));
    let looking = shipped().flat_map(sources).filter(|(_, code)| looks_up(code)).map(|(path, _)| path);
    let mut looking: Vec<PathBuf> = looking.collect();
    looking.sort();
    // The start looks up its own addresses.
    let at_start = Path::new("src/config/address.rs");
    let others: Vec<&PathBuf> = looking.iter().filter(|path| !path.ends_with(at_start)).collect();
    assert_eq!(others, [Path::new("names/src/lib.rs")]);
}

/// The page has each pool with its bound.
#[test]
fn the_pools_for_work_that_blocks_are_documented() {
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("the page");
    let (_, section) = page.split_once("### Pools for work that blocks\n").expect("the section");
    let rows = section.split("\n## ").next().expect("its text").lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|line| line.split('|').nth(1).expect("a first column"));
    let mut documented: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let pools = fs::read_to_string(root().join("blocking_work/src/pools.rs")).expect("the pools");
    let declared = pools.lines().filter_map(|line| line.trim().split_once(" = \"")?.1.split('"').next());
    let mut declared: Vec<&str> = declared.collect();
    documented.sort_unstable();
    declared.sort_unstable();
    assert!(declared.len() > 10);
    assert_eq!(documented, declared);
}

#[test]
fn no_crate_has_more_than_a_quarter_of_the_code() {
    let count = |member: &str| sources(member).iter().map(|(_, code)| code.lines().count()).sum::<usize>();
    let lines: Vec<(&str, usize)> = shipped().map(|member| (member, count(member))).collect();
    let quarter = lines.iter().map(|(_, lines)| lines).sum::<usize>() / 4;
    let large: Vec<_> = lines.iter().filter(|(_, lines)| *lines > quarter).collect();
    assert!(quarter > 5_000 && large.is_empty(), "a quarter is {quarter}: {lines:?}");
}
