//! Events as releases wrote them: `releases/{version}/events/`. They can be read for ever, and keep their meaning.

use std::fs;
use std::path::Path;

use events::event::Event;
use serde_json::{Value, json};

/// True if `new` contains everything in `old`. It may contain more.
fn holds(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().all(|(name, value)| new.get(name).is_some_and(|other| holds(value, other)))
        }
        (Value::Array(old), Value::Array(new)) => {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| holds(old, new))
        }
        _ => old == new,
    }
}

/// Why an event of a release can no longer be read, or has another meaning.
fn fault(kind: &str, data: &Value) -> Option<String> {
    let (name, version) = kind.rsplit_once(".v").expect("a type has a version");
    let version: u32 = version.parse().expect("a version");
    if !Event::types().any(|known| known == (name, version)) {
        return Some("is no type any more".to_owned());
    }
    let event = match Event::decode(name, version, &data.to_string()) {
        Ok(event) => event,
        Err(error) => return Some(format!("does not read: {error}")),
    };
    let written = event.payload().expect("it is written");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    (!holds(data, &written)).then(|| format!("was {data} and is {written}"))
}

/// Holds: event.types
#[test]
fn what_a_release_wrote_reads_and_means_the_same() {
    let releases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../releases");
    let mut read = 0;
    for release in fs::read_dir(releases).expect("releases") {
        let Ok(samples) = fs::read_dir(release.expect("a release").path().join("events")) else { continue };
        for sample in samples {
            let path = sample.expect("a sample").path();
            let text = fs::read_to_string(&path).expect("a sample");
            let envelope: Value = serde_json::from_str(&text).expect("JSON");
            let kind = envelope["type"].as_str().expect("a type");
            assert_eq!(fault(kind, &envelope["data"]), None, "{}", path.display());
            read += 1;
        }
    }
    assert!(read > 0);
}

#[test]
fn a_type_or_a_field_that_is_gone_or_means_something_else_is_noticed() {
    let settled = json!({
        "held_usd": "0.000640000", "charged_usd": "0.000021000",
        "budgets": [{ "budget_id": "bud_00000000000000000000000000000001", "window_start": null }],
    });
    assert_eq!(fault("budget.settled.v1", &settled), None);
    for (kind, change) in [
        ("budget.vanished.v1", json!({})),
        ("budget.settled.v9", json!({})),
        ("budget.settled.v1", json!({ "a_field_that_is_gone": 1 })),
        ("budget.settled.v1", json!({ "held_usd": 5 })),
        ("budget.settled.v1", json!({ "held_usd": "0.00064" })),
    ] {
        let mut data = settled.clone();
        data.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        assert!(fault(kind, &data).is_some(), "{kind} {change}");
    }
}
