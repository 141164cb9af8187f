//! Which code may know which dialect, held by a look at the sources: outside of the dialects nothing asks which kind a
//! provider or a surface is, and inside of them neither side knows the other.

use std::fs;
use std::path::{Path, PathBuf};

/// Enums of dialects. Their values are carried about everywhere; which one it is, is asked here alone.
const ENUMS: [&str; 4] = ["ProviderKind", "Surface", "ErrorForm", "Passthrough"];
const SOURCES: [&str; 10] = [
    "command/src",
    "command/access/src",
    "command/dialects/src",
    "command/secrets/src",
    "command/upstream/src",
    "query/src",
    "projections/src",
    "events/src",
    "openapi/src",
    "src",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All code below a folder that is no test, by the path of its file.
fn sources(folder: &str) -> Vec<(String, String)> {
    let (mut folders, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).expect("ours").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("a source");
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                found.push((name, code.to_owned()));
            }
        }
    }
    let is_test = |name: &str| ["/tests/", "/tests.rs", "/fuzz/", "/fuzz.rs"].iter().any(|part| name.contains(part));
    found.retain(|(name, _)| !is_test(name));
    assert!(!found.is_empty(), "{folder}");
    found
}

/// Whether a variant of the enum, or all of them, is named.
fn names_a_variant(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let is_whole = !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let Some(variant) = line[at + name.len()..].strip_prefix("::") else { return false };
        let mut letters = variant.chars();
        is_whole
            && match letters.next() {
                Some('{' | '*') => true,
                // What goes on in capitals is a constant.
                Some(first) => first.is_uppercase() && letters.next().is_some_and(char::is_lowercase),
                None => false,
            }
    })
}

/// `file: line` of all lines that name a variant.
fn asking(sources: &[(String, String)]) -> Vec<String> {
    let asks =
        |line: &&str| !line.trim_start().starts_with("//") && ENUMS.iter().any(|name| names_a_variant(line, name));
    let lines = |(name, code): &(String, String)| {
        code.lines().filter(asks).map(|line| format!("{name}: {}", line.trim())).collect::<Vec<_>>()
    };
    sources.iter().flat_map(lines).collect()
}

#[test]
fn nothing_outside_of_the_dialects_asks_for_a_kind_or_a_surface() {
    let (inside, outside): (Vec<_>, Vec<_>) =
        SOURCES.into_iter().flat_map(sources).partition(|(name, _)| name.starts_with("command/dialects/src/"));
    assert_eq!(asking(&outside), Vec::<String>::new());
    // The look itself finds what there is.
    assert!(asking(&inside).iter().any(|line| line.contains("Surface::OpenAi")), "{inside:?}");
}

#[test]
fn surfaces_and_upstreams_do_not_know_each_other_and_the_hub_knows_neither() {
    let is_in = |name: &str, part: &str| {
        let part = format!("command/dialects/src/{part}");
        name == format!("{part}.rs") || name.starts_with(&format!("{part}/"))
    };
    let files = sources("command/dialects/src");
    for (part, others) in [
        ("surfaces", ["upstreams::", "relay::"].as_slice()),
        ("upstreams", &["surfaces::", "relay::"]),
        ("chat", &["surfaces::", "upstreams::", "passthrough"]),
        ("delta", &["surfaces::", "upstreams::", "passthrough"]),
        ("json", &["surfaces::", "upstreams::", "passthrough"]),
        ("sse", &["surfaces::", "upstreams::", "passthrough"]),
    ] {
        let mut its_own = files.iter().filter(|(name, _)| is_in(name, part)).peekable();
        assert!(its_own.peek().is_some(), "{part}");
        for (name, code) in its_own {
            for other in others {
                assert!(!code.contains(other), "{name} knows of {other}");
            }
        }
    }
}
