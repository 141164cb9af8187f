//! Names that tell a reader what they are: no parameter is an anonymous tuple, a type name has one meaning in a crate, and
//! a struct has few enough fields to know them.
//!
//! The code is read as text: comments and literals are blanked, brackets are matched, and tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::map::shipped;
use super::sources;

/// The most fields of a struct.
const FIELDS_MAX: usize = 15;
/// The folders where it counts.
const FEW_FIELDS_IN: [&str; 4] = ["command", "events", "log", "query"];
/// Structs that have more, and why. The list may only shrink.
const MANY_FIELDS: [(&str, &str); 7] = [
    ("ChatRequest", "what a request of the intermediate form may ask for"),
    ("CohereChatBody", "the body that the provider's API defines"),
    ("InferenceAdmitted", "a recorded event, whose form is kept for ever"),
    ("InferenceEnded", "a recorded event, whose form is kept for ever"),
    ("LogWriter", "the state of the one writer"),
    ("OpenAiBody", "the body that the provider's API defines"),
    ("Provider", "a recorded state, whose form is kept for ever"),
];

/// A file of the product without its comments and literals. Positions stay the same.
struct Code {
    path: String,
    text: String,
}

/// Blanks comments, strings and character literals.
fn blanked(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut text = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        match end {
            Some(end) => {
                for byte in &mut text[at..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Where a comment or literal ends that begins here.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let until = |end: &[u8], from: usize| {
        let found = rest[from..].windows(end.len()).position(|window| window == end);
        found.map_or(bytes.len(), |found| at + from + found + end.len())
    };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match rest {
        [b'/', b'/', ..] => Some(until(b"\n", 2) - usize::from(until(b"\n", 2) < bytes.len())),
        [b'/', b'*', ..] => Some(until(b"*/", 2)),
        [b'"', ..] => {
            let mut end = 1;
            while rest.get(end).is_some_and(|byte| *byte != b'"') {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            Some((at + end + 1).min(bytes.len()))
        }
        [b'r', b'"' | b'#', ..] if at == 0 || bytes[at - 1] == b'b' || !is_word(bytes[at - 1]) => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            (rest.get(1 + hashes) == Some(&b'"')).then(|| until(&[&b"\""[..], &rest[1..=hashes]].concat(), 2 + hashes))
        }
        // A lifetime has no second quote.
        [b'\'', b'\\', _, ..] => Some(until(b"'", 3)),
        [b'\'', ..] => {
            let letter = std::str::from_utf8(&rest[1..rest.len().min(5)])
                .unwrap_or_else(|error| std::str::from_utf8(&rest[1..=error.valid_up_to()]).unwrap_or_default());
            let letter = letter.chars().next()?;
            (rest.get(1 + letter.len_utf8()) == Some(&b'\'')).then(|| at + 2 + letter.len_utf8())
        }
        _ => None,
    }
}

/// The code of a crate, without generated files.
fn code(member: &str) -> Vec<Code> {
    let path_of = |path: &Path| path.to_string_lossy().trim_start_matches("./").to_owned();
    let files = sources(member).into_iter().map(|(path, text)| Code { path: path_of(&path), text: blanked(&text) });
    files.filter(|file| !file.path.contains("/generated/")).collect()
}

fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The text between the bracket that it begins with and the one that closes it.
fn bracketed(text: &str) -> &str {
    let (mut depth, mut before) = (0_u32, ' ');
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if matches!(before, '-' | '=') => {}
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return &text[1..at];
        }
        before = letter;
    }
    ""
}

/// The parts between commas that are in no bracket.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut before, mut found) = (0_u32, 0, ' ', Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if matches!(before, '-' | '=') => {}
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                found.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
        before = letter;
    }
    found.push(text[begin..].trim());
    found.retain(|part| !part.is_empty());
    found
}

/// The words that follow a keyword, with where they begin.
fn named_after<'t>(text: &'t str, keyword: &str) -> Vec<(usize, &'t str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let is_keyword = |at: usize| {
        !text[..at].ends_with(is_word) && text[at + keyword.len()..].starts_with(|next: char| next.is_whitespace())
    };
    let name = |at: usize| {
        let rest = text[at + keyword.len()..].trim_start();
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        (end > 0).then(|| (text.len() - rest.len(), &rest[..end]))
    };
    text.match_indices(keyword).filter(|(at, _)| is_keyword(*at)).filter_map(|(at, _)| name(at)).collect()
}

/// Whether a type has a tuple anywhere in it. Some are not ours to name: what a closure takes and returns, the items of an
/// iterator (maps have pairs), rusqlite's named parameters, and axum's paths.
fn has_tuple(kind: &str) -> bool {
    kind.match_indices('(').any(|(at, _)| {
        let before = kind[..at].trim_end();
        let inside = bracketed(&kind[at..]);
        let is_foreign =
            ["Fn", "FnMut", "FnOnce", "fn", "->", "Item =", "Path<"].iter().any(|end| before.ends_with(end))
                || inside.contains("dyn ToSql");
        inside.contains(',') && parts(inside).len() + usize::from(inside.trim_end().ends_with(',')) > 1 && !is_foreign
    })
}

/// The type of a parameter, after its pattern. A receiver has none.
fn parameter_type(parameter: &str) -> Option<&str> {
    let mut depth = 0_u32;
    let colon = parameter.char_indices().position(|(at, letter)| {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_path = parameter[at..].starts_with("::") || parameter[..at].ends_with(':');
        letter == ':' && depth == 0 && !is_path
    });
    colon.and_then(|colon| parameter.char_indices().nth(colon)).map(|(at, _)| &parameter[at + 1..])
}

/// `file:line name` of the functions with a tuple among their parameters.
fn taking_tuples(Code { path, text }: &Code) -> Vec<String> {
    let takes_one = |at: usize, name: &str| {
        let mut rest = text[at + name.len()..].trim_start();
        if rest.starts_with('<') {
            rest = rest[bracketed(rest).len() + 2..].trim_start();
        }
        rest.starts_with('(') && parts(bracketed(rest)).into_iter().filter_map(parameter_type).any(has_tuple)
    };
    let functions = named_after(text, "fn").into_iter().filter(|(at, name)| takes_one(*at, name));
    functions.map(|(at, name)| format!("{path}:{} {name}", line(text, at))).collect()
}

/// A struct of two fields, or two parameters, have names.
#[test]
fn no_parameter_is_a_tuple() {
    let of = |text: &str| taking_tuples(&Code { path: "f".to_owned(), text: blanked(text) });
    let taking = [
        "fn a(pair: (u8, u8)) {}",
        "fn b<T: Fn(u8, u8) -> T>(&self, (x, y): &'a (u8, T)) {}",
        "fn c(\n    of: &mut Option<(\n        u8,\n        Vec<u8>,\n    )>,\n) {}",
        "fn d(rows: &[(&str, [u8; 2])]) {}",
    ];
    for text in taking {
        assert_eq!(of(text).len(), 1, "{text}");
    }
    let others = [
        "fn e(one: u8, f: impl Fn((u8)) -> (u8, u8), g: fn(u8, u8), none: ()) -> (u8, u8) { (one, 1) }",
        "fn f(rows: impl Iterator<Item = (u8, u8)>, Path((a, b)): Path<(String, String)>) {}",
        "// fn g(a: (u8, u8))\nfn h(text: &str) { i(\"fn j(a: (u8, u8))\", '\\'', '(') }",
    ];
    for text in others {
        assert_eq!(of(text), Vec::<String>::new(), "{text}");
    }
    let taking = shipped().flat_map(code).flat_map(|file| taking_tuples(&file));
    assert_eq!(taking.collect::<Vec<_>>(), Vec::<String>::new());
}

/// `name` to `file:line` of the types that a file declares, private ones and those of a function included; not the types
/// that an implementation gives to a trait.
fn types(Code { path, text }: &Code) -> Vec<(String, String)> {
    let declared = |keyword: &'static str| {
        let is_declared = move |at: usize| {
            let begin = text[..at].rfind('\n').map_or(0, |found| found + 1);
            let before = text[begin..at].trim_end().strip_suffix(keyword).unwrap_or("?");
            let is_visible = before.trim().is_empty() || before.trim().starts_with("pub");
            is_visible && (keyword != "type" || !before.starts_with(' '))
        };
        named_after(text, keyword).into_iter().filter(move |(at, _)| is_declared(*at))
    };
    let named = ["struct", "enum", "trait", "type"].into_iter().flat_map(declared);
    named.map(|(at, name)| (name.to_owned(), format!("{path}:{}", line(text, at)))).collect()
}

/// A name with two meanings has to be read with its path. There is no exception for names that a module explains.
#[test]
fn a_type_name_has_one_meaning_in_a_crate() {
    let text = "struct A;\npub(crate) enum B { C }\nimpl D for A {\n    type E = B;\n}\nfn f() {\n    struct G;\n}\n";
    let found = types(&Code { path: "f".to_owned(), text: text.to_owned() });
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["A", "B", "G"]));
    let mut twice = Vec::new();
    for member in shipped() {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, place) in code(member).iter().flat_map(types) {
            places.entry(name).or_default().push(place);
        }
        twice.extend(places.into_iter().filter(|(_, places)| places.len() > 1));
    }
    assert!(twice.is_empty(), "{twice:#?}");
}

/// The structs of a file with more fields than [`FIELDS_MAX`].
fn large_structs(Code { text, .. }: &Code) -> Vec<String> {
    let fields = |at: usize, name: &str| {
        let rest = text[at + name.len()..].trim_start();
        let rest = if rest.starts_with('<') { rest[bracketed(rest).len() + 2..].trim_start() } else { rest };
        if rest.starts_with('{') { parts(bracketed(rest)).len() } else { 0 }
    };
    let large = named_after(text, "struct").into_iter().filter(|(at, name)| fields(*at, name) > FIELDS_MAX);
    large.map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn structs_have_few_fields() {
    let is_counted = |member: &str| FEW_FIELDS_IN.iter().any(|folder| Path::new(member).starts_with(folder));
    let members = shipped().filter(|member| is_counted(member));
    let mut large: Vec<String> = members.flat_map(code).flat_map(|file| large_structs(&file)).collect();
    large.sort();
    // One that has fewer now leaves the list.
    assert_eq!(large, MANY_FIELDS.map(|(name, _)| name));
}
