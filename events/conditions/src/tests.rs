use std::collections::BTreeMap;

use events::routing::RoutingRules;
use uuid::Uuid;

use super::*;

fn features() -> RequestFeatures {
    RequestFeatures {
        input_tokens: 5000,
        language: "de".to_owned(),
        request_type: RequestType::Code,
        complexity: 70,
        images: 1,
        documents: 0,
        tools: true,
        structured_output: false,
        streaming: true,
        hour: 23,
    }
}

fn holds(condition: &str) -> bool {
    let metadata = BTreeMap::from([("team".to_owned(), "search".to_owned())]);
    let tenant = Some(Uuid::from_u128(1).into());
    let subject = ConditionSubject { features: &features(), metadata: &metadata, tenant };
    Condition::compile(condition).expect("a condition").holds(&Variables::of(&subject))
}

#[test]
fn a_condition_holds_for_what_a_request_is() {
    for condition in [
        "true",
        "input_tokens > 4000 && input_tokens <= 5000",
        r#"language == "de" && request_type in ["code", "reasoning"]"#,
        "complexity >= 70 && images == 1 && documents == 0",
        "tools && streaming && !structured_output",
        "hour >= 22 || hour < 6",
        r#"metadata.team == "search""#,
        r#"metadata["team"].startsWith("sea") && has(metadata.team) && !has(metadata.other)"#,
        r#"tenant == "ten_00000000000000000000000000000001" && size(tenant) == 36"#,
        r#"metadata.other == "x" || tools"#,
        r#""team" in metadata && !("other" in metadata)"#,
        "input_tokens - 1000 >= 2 * 2000 && hour % 2 == 1",
    ] {
        assert!(holds(condition), "{condition}");
    }
    for condition in [
        "false",
        "input_tokens > 5000",
        r#"language == "en""#,
        // Nothing to compare: it is not true, and no error.
        r#"metadata.other == "search""#,
        r#"!(metadata.other == "search")"#,
        // Numbers and texts are never equal.
        r#"metadata.team == 1"#,
        // An overflow, which the request that conditions are tried with does not have.
        "complexity > 60 && input_tokens * 9223372036854775807 > 0",
    ] {
        assert!(!holds(condition), "{condition}");
    }
}

#[test]
fn what_is_no_condition_is_refused_with_what_is_wrong() {
    let error = |text: &str| Condition::compile(text).expect_err(text).to_string();
    for (text, wanted) in [
        ("input_tokens >", "is no expression of CEL: line 1, column 15: "),
        ("", "is no expression of CEL: line 1, column 1: "),
        ("true\n  && )", "is no expression of CEL: line 2, column 6: "),
        ("input_token > 1", "names input_token, which no request has: use input_tokens, language, "),
        ("input_tokens", "must be true or false, as"),
        (r#"input_tokens > "many""#, "cannot be computed for a request of 1,000 tokens without images, "),
        ("[1, 2].exists(x, x == images)", "has a loop"),
        ("metadata.all(name, true)", "has a loop"),
        (r#"language.matches("(a+)+$")"#, "calls matches, which conditions cannot"),
        ("duration('1s') == duration('1s')", "calls duration, which conditions cannot"),
        ("1 / documents == 1", "cannot be computed for a request of 1,000 tokens"),
        ("google.protobuf.Value{} == 1", "has a list that is not to the right of in, a map or a message"),
        ("size([1, 2]) > images", "has a list that is not to the right of in"),
        ("{1: 2}[1] == images", "has a list that is not to the right of in, a map"),
        ("size([metadata] + [metadata]) < 0", "has an addition"),
        ("language + language == tenant", "has an addition"),
        ("size(metadata) > 3", "must ask for metadata by name"),
        ("metadata == metadata", "must ask for metadata by name"),
        ("tools in [metadata]", "must ask for metadata by name"),
        ("metadata.a.b.c == 1", "cannot be computed for a request of 1,000 tokens"),
        ("metadata.team.contains(1)", "cannot be computed for a request of 1,000 tokens"),
        (r#"metadata["team"] > 1"#, "cannot be computed for a request of 1,000 tokens"),
        ("metadata.team", "must be true or false"),
    ] {
        let error = error(text);
        assert!(error.starts_with(wanted), "{text}: {error}");
    }
    let long = format!("{}true", "true || ".repeat(200));
    assert_eq!(error(&long), "must have at most 1024 bytes");
}

/// However it is nested, it neither ends the process nor takes long.
#[test]
fn a_hostile_condition_is_refused_or_computed() {
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("{1:", "}"), ("true ? true : ", ""), ("metadata.", "")]
    {
        let times = CONDITION_BYTES_MAX / (open.len() + close.len()).max(1) - 2;
        let text = format!("{}1{}", open.repeat(times), close.repeat(times));
        if let Ok(condition) = Condition::compile(&text) {
            let metadata = BTreeMap::new();
            let subject = ConditionSubject { features: &features(), metadata: &metadata, tenant: None };
            condition.holds(&Variables::of(&subject));
        }
    }
    let deep = format!("{}tools{}", "(".repeat(400), ")".repeat(400));
    let error = Condition::compile(&deep).expect_err("too deep").to_string();
    assert_eq!(error, "is no expression of CEL: line 1, column 97: it is nested too deeply");
}

#[test]
fn the_first_rule_that_holds_decides() {
    let rule = |when: &str, targets: &[&str]| RoutingRule {
        when: when.to_owned(),
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        strategy: None,
    };
    let rules = RoutingRules::from(vec![
        rule("this is none", &["p/z"]),
        rule(r#"language == "en""#, &["p/a"]),
        rule("tools", &["p/b", "p/a"]),
        rule("true", &[]),
    ]);
    let (features, metadata) = (features(), BTreeMap::new());
    let found =
        rules.first_that_holds(&ConditionSubject { features: &features, metadata: &metadata, tenant: None }, compile);
    let (index, rule) = found.expect("a rule");
    assert_eq!((index, rule.place_of("p/a"), rule.place_of("p/b"), rule.place_of("p/c")), (2, Some(1), Some(0), None));
    let without_tools = RequestFeatures { tools: false, ..features };
    let found = rules
        .first_that_holds(&ConditionSubject { features: &without_tools, metadata: &metadata, tenant: None }, compile);
    let (index, rule) = found.expect("another");
    assert_eq!((index, rule.place_of("p/a"), rule.place_of("p/c")), (3, Some(0), Some(0)));
    let text = serde_json::to_string(&rules).expect("JSON");
    assert_eq!(serde_json::from_str::<RoutingRules>(&text).expect("rules"), rules);
    assert!(text.starts_with(r#"[{"when":"this is none","targets":["p/z"]},"#), "{text}");
}

/// The test would not end in time if the cost of the longest conditions grew with the product of their length and of the metadata.
#[test]
fn the_largest_rules_on_the_largest_metadata_are_decided() {
    let name = |number: usize| format!("{}{number:02}", "n".repeat(62));
    let metadata: BTreeMap<String, String> = (0..16).map(|number| (name(number), "v".repeat(512))).collect();
    let part = format!("metadata[\"{}\"] == \"\" || ", name(7));
    let when = format!("{}false", part.repeat((CONDITION_BYTES_MAX - 5) / part.len()));
    let rule = RoutingRule { when, targets: Vec::new(), strategy: None };
    let rules = RoutingRules::from(vec![rule; 8]);
    let features = features();
    let subject = ConditionSubject { features: &features, metadata: &metadata, tenant: None };
    for _ in 0..1_000 {
        assert_eq!(rules.first_that_holds(&subject, compile), None);
    }
}
