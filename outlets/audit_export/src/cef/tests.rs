//! Lines are read back by a parser that knows only what the format says.

use std::collections::BTreeMap;

use events::event::Event;
use events_log::ClientAddress;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::tests::{audited, bare, sample};

/// The header's fields and the pairs of a line.
struct Parsed {
    header: Vec<String>,
    pairs: BTreeMap<String, String>,
}

/// Parses a line by the format's rules: bars and backslashes are escaped in the header, equals signs, backslashes and line ends in values;
/// a value reaches to the last space before the next unescaped equals sign.
fn parse(line: &str) -> Parsed {
    assert!(!line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']), "it is one line: {line:?}");
    let (mut header, mut field, mut rest) = (Vec::new(), String::new(), line.chars());
    while header.len() < 7 {
        match rest.next().expect("seven fields") {
            '\\' => field.push(rest.next().filter(|next| ['|', '\\'].contains(next)).expect("an escape of the header")),
            '|' => header.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    let mut pairs = BTreeMap::new();
    let mut key: Option<String> = None;
    let mut value = String::new();
    // Where the last unescaped space is: a key may begin behind it.
    let mut space: Option<usize> = None;
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => value.push(match rest.next().expect("an escape") {
                'n' => '\n',
                'r' => '\r',
                other => {
                    assert!(['=', '\\'].contains(&other), "an escape of values: {other}");
                    other
                }
            }),
            '=' => {
                let at = space.take();
                let next = value.split_off(at.map_or(0, |at| at + 1));
                if let Some(key) = key.replace(next) {
                    value.truncate(at.expect("a space before a key"));
                    assert!(pairs.insert(key, std::mem::take(&mut value)).is_none(), "each key once");
                }
                value.clear();
            }
            other => {
                if other == ' ' {
                    space = Some(value.len());
                }
                value.push(other);
            }
        }
    }
    pairs.insert(key.expect("a key"), value);
    Parsed { header, pairs }
}

/// The value that a reader sees: no control characters but line ends, and no separators of lines.
fn shown(text: &str, chars_max: usize) -> String {
    let keep = |letter: char| match letter {
        '\n' | '\r' => letter,
        '\u{2028}' | '\u{2029}' => ' ',
        control if control.is_control() => ' ',
        _ => letter,
    };
    match text.chars().count() > chars_max {
        true => text.chars().take(chars_max - 1).map(keep).chain([CUT]).collect(),
        false => text.chars().map(keep).collect(),
    }
}

const KEYS: [&str; 24] = [
    "rt", "externalId", "cat", "act", "outcome", "suid", "suser", "reason", "cnt", "src", "c6a2", "c6a2Label",
    "requestClientApplication", "cs1", "cs2", "cs3", "cs4", "cs5", "cs6", "cs1Label", "cs2Label", "cs3Label",
    "cs4Label", "cs5Label",
];

#[test]
fn a_change_has_the_header_and_the_keys_of_the_format() {
    let (entry, client) = sample();
    let record =
        AuditRecord { client: Some(&client), actor_name: Some("ops"), resource_name: Some("app"), ..bare(&entry) };
    let Parsed { header, pairs } = parse(&line(&record));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(header, ["CEF:0", "Ledgerway", "Ledgerway", version, "key.created", "key created", "4"]);
    let pair = |key: &str| pairs[key].as_str();
    assert_eq!((pair("rt"), pair("externalId"), pair("outcome")), ("1763625600123", "44", "success"));
    assert_eq!((pair("suid"), pair("suser")), (entry.actor.as_str(), "ops"));
    assert_eq!((pair("src"), pair("requestClientApplication")), ("203.0.113.9", "curl/8"));
    assert_eq!((pair("cs1"), pair("cs1Label")), ("key/key_1", "resource"));
    assert_eq!(pair("cs4"), entry.changes.to_string());
}

#[test]
fn a_short_line_says_that_the_changes_were_left_out() {
    let (entry, _) = sample();
    let pairs = parse(&short_line(&bare(&entry))).pairs;
    assert_eq!((pairs["cs4Label"].as_str(), pairs["cs4"].as_str()), ("changes", "omitted"));
}

#[test]
fn an_address_of_ipv6_is_not_in_the_field_of_ipv4() {
    let (entry, client) = sample();
    let client = ClientAddress { ip: "2001:db8::1".to_owned(), ..client };
    let pairs = parse(&line(&AuditRecord { client: Some(&client), ..bare(&entry) })).pairs;
    assert_eq!((pairs["c6a2"].as_str(), pairs["c6a2Label"].as_str()), ("2001:db8::1", "Source IPv6 Address"));
    assert!(!pairs.contains_key("src"));
}

#[test]
fn a_line_of_every_audited_type_can_be_read() {
    let mut found = 0;
    for (name, version) in Event::types() {
        let Some(entry) = audited(name, version) else { continue };
        let parsed = parse(&line(&bare(&entry)));
        assert_eq!(parsed.header[4], name);
        assert!(parsed.pairs.keys().all(|key| KEYS.contains(&key.as_str())), "{:?}", parsed.pairs);
        found += 1;
    }
    assert!(found > 30, "{found}");
}

proptest! {
    #[test]
    fn hostile_text_stays_in_its_value(
        agent in any::<String>(), name in "[ =|\\\\\n\rcs1src\u{0}\u{85}\u{2028}\u{2029}é]{0,40}", change in any::<String>(),
        resource in "[a-z]{1,5}/[ =|\\\\a-z]{0,20}",
    ) {
        let (mut entry, client) = sample();
        entry.changes = json!({ "name": change });
        entry.resource = resource.clone();
        let client = ClientAddress { user_agent: Some(agent.clone()), ..client };
        let record = AuditRecord { client: Some(&client), actor_name: Some(&name), resource_name: Some(&name), ..bare(&entry) };
        let Parsed { header, pairs } = parse(&line(&record));
        prop_assert_eq!(header.len(), 7);
        prop_assert_eq!(&pairs["requestClientApplication"], &shown(&agent, TEXT_CHARS_MAX));
        prop_assert_eq!(&pairs["suser"], &shown(&name, TEXT_CHARS_MAX));
        prop_assert_eq!(&pairs["cs2"], &shown(&name, CUSTOM_CHARS_MAX));
        prop_assert_eq!(&pairs["cs1"], &resource);
        prop_assert_eq!(&pairs["cs4"], &shown(&entry.changes.to_string(), CUSTOM_CHARS_MAX));
        prop_assert_eq!(pairs.len(), 17);
    }

    #[test]
    fn a_header_is_read_as_it_was_written(action in "[|\\\\a-z.\n=]{0,20}") {
        let (mut entry, _) = sample();
        entry.action = action.clone();
        let header = parse(&line(&bare(&entry))).header;
        prop_assert_eq!(&header[4], &action.replace('\n', " "));
    }
}
