use std::borrow::Cow;

use chrono::DateTime;

use super::*;
use crate::abilities::{Ability, AbilitySet};
use crate::terms::Term;

/// Each reason with some details, in the order of the rules, and the word that was recorded of it since there has been one.
fn kinds() -> Vec<(LeftOut, &'static str)> {
    let lacked = AbilitySet::NONE.with(Ability::Image).with(Ability::Tools);
    vec![
        (LeftOut::NotInRule(NotInRule), r#""not_in_rule""#),
        (LeftOut::NoProvider(NoProvider), r#""no_provider""#),
        (LeftOut::NoPrice(NoPrice), r#""no_price""#),
        (LeftOut::KindUnknown(KindUnknown), r#""kind_unknown""#),
        (LeftOut::NoSuchApi(NoSuchApi), r#""no_such_api""#),
        (LeftOut::ForAnotherApi(ForAnotherApi), r#""for_another_api""#),
        (LeftOut::FieldNotAllowed(FieldNotAllowed), r#""field_not_allowed""#),
        (LeftOut::ContextUnknown(ContextUnknown), r#""context_unknown""#),
        (LeftOut::CapAbove(CapAbove { maximum: 0 }), r#""cap_above""#),
        (LeftOut::AbilityLacked(AbilityLacked(lacked)), r#"{"ability":["image","tools"]}"#),
        (LeftOut::ContextWindow(ContextWindow { window: 8 }), r#""context_window""#),
        (LeftOut::TermNotMet(TermNotMet(Term::Residency)), r#""residency_not_met""#),
        (LeftOut::TermNotMet(TermNotMet(Term::ZeroRetention)), r#""zero_retention_not_met""#),
        (LeftOut::TermNotMet(TermNotMet(Term::Training)), r#""training_not_met""#),
        (LeftOut::Maintenance(Maintenance { until: DateTime::UNIX_EPOCH }), r#""maintenance""#),
        (LeftOut::BreakerOpen(BreakerOpen), r#""breaker_open""#),
    ]
}

#[test]
fn each_reason_is_recorded_as_it_always_was_and_told_in_words_without_what_the_log_lacks() {
    for (kind, recorded) in kinds() {
        // This match is here to be extended with the list above.
        match kind {
            LeftOut::NotInRule(_)
            | LeftOut::NoProvider(_)
            | LeftOut::NoPrice(_)
            | LeftOut::KindUnknown(_)
            | LeftOut::NoSuchApi(_)
            | LeftOut::ForAnotherApi(_)
            | LeftOut::FieldNotAllowed(_)
            | LeftOut::ContextUnknown(_)
            | LeftOut::CapAbove(_)
            | LeftOut::AbilityLacked(_)
            | LeftOut::ContextWindow(_)
            | LeftOut::TermNotMet(_)
            | LeftOut::Maintenance(_)
            | LeftOut::BreakerOpen(_) => {}
        }
        let json = serde_json::to_string(&kind.recorded()).expect("JSON");
        assert_eq!(json, recorded);
        let read: RecordedLeftOut = serde_json::from_str(&json).expect("a reason");
        assert_eq!(read, kind.recorded());
        let told = read.to_string();
        assert!(told != recorded && !told.contains("1970") && told.contains(' '), "{told}");
        assert!(kind.to_string().contains(' '));
    }
    let of_later = r#"{"device":["a100"],"of":7}"#;
    let read: RecordedLeftOut = serde_json::from_str(of_later).expect("a reason of a later version");
    assert_eq!(serde_json::to_string(&read).expect("JSON"), of_later);
    let later = RecordedLeftOut::Word(Cow::Borrowed("of_later_times"));
    assert_eq!(later.to_string(), "of later times");
}
