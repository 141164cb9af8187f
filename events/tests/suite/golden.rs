//! `tests/golden/events/` contains a sample of every event version that was ever written, which must decode for ever.
//! `UPDATE_GOLDEN=1` writes new samples. A changed sample is a changed meaning, and needs a new version.

mod requests;
mod samples;

use std::path::{Path, PathBuf};

use events::canonical;
use events::event::hold::{BudgetAdjusted, CorrectedRequest, CorrectedValue};
use events::event::inference::{Backend, Payer};
use events::event::{Event, Hold, Recorded, Resource};

use crate::facts::{context, id};
use samples::{samples, start, usd};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/events")
}

fn wire_name(event: &Event) -> String {
    format!("{}.v{}", event.name(), event.version())
}

/// Holds: event.types, event.envelope
#[test]
fn every_type_has_a_sample_that_reads_and_writes_the_same_for_ever() {
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some();
    for (stream, event) in samples() {
        let name = wire_name(&event);
        let recorded = Recorded {
            position: 44,
            recorded_at: start(),
            stream,
            sequence: 2,
            context: context(5).in_request(id(1)),
            event,
        };
        let text = canonical::envelope(&recorded).expect("an event has a canonical form") + "\n";
        let path = folder().join(format!("{name}.json"));
        if rewrite {
            std::fs::create_dir_all(folder()).expect("the folder");
            std::fs::write(&path, &text).expect("the sample is written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name} has no sample: {error}"));
        assert_eq!(kept, text, "{name} is written as it always was");
        let envelope: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        let decoded = Event::decode(recorded.event.name(), recorded.event.version(), &envelope["data"].to_string());
        assert_eq!(decoded.expect("it decodes"), recorded.event, "{name} reads as it always did");
    }
}

/// Holds: event.types
#[test]
fn a_correction_by_a_price_reads_and_writes_the_same_for_ever() {
    let kept = r#"{"delta_usd":"0.000250000","budgets":[],"reason":"price_corrected","of":"req_00000000000000000000000000000001","price":{"version":77,"cost_usd":"0.001750000"},"request":{"model":"m","backend":{"provider_id":"prv_00000000000000000000000000000002","provider":"p","model":"b"},"payer":"own"}}"#;
    let event = Event::decode("budget.adjusted", 1, kept).expect("it decodes");
    let adjusted = BudgetAdjusted {
        delta_usd: usd(250_000),
        budgets: Vec::new(),
        reason: "price_corrected".to_owned(),
        of: id(1),
        price: Some(CorrectedValue { version: 77, cost_usd: usd(1_750_000) }),
        request: Some(Box::new(CorrectedRequest {
            model: "m".to_owned(),
            backend: Some(Backend {
                provider_id: id(2),
                provider: "p".to_owned(),
                model: "b".to_owned(),
                provider_key_id: None,
            }),
            payer: Some(Payer::Own),
        })),
        brokered: None,
    };
    assert_eq!(event, Event::Hold(Hold::Adjusted(Box::new(adjusted))));
    assert_eq!(event.payload().expect("JSON"), kept);
}

/// Holds: event.types
#[test]
fn the_brokered_part_of_a_hold_reads_and_writes_the_same_for_ever() {
    let windows = r#"[{"budget_id":"bud_00000000000000000000000000000007","window_start":null}]"#;
    for (name, text) in [
        (
            "budget.reserved",
            r#"{"held_usd":"9.000000000","budgets":[],"expires_at":"2020-11-20T08:00:00.000000Z","brokered":{"held_usd":"0.001000000","budgets":WINDOWS}}"#,
        ),
        (
            "budget.settled",
            r#"{"held_usd":"9.000000000","charged_usd":"8.000000000","budgets":[],"brokered":{"held_usd":"0.001000000","charged_usd":"0.000500000","budgets":WINDOWS}}"#,
        ),
        (
            "budget.released",
            r#"{"held_usd":"9.000000000","budgets":[],"reason":"status","brokered":{"held_usd":"0.001000000","budgets":WINDOWS}}"#,
        ),
        (
            "budget.expired",
            r#"{"held_usd":"9.000000000","charged_usd":"9.000000000","budgets":[],"policy":"charge_hold","brokered":{"held_usd":"0.001000000","charged_usd":"0.001000000","budgets":WINDOWS}}"#,
        ),
        (
            "budget.adjusted",
            r#"{"delta_usd":"-1.000000000","budgets":[],"reason":"settled_after_expiry","of":"req_00000000000000000000000000000001","brokered":{"delta_usd":"-0.000100000","budgets":WINDOWS}}"#,
        ),
    ] {
        let kept = text.replace("WINDOWS", windows);
        let event = Event::decode(name, 1, &kept).expect("it decodes");
        let Event::Hold(hold) = &event else { panic!("{name}") };
        assert_eq!(hold.movements().map(|moved| moved.windows.len()).collect::<Vec<_>>(), [0, 1], "{name}");
        assert_eq!(event.payload().expect("JSON"), kept, "{name}");
    }
}

#[test]
fn every_sample_stands_on_the_stream_that_its_type_belongs_on() {
    for (stream, event) in samples() {
        let name = event.name();
        assert_eq!(event.stream_kind(), stream.kind, "{name}");
        assert!(event.stream_id().is_none_or(|id| id == stream.id), "{name} on {stream}");
        let is_of_resource = Resource::names_on(stream.kind).contains(&name);
        assert_eq!(is_of_resource, stream.kind.is_administration(), "{name} is listed as one of its resource's");
    }
}

/// Holds: event.types
#[test]
fn no_type_is_without_a_sample_and_no_sample_without_a_type() {
    let mut sampled: Vec<String> = samples().iter().map(|(_, event)| wire_name(event)).collect();
    let mut known: Vec<String> = Event::types().map(|(name, version)| format!("{name}.v{version}")).collect();
    let kept = std::fs::read_dir(folder()).expect("the samples' folder");
    let mut kept: Vec<String> = kept
        .map(|file| file.expect("a file").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    sampled.sort();
    known.sort();
    kept.sort();
    assert_eq!(sampled, known);
    assert_eq!(kept, known);
}

#[test]
fn the_catalogue_page_names_every_type_and_no_other() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let page = std::fs::read_to_string(page).expect("docs/events.md");
    let mut named: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.contains(".v"))
        .collect();
    let mut known: Vec<String> = Event::types().map(|(name, version)| format!("{name}.v{version}")).collect();
    named.sort();
    known.sort();
    assert_eq!(named, known);
}

/// Holds: event.fields
#[test]
fn every_field_that_the_page_pins_is_in_a_sample_of_its_types() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
    let page = std::fs::read_to_string(page).expect("docs/events.md");
    let pinned = page.split("## Pinned fields").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a table");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut rows = 0;
    for (types, fields) in pinned.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" | ")) {
        let samples: String = quoted(&format!("`{types}"))
            .iter()
            .map(|name| std::fs::read_to_string(folder().join(format!("{name}.v1.json"))).expect("a sample"))
            .collect();
        for field in quoted(fields) {
            assert!(samples.contains(&format!("\"{field}\":")), "{types} has no {field}: {samples}");
        }
        rows += 1;
    }
    assert!(rows > 10, "{rows} rows");
}
