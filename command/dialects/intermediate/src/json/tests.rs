use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn names(text: &str) -> Vec<(String, String)> {
    members(text)
        .map(|member| member.map(|m| (m.name().to_owned(), m.value.to_owned())))
        .collect::<Result<_, _>>()
        .unwrap()
}

#[test]
fn members_come_with_decoded_keys_and_raw_values() {
    let text = r#" { "a" : [1, {"b":"}"}] , "m\u006fdel":"x\"y" , "n":null } "#;
    let wanted = [("a", r#"[1, {"b":"}"}]"#), ("model", r#""x\"y""#), ("n", "null")];
    assert_eq!(names(text), wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
}

#[test]
fn depth_and_nul_are_refused() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(check(&nested(64)), Ok(()));
    assert_eq!(check(&nested(65)), Err(JsonFault::TooDeep));
    assert_eq!(check(&"[".repeat(100_000)), Err(JsonFault::TooDeep));
    let inside = |levels| format!(r#"{{"a":{}}}"#, nested(levels));
    assert!(members(&inside(63)).all(|member| member.is_ok()));
    assert!(members(&inside(64)).any(|member| member == Err(JsonFault::TooDeep)));
    assert_eq!(check(r#""a\u0000""#), Err(JsonFault::Nul(2)));
    assert_eq!(check(r#""a\\u0000""#), Ok(()), "an escaped backslash, then text");
    assert!(members(r#"{"\u0000":1}"#).any(|member| member == Err(JsonFault::Nul(2))));
}

#[test]
fn strings_are_measured_as_they_decode() {
    for text in ["", "a", "é", "\u{1F600}x", "tab\tquote\"back\\", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}"] {
        let plain = Value::from(text).to_string();
        assert_eq!(string_bytes(&plain), text.len() as u64, "{plain}");
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        assert_eq!(string_bytes(&format!("\"{escaped}\"")), text.len() as u64, "{escaped}");
    }
}

#[test]
fn a_string_ends_where_it_ends_however_long_it_is() {
    // Beside the special bytes, and with their lower bits.
    let neighbours = "!#[]\u{7f}a\u{82}\u{9c}\u{a2}\u{dc}\u{10ffff} ";
    for start in 0..neighbours.chars().count() {
        let endless = neighbours.chars().cycle().skip(start);
        for length in 0..180 {
            let plain: String = endless.clone().take(length).collect();
            let end = plain.len() + 1;
            assert_eq!(check(&format!(r#""{plain}""#)), Ok(()), "{plain}");
            assert_eq!(check(&format!(r#""{plain}\\{plain}\"""#)), Ok(()), "{plain}");
            assert!(check(&format!(r#""{plain}"{plain}""#)).is_err(), "{plain}");
            for fault in ["\n", "\u{1f}", "\0", r"\q", ""] {
                assert_eq!(check(&format!("\"{plain}{fault}")), Err(JsonFault::Syntax(end)), "{plain}{fault}");
            }
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i16>().prop_map(|n| format!("{n}.5").parse::<f64>().unwrap().into()),
        "[^\u{0}]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[^\u{0}]{0,6}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_on_what_is_json(text in r#"[\[\]{}",:0-9eE.+\-truefalsn \\u\n]{0,24}"#) {
        let ours = check(&text);
        if !matches!(ours, Err(JsonFault::Nul(_))) {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
        }
    }

    #[test]
    fn accepts_every_value_and_finds_every_member(value in any_json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            prop_assert_eq!(check(&text), Ok(()));
            if let Value::Object(map) = &value {
                let found: Vec<_> = members(&text).map(Result::unwrap).collect();
                prop_assert_eq!(found.len(), map.len());
                for member in found {
                    prop_assert_eq!(&serde_json::from_str::<Value>(member.value).unwrap(), &map[member.name()]);
                    prop_assert_eq!(&text[member.value_span.clone()], member.value);
                }
            }
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (check(&text), members(&text).count(), elements(&text).count(), string_bytes(&text), string(&text));
    }
}

#[test]
fn what_is_found_of_a_text_needs_neither_its_end_nor_few_members() {
    let many: String = (0..1000).map(|number| format!(r#""n{number}":0,"#)).collect();
    for text in [
        format!(r#"{{{many}"a":1,"b":null,"a":2,"b":3}}"#),
        format!(r#"{{"a":1,"b":null,{many}"c"#),
        r#" {"a":1,"b":null,"x":tru"#.to_owned(),
    ] {
        assert_eq!(find(&text, ["b", "a", "c"]), [None, Some("1"), None], "{text:.100}");
        assert_eq!((field(&text, "a"), field(&text, "b")), (Some("1"), None), "{text:.100}");
    }
    for text in ["", "[]", r#""a""#, r#"[{"a":1}]"#, "null"] {
        assert_eq!(find(text, ["a"]), [None], "{text}");
    }
}
