//! Doc comments begin with the thing that they describe: a reader does not have to guess their subject from the item below.

use std::fs;
use std::path::{Path, PathBuf};

use super::root;

/// Words at the beginning of a doc comment that leave out its subject.
const WITHOUT_SUBJECT: [&str; 6] = ["Of", "It", "What", "As", "By", "Who"];
/// Folders without sources of ours. The comments of generated code are those of its `.proto` file.
const NO_SOURCES: [&str; 4] = ["target", "node_modules", "__fuzz__", "generated"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if !name.starts_with('.') && !NO_SOURCES.contains(&name.as_str()) {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the marker of a line of a doc comment, and the text after it.
fn doc(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start();
    let text = |marker: &'static str| Some((marker, line.strip_prefix(marker)?));
    text("///").or_else(|| text("//!")).filter(|(_, text)| !text.starts_with('/'))
}

/// Returns the numbers, from 1, and the texts of the lines that begin a doc comment with one of the words.
fn without_subject(source: &str) -> Vec<(usize, &str)> {
    let mut marker_before = None;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let doc = doc(line);
        let marker = doc.map(|(marker, _)| marker);
        if let Some((_, text)) = doc
            && marker != marker_before
        {
            let first = text.trim_start().split(|letter: char| !letter.is_alphanumeric()).next();
            if first.is_some_and(|word| WITHOUT_SUBJECT.contains(&word)) {
                found.push((number, line.trim()));
            }
        }
        marker_before = marker;
    }
    found
}

#[test]
fn doc_comments_begin_with_the_thing() {
    let mut files = Vec::new();
    sources(root(), &mut files);
    files.sort();
    assert!(files.len() > 1000, "the sources were found: {}", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source");
        let name = file.strip_prefix(root()).expect("below the root").display();
        found.extend(without_subject(&text).into_iter().map(|(number, line)| format!("{name}:{number}: {line}")));
    }
    assert!(
        found.is_empty(),
        "{} doc comments begin with one of {WITHOUT_SUBJECT:?}; begin with what the thing is or does, for example \
         \"The cap that …\" or \"Returns …\":\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn the_first_line_alone_of_a_doc_comment_counts() {
    let source = [
        "//! It is read-only.", "", "/// Of one tenant.", "struct A;", "/// Tokens,", "/// as counted.",
        "/// As sent.", "struct B {", "    /// By choice.", "    c: u8,", "}", "//// What", "/// Item.", "/// Offers.",
        "// Who",
    ]
    .join("\n");
    let numbers: Vec<usize> = without_subject(&source).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 3, 9]);
}
