//! Compares the JSON scanner with serde's.

use fuzzing::{Corpus, Dice, fuzz};
use intermediate::json::{self, JsonFault, Kind};
use intermediate::report::{CACHE_SPLIT, CACHE_WRITE, INPUTS, REPORT_BYTES_MAX, Reports, count};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Ordered;

fn any_text(corpora: &[Corpus], dice: &mut Dice<'_>) -> String {
    let bytes = match dice.below(4) {
        0 => return dice.text_of("[]{}\",:0-9eE.+\\truefalsn u\n", 48),
        _ => corpora[dice.below(corpora.len())].draw(dice),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

fn corpora() -> [Corpus; 4] {
    [
        Corpus::golden("native/requests", "json"),
        Corpus::golden("openai/requests", "json"),
        Corpus::golden("openai/answers", "json"),
        Corpus::golden("anthropic/answers", "json"),
    ]
}

#[test]
fn the_scanner_finds_what_serde_finds() {
    let corpora = corpora();
    fuzz!(4_000, |dice| {
        let text = any_text(&corpora, dice);
        let ours = json::check(&text);
        let theirs = serde_json::from_str::<&RawValue>(&text);
        if !matches!(ours, Err(JsonFault::Nul(_) | JsonFault::TooDeep)) {
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{ours:?} {text}");
        }
        let (Ok(()), Ok(value)) = (ours, theirs) else { return };
        let (found, wanted) = (json::members(&text).collect::<Result<Vec<_>, _>>(), Ordered::of(&text));
        if let (Kind::Object, Ok(found)) = (json::kind(value.get()), found) {
            let wanted = wanted.unwrap_or_else(|| panic!("serde finds no members in {text}"));
            let wanted: Vec<_> = wanted.0.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
            assert_eq!(found.iter().map(|m| (m.name(), m.value)).collect::<Vec<_>>(), wanted, "{text}");
            for member in &found {
                assert_eq!(text.get(member.value_span.clone()), Some(member.value));
                assert_eq!(json::field(&text, member.name()).is_some(), first_is_not_null(&found, member.name()));
            }
        }
        if json::kind(value.get()) == Kind::Array {
            let wanted: Vec<&RawValue> = serde_json::from_str(&text).expect("a list");
            let found: Vec<_> = json::elements(&text).map(|element| element.expect("it was checked")).collect();
            assert_eq!(found, wanted.iter().map(|value| value.get()).collect::<Vec<_>>());
        }
    });
}

fn first_is_not_null(members: &[json::Member<'_>], name: &str) -> bool {
    members.iter().find(|member| member.name() == name).is_some_and(|member| member.value != "null")
}

/// A piece of a JSON string, valid or not.
fn piece(dice: &mut Dice<'_>) -> String {
    let unit = usize::from(dice.byte()) << 8 | usize::from(dice.byte());
    match dice.below(8) {
        0 => format!("\\u{unit:04x}"),
        1 => format!("\\u{:04X}", unit & 0x7FF),
        2 => format!("\\u{:04x}\\u{:04x}", 0xD800 + unit % 0x400, 0xDC00 + unit / 64),
        3 => format!("\\u{unit:03x}g"),
        4 => format!("\\{}", dice.pick(&["n", "t", "\"", "\\", "/", "b", "f", "r", "x", "u"]).unwrap_or_default()),
        5 => char::from_u32(u32::from(dice.byte()) << 12).unwrap_or('é').to_string(),
        _ => dice.text_of("abc é\u{7ff}\u{10ffff}", 20),
    }
}

#[test]
fn strings_are_decoded_and_measured_alike() {
    fuzz!(20_000, |dice| {
        let pieces: String = (0..dice.below(8)).map(|_| piece(dice)).collect();
        let text = format!("\"{pieces}\"");
        let theirs = serde_json::from_str::<String>(&text).ok();
        let Ok(()) = json::check(&text) else { return };
        assert_eq!(json::string(&text).as_deref(), theirs.as_deref(), "{text}");
        if let Some(theirs) = theirs {
            assert_eq!(json::string_bytes(&text), theirs.len() as u64, "{text}");
            let mut written = Vec::new();
            json::push(&mut written, &theirs);
            assert_eq!(json::string(std::str::from_utf8(&written).expect("JSON is UTF-8")).as_deref(), Some(&*theirs));
        }
    });
}

/// A count in a report, or 0.
fn figure(value: &Value) -> u64 {
    if value.is_number() { count(&value.to_string()).unwrap_or(0) } else { 0 }
}

/// Merges two reports as trees, by the gateway's rules. `has_less`: the later one has less input, if it has any.
fn merged(earlier: Value, later: Value, has_less: Option<bool>) -> Value {
    match (earlier, later) {
        (earlier, Value::Null) => earlier,
        (Value::Object(mut earlier), Value::Object(later)) => {
            let [before, after] = [&earlier, &later]
                .map(|tree| INPUTS.iter().filter_map(|name| tree.get(*name)).map(figure).sum::<u64>());
            let has_less = has_less.or((before > 0).then_some(after < before));
            let written = later.get(CACHE_WRITE).map_or(0, figure);
            for (name, value) in later {
                let inside = if name == CACHE_SPLIT && written > 0 { None } else { has_less };
                let is_input = INPUTS.contains(&&*name) && has_less == Some(true);
                let value = match earlier.remove(&name) {
                    Some(before) if is_input && figure(&before) > 0 && figure(&value) == 0 => before,
                    Some(before) => merged(before, value, inside),
                    None => value,
                };
                earlier.insert(name, value);
            }
            Value::Object(earlier)
        }
        (_, later) => later,
    }
}

#[test]
fn two_reports_become_one() {
    let corpora = corpora();
    let tree = |dice: &mut Dice<'_>| serde_json::from_str::<Value>(&any_text(&corpora, dice)).ok();
    fuzz!(6_000, |dice| {
        let (Some(earlier), Some(later)) = (tree(dice), tree(dice)) else { return };
        let (one, two) = (earlier.to_string(), later.to_string());
        let mut reports = Reports::default();
        if json::check(&one).is_err() || json::check(&two).is_err() || !reports.add(&one) || !reports.add(&two) {
            return;
        }
        let found: Value = serde_json::from_str(&reports.whole().expect("two reports")).expect("a report is JSON");
        assert!(found == merged(earlier, later.clone(), None) || found == later, "{one} {two}");
        let whole = reports.whole().map_or(0, |whole| whole.len());
        assert!(whole <= REPORT_BYTES_MAX, "{whole} bytes of {one} {two}");
    });
}
