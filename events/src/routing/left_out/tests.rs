use std::borrow::Cow;

use chrono::DateTime;
use uuid::Uuid;

use super::*;
use crate::abilities::{Abilities, Ability, AbilitySet};
use crate::maintenance::MaintenanceWindows;
use crate::money::{GivenRates, NanoUsdPerMtok, Tariff};
use crate::routing::{StatedFacts, Target, TargetFacts};
use crate::terms::{RequiredTerms, Requirements, StatedTerms, Term};

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
    let ability = RecordedLeftOut::Abilities { ability: vec!["image".to_owned(), "of_later_times".to_owned()] };
    assert!([read, later, ability].iter().all(|later| !later.is_of_this_version()));
}

/// The log has all that the other rules judge by.
#[test]
fn a_rule_judges_again_by_the_facts_that_its_reason_states() {
    let abilities = Abilities::UNKNOWN.stating(Ability::Image, false).stating(Ability::Tools, false);
    let stated = StatedFacts { abilities, ..StatedFacts::UNKNOWN };
    let facts = TargetFacts { stated, ..TargetFacts::UNKNOWN };
    let row = Target { facts, ..Target::new(Uuid::from_u128(1).into(), "a") };
    let (windows, price) = (MaintenanceWindows::default(), NanoUsdPerMtok::default());
    let tariff = Tariff::new(GivenRates::new(price, price));
    for (kind, _) in kinds() {
        let mut question = RouteQuestion::of_none(DateTime::UNIX_EPOCH, Requirements::NONE);
        let known = TargetInputs::known_by(&row, &windows, &tariff, &StatedTerms::NONE);
        let mut target = TargetInputs { context_window: Some(u64::MAX), ..known };
        assert_eq!(LeftOut::judge(&question, &target), None);
        kind.recorded().restate(&mut question, &mut target);
        let is_proved = matches!(kind, LeftOut::NotInRule(_) | LeftOut::TermNotMet(_) | LeftOut::Maintenance(_));
        let judged = LeftOut::judge(&question, &target).map(LeftOut::recorded);
        assert_eq!(judged, (!is_proved).then(|| kind.recorded()));
        assert!(kind.recorded().is_of_this_version());
    }
}

/// Whoever requires it, and whatever else is required.
#[test]
fn the_terms_of_a_target_that_nobody_stated_are_those_that_its_reason_says() {
    let region = |text: &str| Some(text.parse().expect("a region"));
    let tenant = RequiredTerms { residency: region("eu"), training: false, ..RequiredTerms::NONE };
    let request = RequiredTerms { residency: region("eu-west"), zero_retention: true, ..RequiredTerms::NONE };
    let required = Requirements { tenant: &tenant, request: &request };
    let unmet = |reason: Option<&RecordedLeftOut>| required.unmet_by(&TermNotMet::restated(reason, required));
    for term in Term::ALL {
        let reason = TermNotMet(*term).recorded();
        assert_eq!(unmet(Some(&reason)).map(|(term, _)| term), Some(*term));
    }
    let other = RecordedLeftOut::Word(Cow::Borrowed("maintenance"));
    assert_eq!((unmet(None), unmet(Some(&other))), (None, None));
}
