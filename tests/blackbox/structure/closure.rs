//! Everything that a crate is built from, by the lock file: what a change of it waits for, and what it can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::map::shipped;
use super::{dependencies, package, root};

/// All crates that a crate is built from, those of others included, for every platform and with every feature that is in use.
fn closure(member: &str) -> BTreeSet<String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the lock file");
    let mut known = BTreeMap::<&str, Vec<&str>>::new();
    for package in lock.split("[[package]]\n").skip(1) {
        // Several versions of a crate count as one.
        let lines = package.lines().filter_map(|line| line.strip_prefix(" \"")?.split(['"', ' ']).next());
        let name = package.split('"').nth(1).expect("a name");
        known.entry(name).or_default().extend(lines);
    }
    let ours: BTreeMap<&str, &str> = shipped().map(|member| (package(member), member)).collect();
    let (mut found, mut left) = (BTreeSet::new(), vec![package(member).to_owned()]);
    while let Some(name) = left.pop() {
        if found.contains(&name) {
            continue;
        }
        // The lock file does not say what only tests take.
        match ours.get(name.as_str()) {
            Some(member) => left.extend(dependencies(member)),
            None => left.extend(known.get(name.as_str()).into_iter().flatten().map(|&name| name.to_owned())),
        }
        found.insert(name);
    }
    found
}

/// Events and dialects are built and tested without waiting for a database, or for the language of conditions; events run
/// without an async runtime, too.
#[test]
fn events_and_dialects_are_built_without_a_database() {
    let databases = |member: &str| {
        let mut closure = closure(member);
        closure.retain(|name| {
            ["cel", "events_log", "rusqlite"].contains(&name.as_str())
                || name.contains("sqlite")
                || name.starts_with("sqlx")
        });
        closure
    };
    for member in
        ["events", "openapi"].into_iter().chain(shipped().filter(|member| member.starts_with("command/dialects")))
    {
        assert_eq!(databases(member), BTreeSet::new(), "{member}");
    }
    assert!(!closure("events").contains("tokio"));
    // The look itself finds what there is.
    let found = databases("log");
    assert!(
        ["libsqlite3-sys", "rusqlite", "sqlx", "sqlx-postgres"].iter().all(|name| found.contains(*name)),
        "{found:?}"
    );
    assert!(closure("log").contains("tokio") && closure("command/dialects").contains("tokio"));
}
