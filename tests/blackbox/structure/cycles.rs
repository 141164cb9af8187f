//! Import cycles. Modules that import each other, directly or through others, can be read, tested and moved only together.
//!
//! The modules of one parent are compared with each other. What the parent's own file defines is not a module here: its
//! children may use it, and it them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::map::shipped;
use super::sources;

/// The modules of one parent, each with those of the others that it names.
pub type Modules = BTreeMap<String, BTreeSet<String>>;

/// The modules of a crate, or of one of its modules, with what their code imports or names by a path. A re-export of the
/// parent counts as the module that it comes from.
pub fn modules(member: &str, parent: &[String]) -> Modules {
    let sources: Vec<(Vec<String>, String)> =
        sources(member).into_iter().map(|(path, code)| (module_path(&path), code)).collect();
    let name_of = |path: &[String]| {
        let is_inside = path.len() > parent.len() && path.iter().zip(parent).all(|(one, other)| one == other);
        is_inside.then(|| path[parent.len()].clone())
    };
    let mut modules: Modules =
        sources.iter().filter_map(|(path, _)| name_of(path)).map(|name| (name, BTreeSet::new())).collect();
    let own_file = sources.iter().find(|(path, _)| path == parent).map_or("", |(_, code)| code);
    let exported: BTreeMap<String, String> = own_file
        .split("use ")
        .skip(1)
        .flat_map(paths_of)
        .filter_map(|path| Some((path.last()?.clone(), path.first()?.clone())))
        .collect();
    for (path, code) in &sources {
        let Some(name) = name_of(path) else { continue };
        let named = paths(path, code).into_iter().filter_map(|path| name_of(&path));
        let named: Vec<String> = named.map(|named| exported.get(&named).unwrap_or(&named).clone()).collect();
        let others: Vec<String> =
            named.into_iter().filter(|other| *other != name && modules.contains_key(other)).collect();
        modules.entry(name).or_default().extend(others);
    }
    modules
}

/// The modules of a crate that have modules, and the crate itself.
fn parents(member: &str) -> BTreeSet<Vec<String>> {
    let paths = sources(member).into_iter().map(|(path, _)| module_path(&path));
    paths.filter_map(|path| path.split_last().map(|(_, parent)| parent.to_vec())).collect()
}

/// The path of a file's module from the crate's root.
fn module_path(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let names = path.iter().skip_while(|name| *name != "src").skip(1).map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| !["lib", "main"].contains(&name.as_str())).collect()
}

/// All paths into its own crate that a module's code names, from the crate's root.
fn paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    let begins = code.match_indices("crate::").chain(code.match_indices("super::"));
    let is_first = |before: &str| !before.ends_with(|letter: char| letter.is_alphanumeric() || "_:".contains(letter));
    let firsts: Vec<usize> = begins.map(|(at, _)| at).filter(|at| is_first(&code[..*at])).collect();
    let from_root = |path: Vec<String>| match path.iter().take_while(|name| *name == "super").count() {
        0 => path[1..].to_vec(),
        supers => [&module[..module.len().saturating_sub(supers)], &path[supers..]].concat(),
    };
    firsts.into_iter().flat_map(|at| paths_of(&code[at..])).map(from_root).collect()
}

/// The paths that a text begins with: several where it ends in braces.
fn paths_of(text: &str) -> Vec<Vec<String>> {
    let (mut names, mut rest) = (Vec::new(), text);
    loop {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        if end > 0 {
            names.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(more) if more.starts_with('{') => {
                let inside = items(more);
                return inside.into_iter().flat_map(paths_of).map(|path| [names.clone(), path].concat()).collect();
            }
            Some(more) => rest = more,
            None => return vec![names],
        }
    }
}

/// The items between the outer braces.
fn items(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut found) = (0_u32, 1, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                found.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            found.push(text[begin..at].trim());
            break;
        }
    }
    found.retain(|item| !item.is_empty());
    found
}

/// The modules that import each other, directly or through others, and those that import them.
fn cycle(modules: &Modules) -> Option<String> {
    // Modules that import none of the rest are removed, until nothing is left or everything left imports a cycle.
    let mut left: Vec<(&String, &BTreeSet<String>)> = modules.iter().collect();
    loop {
        let names: Vec<&String> = left.iter().map(|(name, _)| *name).collect();
        let before = left.len();
        left.retain(|(_, known)| known.iter().any(|name| names.contains(&name)));
        if left.is_empty() {
            return None;
        }
        if left.len() == before {
            return Some(names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        }
    }
}

#[test]
fn paths_in_code_are_found() {
    let of = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let code =
        "use super::{a, b::{C, D}};\nuse crate::inference::e;\n// super::no\nfn f() { super::super::g::h(mycrate::i) }";
    let mut found = paths(&of("inference::f"), code);
    found.sort();
    assert_eq!(found, ["g::h", "inference::a", "inference::b::C", "inference::b::D", "inference::e"].map(of));
    let module = |name: &str, known: &[&str]| (name.to_owned(), known.iter().map(|name| (*name).to_owned()).collect());
    let looped = [module("a", &["b"]), module("b", &["c"]), module("c", &["b"]), module("d", &[])];
    assert_eq!(cycle(&looped.into()).as_deref(), Some("a, b, c"));
}

#[test]
fn no_module_of_a_crate_has_an_import_cycle() {
    let mut seen = BTreeSet::new();
    for member in shipped() {
        for parent in parents(member) {
            let modules = modules(member, &parent);
            assert_eq!(cycle(&modules), None, "{member} {parent:?}: {modules:?}");
            seen.insert(format!("{member} {}", parent.join("::")));
        }
    }
    for parent in [
        ". ",
        ". serve",
        "cli ",
        "cli apply",
        "events ",
        "log ",
        "command inference",
        "command/dialects/surfaces ",
        "projections views",
    ] {
        assert!(seen.contains(parent), "{parent}: {seen:?}");
    }
    let known = |member, parent: &[&str], name: &str| {
        let parent: Vec<String> = parent.iter().map(|name| (*name).to_owned()).collect();
        modules(member, &parent)[name].len()
    };
    assert!(
        known("command", &["inference"], "dispatch") > 5
            && known("command/dialects/provider_dialects", &[], "gemini") > 5
    );
    assert!(known("log", &[], "writer") > 5);
}
