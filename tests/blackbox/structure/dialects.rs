//! Which code may know which dialect: outside of the dialects nothing asks which kind a provider or a surface is. Inside of
//! them the crates are the rule: `surfaces` and `provider_dialects` do not depend on each other, nor `intermediate` on either.

use super::map::shipped;
use super::sources;

/// Enums of dialects. Their values are carried about everywhere; which one it is, is asked here alone.
const ENUMS: [&str; 4] = ["ProviderKind", "Surface", "ErrorForm", "SharedDialect"];
/// The crates of the dialects.
const DIALECTS: &str = "command/dialects";

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

/// `file: line` of all lines of a crate that name a variant, or a kind by its recorded name.
fn asking(member: &str) -> Vec<String> {
    let asks = |line: &str| {
        !line.trim_start().starts_with("//")
            && (ENUMS.iter().any(|name| names_a_variant(line, name)) || line.contains("ProviderKindName::literal("))
    };
    let lines = |(path, code): (std::path::PathBuf, String)| {
        let lines = code.lines().filter(|line| asks(line));
        lines.map(|line| format!("{}: {}", path.display(), line.trim())).collect::<Vec<_>>()
    };
    sources(member).into_iter().flat_map(lines).collect()
}

#[test]
fn nothing_outside_of_the_dialects_asks_for_a_kind_or_a_surface() {
    let outside = shipped().filter(|member| !member.starts_with(DIALECTS));
    assert_eq!(outside.flat_map(asking).collect::<Vec<_>>(), Vec::<String>::new());
    // The look itself finds what there is.
    let inside = asking(DIALECTS);
    assert!(inside.iter().any(|line| line.contains("Surface::Anthropic")), "{inside:?}");
}
