//! Promises (`tests/promises.txt`), and the tests that hold them. A test names its promises in lines directly above its
//! attribute, `/// Holds: name, name`, or above its name in a list of `on_both_engines!`; a function of the third-party
//! clients does so in a comment. `docs/promises.md` is made of both: `UPDATE_PROMISES=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const PROMISES: &str = "tests/promises.txt";
const PAGE: &str = "docs/promises.md";
/// Folders that have no tests of ours.
const NO_TESTS: [&str; 4] = ["target", "docs", "node_modules", "migrations"];
const HEAD: &str = "\
# Guarantees and their tests

Scripts, clients and auditors can rely on these guarantees; below each are the tests that check it. This page is generated from
`tests/promises.txt` and from the lines `/// Holds: name` above the tests; a promise that no test holds fails the build.

To add one, write a line in `tests/promises.txt` and its name above the tests that hold all of its parts; then
`UPDATE_PROMISES=1 cargo nextest run -p ledgerway --test blackbox promises` writes this page.
";

struct Promise {
    section: String,
    name: String,
    sentence: String,
}

/// A test, and the promises that it names.
struct Holder {
    file: String,
    line: usize,
    function: String,
    names: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promises() -> Vec<Promise> {
    let text = fs::read_to_string(root().join(PROMISES)).expect("the promises");
    let (mut section, mut promises) = (String::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if !line.starts_with("# ") {
            let (name, sentence) = line.split_once(" | ").unwrap_or_else(|| panic!("no promise: {line}"));
            promises.push(Promise { section: section.clone(), name: name.to_owned(), sentence: sentence.to_owned() });
        }
    }
    promises
}

fn holders() -> Vec<Holder> {
    let mut files = Vec::new();
    collect(root(), &mut files);
    files.sort();
    let mut holders = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let name = file.strip_prefix(root()).expect("a file of ours").to_string_lossy().into_owned();
        let lines: Vec<&str> = text.lines().collect();
        holders.extend((0..lines.len()).filter_map(|at| holder(&name, &lines, at)));
    }
    holders
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !name.starts_with('.') && !NO_TESTS.contains(&name.as_str()) {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| ["rs", "py", "mjs"].iter().any(|other| extension == *other))
        {
            files.push(path);
        }
    }
}

/// The names on a line that names promises.
fn names_on(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start();
    let names = ["/// Holds: ", "// Holds: ", "# Holds: "].iter().find_map(|start| line.strip_prefix(start))?;
    Some(names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
}

/// The test whose names begin on this line.
fn holder(file: &str, lines: &[&str], at: usize) -> Option<Holder> {
    if at > 0 && names_on(lines[at - 1]).is_some() {
        return None;
    }
    let mut names = names_on(lines[at])?;
    let mut is_test = !file.ends_with(".rs");
    for line in &lines[at + 1..] {
        let line = line.trim_start();
        if let Some(more) = names_on(line) {
            names.extend(more);
        } else if let Some(attribute) = line.strip_prefix("#[") {
            is_test |= attribute.starts_with("test") || attribute.starts_with("tokio::test");
        } else {
            let function = function_of(line).filter(|_| is_test).or_else(|| listed(line));
            let function = function.unwrap_or_else(|| panic!("{file}:{}: names promises and is no test", at + 1));
            return Some(Holder { file: file.to_owned(), line: at + 1, function, names });
        }
    }
    panic!("{file}:{}: names promises and is no test", at + 1);
}

fn function_of(line: &str) -> Option<String> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = ["fn ", "def ", "function "].iter().find_map(|start| line.strip_prefix(start))?;
    rest.split_once('(').map(|(name, _)| name.to_owned())
}

/// The name on a line of `on_both_engines!`.
fn listed(line: &str) -> Option<String> {
    let name = line.strip_suffix(',')?;
    name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_').then(|| name.to_owned())
}

/// The page, made of both.
fn page(promises: &[Promise], holders: &[Holder]) -> String {
    let (mut page, mut section) = (HEAD.to_owned(), "");
    for promise in promises {
        if promise.section != section {
            section = &promise.section;
            page += &format!("\n## {section}\n\n");
        }
        page += &format!("- `{}`: {}\n", promise.name, promise.sentence);
        let mut tests = BTreeMap::<&str, Vec<&str>>::new();
        for holder in holders.iter().filter(|holder| holder.names.contains(&promise.name)) {
            tests.entry(&holder.file).or_default().push(&holder.function);
        }
        for (file, functions) in tests {
            let functions: Vec<String> = functions.iter().map(|function| format!("`{function}`")).collect();
            page += &format!("  - {file}: {}\n", functions.join(", "));
        }
    }
    page
}

#[test]
fn every_promise_has_one_name_and_a_test_that_holds_it() {
    let promises = promises();
    let names: BTreeSet<&str> = promises.iter().map(|promise| promise.name.as_str()).collect();
    assert_eq!(names.len(), promises.len(), "a name stands twice in {PROMISES}");
    let holders = holders();
    let held: BTreeSet<&str> = holders.iter().flat_map(|holder| &holder.names).map(String::as_str).collect();
    let not_held: Vec<&&str> = names.difference(&held).collect();
    assert!(not_held.is_empty(), "no test holds {not_held:#?}");
}

#[test]
fn every_test_names_promises_that_there_are_and_each_once() {
    let promises = promises();
    for Holder { file, line, function, names } in holders() {
        for name in &names {
            let is_there = promises.iter().any(|promise| promise.name == *name);
            assert!(is_there, "{file}:{line}: {function} names {name}, which is not in {PROMISES}");
            let times = names.iter().filter(|other| *other == name).count();
            assert_eq!(times, 1, "{file}:{line}: {function} names {name} more than once");
        }
    }
}

#[test]
fn the_page_of_promises_names_the_tests_that_there_are() {
    let wanted = page(&promises(), &holders());
    if std::env::var_os("UPDATE_PROMISES").is_some() {
        fs::write(root().join(PAGE), &wanted).expect("the page is written");
        return;
    }
    let kept = fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let (wanted_lines, kept_lines): (BTreeSet<&str>, BTreeSet<&str>) =
        (wanted.lines().collect(), kept.lines().collect());
    let missing: Vec<_> = wanted_lines.difference(&kept_lines).collect();
    let gone: Vec<_> = kept_lines.difference(&wanted_lines).collect();
    assert!(kept == wanted, "UPDATE_PROMISES=1 rewrites {PAGE}\nnot on it: {missing:#?}\nno longer so: {gone:#?}");
}
