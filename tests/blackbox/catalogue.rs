//! `ledgerway catalogue`: what is known of models without asking anybody, and how a newer catalogue is taken.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chrono::{NaiveDate, TimeDelta};
use serde_json::{Value, json};

use crate::gateway::ledgerway;

/// Exit code, stdout and stderr.
fn run(arguments: &[&str], data: &Path) -> (Option<i32>, String, String) {
    let ended =
        ledgerway().arg("catalogue").args(arguments).arg("--data").arg(data).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[track_caller]
fn shown(arguments: &[&str], data: &Path) -> String {
    let (code, out, err) = run(arguments, data);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    out
}

/// The one sentence of a refusal, and nothing on stdout.
#[track_caller]
fn refused(arguments: &[&str], data: &Path, wanted: i32) -> String {
    let (code, out, err) = run(arguments, data);
    assert_eq!((code, out.as_str(), err.trim().lines().count()), (Some(wanted), "", 1), "{arguments:?}: {err}");
    err.trim().trim_start_matches("ledgerway: ").to_owned()
}

fn shipped() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("command/built_in_catalogue/data/catalogue.json");
    serde_json::from_slice(&fs::read(path).expect("the document")).expect("JSON")
}

/// The day that is so many days after the shipped catalogue's.
fn day(days: i64) -> String {
    let version = shipped()["version"].as_str().expect("a day").parse::<NaiveDate>().expect("a day");
    (version + TimeDelta::days(days)).to_string()
}

/// The shipped catalogue as of so many days later, and what `change` makes of it: the path of its file.
fn written(folder: &Path, days: i64, change: impl FnOnce(&mut Value)) -> String {
    let mut document = shipped();
    document["version"] = json!(day(days));
    change(&mut document);
    let path = folder.join(format!("{}.json", day(days)));
    fs::write(&path, document.to_string()).expect("a file");
    path.display().to_string()
}

fn index_of(document: &Value, provider: &str, model: &str) -> usize {
    let models = document["models"].as_array().expect("models");
    models.iter().position(|found| found["provider"] == provider && found["model"] == model).expect("the model")
}

/// Holds: bin.catalogue
#[test]
fn models_are_listed_searched_and_shown_without_a_data_folder_and_offline() {
    let nowhere = Path::new("/nonexistent");
    let document = shipped();
    let all = shown(&["list"], nowhere);
    assert_eq!(all.lines().count(), document["models"].as_array().expect("models").len() + 1, "and a head");
    let listed: Value = serde_json::from_str(&shown(&["list", "--provider", "groq", "--json"], nowhere)).expect("JSON");
    let listed = listed.as_array().expect("a list");
    assert!(!listed.is_empty() && listed.iter().all(|model| model["provider"] == "groq"));
    let embeddings = shown(&["list", "--mode", "embedding", "--provider", "openai"], nowhere);
    assert!(embeddings.contains("text-embedding-3-small") && !embeddings.contains("gpt-4o"), "{embeddings}");
    let found = shown(&["search", "HAIKU", "bedrock", "us."], nowhere);
    assert!(found.contains("us.anthropic.claude-haiku-4-5") && !found.contains("sonnet"), "{found}");
    let model = shown(&["show", "gpt-4o"], nowhere);
    for part in ["openai/gpt-4o, named gpt-4o", "azure_openai/gpt-4o", "batch", "1.25", "US dollars per million tokens"]
    {
        assert!(model.contains(part), "{part}: {model}");
    }
    let alias = shown(&["show", "gpt"], nowhere);
    assert!(
        alias.starts_with(&format!("gpt is an alias of {}\n", document["aliases"]["gpt"].as_str().expect("a name")))
    );
    assert!(shown(&["show", "groq/openai/gpt-oss-20b"], nowhere).starts_with("groq/openai/gpt-oss-20b"));
    assert!(refused(&["show", "gtp-4o"], nowhere, 1).ends_with("; did you mean gpt-4o?"));
    assert!(refused(&["search", "no such model"], nowhere, 1).starts_with("no model contains"));
    assert!(refused(&["list", "--provider", "opnai"], nowhere, 2).ends_with("; did you mean openai?"));
    assert!(refused(&["list", "--mode", "talk"], nowhere, 2).starts_with("--mode is \"talk\""));
    assert!(refused(&["list", "--json=perhaps"], nowhere, 2).starts_with("--json is \"perhaps\""));
}

/// Holds: bin.catalogue-update
#[test]
fn a_newer_catalogue_is_shown_as_a_difference_and_written_when_that_is_confirmed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir(&data).expect("a folder");
    let in_folder = data.join("catalogue.json");
    let newer = written(folder.path(), 3, |document| {
        let index = index_of(document, "groq", "openai/gpt-oss-20b");
        document["models"][index]["price"]["input_usd_per_mtok"] = json!("7.123456789");
        let gone = index_of(document, "groq", "llama-guard-3-8b");
        document["models"].as_array_mut().expect("models").remove(gone);
        let new = json!({ "provider": "groq", "model": "new-model", "name": "new-model", "mode": "chat" });
        document["models"].as_array_mut().expect("models").push(new);
        document["aliases"]["fresh"] = json!("new-model");
    });
    let preview = shown(&["update", &newer], &data);
    for line in [
        "new: 1\n  groq/new-model  price unknown\n",
        "gone: 1\n  groq/llama-guard-3-8b\n",
        "other price: 1\n  groq/openai/gpt-oss-20b  0.075 in, 0.3 out -> 7.123456789 in, 0.3 out\n",
        "aliases: fresh -> new-model\n",
        "add --yes\n",
    ] {
        assert!(preview.contains(line), "{line}: {preview}");
    }
    assert!(!in_folder.exists(), "nothing is written unasked");
    assert!(shown(&["update", &newer, "--yes"], &data).contains(&format!("wrote {}", in_folder.display())));
    let mode = fs::metadata(&in_folder).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read(&in_folder).expect("it"), fs::read(&newer).expect("the file"));
    assert!(shown(&["show", "gpt-oss-20b"], &data).contains("7.123456789"));
    assert!(shown(&["update", &newer], &data).contains("the same models at the same prices"));

    let between = written(folder.path(), 2, |_| {});
    let older = refused(&["update", &between, "--yes"], &data, 2);
    let both = [format!("is a catalogue of {}", day(2)), format!("in force is of {}", day(3))];
    assert!(both.iter().all(|words| older.contains(words)) && older.ends_with("--force"), "{older}");
    assert!(shown(&["show", "gpt-oss-20b"], &data).contains("7.123456789"));
    shown(&["update", &between, "--yes", "--force"], &data);
    assert!(!shown(&["show", "gpt-oss-20b"], &data).contains("7.123456789"));
}

/// Holds: bin.catalogue-update
#[test]
fn a_file_that_is_no_newer_catalogue_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let ancient = written(folder.path(), -1, |_| {});
    let negative = written(folder.path(), 1, |document| {
        document["models"][0]["price"]["input_usd_per_mtok"] = json!("-1");
    });
    let unknown = written(folder.path(), 2, |document| document["models"][0]["provider"] = json!("nobody"));
    let first = &shipped()["models"][0];
    let negative_price =
        format!("model {} of {}: must not be negative at line 1 column", first["model"], first["provider"]);
    for (path, words) in [
        (file("empty.json", ""), "is not a catalogue: "),
        (file("other.json", r#"{"models":[]}"#), "is not a catalogue: missing field"),
        (negative, &*negative_price),
        (unknown, "of \"nobody\" is of an unknown provider"),
        (folder.path().join("missing").display().to_string(), "cannot read "),
        (folder.path().display().to_string(), "cannot read "),
        (ancient, "which would stay in force"),
    ] {
        let words_of_refusal = refused(&["update", &path, "--yes", "--force"], folder.path(), 2);
        assert!(words_of_refusal.contains(words), "{words}: {words_of_refusal}");
    }
    let fine = written(folder.path(), 3, |_| {});
    let nowhere = folder.path().join("nowhere");
    let words = refused(&["update", &fine, "--yes"], &nowhere, 2);
    assert!(words.starts_with("there is no folder ") && words.ends_with("--data DIR"), "{words}");
    assert!(!nowhere.exists() && !folder.path().join("catalogue.json").exists());
}

/// Holds: bin.catalogue-damaged
#[test]
fn a_damaged_catalogue_in_the_folder_is_named_and_can_be_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("catalogue.json"), "{}").expect("a file");
    let (code, listed, said) = run(&["list"], folder.path());
    assert_eq!((code, listed), (Some(0), shown(&["list"], Path::new("/nonexistent"))));
    let used = format!("the catalogue of {} is used", day(0));
    assert!(said.contains("catalogue.json is not a catalogue") && said.contains(&used), "{said}");
    let fine = written(folder.path(), 3, |_| {});
    assert_eq!(run(&["update", &fine, "--yes"], folder.path()).0, Some(0));
    shown(&["list"], folder.path());
}

/// Holds: bin.catalogue-providers
#[test]
fn a_newer_catalogue_changes_no_provider_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let newer = written(folder.path(), 1, |document| {
        document["providers"][0]["base_url"] = json!("https://elsewhere.example/v1");
        document["providers"][1]["key_variables"] = json!(["AWS_SECRET"]);
    });
    let preview = shown(&["update", &newer, "--yes"], folder.path());
    let said = "providers come with a release: 2 differ in the file, which is not used: \"anthropic\", \"openai\"\n";
    assert!(preview.contains(said) && preview.contains("the same models at the same prices"), "{preview}");
    let settings = written(folder.path(), 2, |document| {
        document["providers"][0]["key_variables"] = json!(["LEDGERWAY_ADMIN_KEY"]);
    });
    let words = refused(&["update", &settings, "--yes"], folder.path(), 2);
    assert!(words.contains("names LEDGERWAY_ADMIN_KEY, which is a setting of the gateway"), "{words}");
}
