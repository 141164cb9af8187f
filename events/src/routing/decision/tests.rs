use chrono::DateTime;
use uuid::Uuid;

use super::*;
use crate::abilities::{Abilities, Ability, AbilitySet};
use crate::maintenance::{MaintenanceWindow, MaintenanceWindows};
use crate::money::{GivenRates, NanoUsdPerMtok, Tariff};
use crate::routing::{Canary, CanaryBy, DialectFit, Features, OpenBreakerInputs, RouteQuestion};
use crate::terms::{RequiredTerms, Requirements, StatedTerms};

/// The rows of the targets, and the facts that all of them share.
struct Known {
    rows: Vec<Target>,
    tariff: Tariff,
    windows: MaintenanceWindows,
}

impl Known {
    fn new(count: usize) -> Self {
        let row = |at: usize| Target { priority: 0, ..Target::new(Uuid::from_u128(1).into(), at.to_string()) };
        let price = NanoUsdPerMtok::default();
        Self {
            rows: (0..count).map(row).collect(),
            tariff: Tariff::new(GivenRates::new(price, price)),
            windows: MaintenanceWindows::default(),
        }
    }

    fn inputs(&self, at: usize) -> TargetInputs<'_> {
        TargetInputs::known_by(&self.rows[at], &self.windows, &self.tariff, &StatedTerms::NONE)
    }
}

const NONE: Requirements<'static> = Requirements { tenant: &RequiredTerms::NONE, request: &RequiredTerms::NONE };

fn decided<'a>(targets: Vec<TargetInputs<'a>>, canary: Option<&'a Canary>) -> RouteDecision<'a> {
    decide(RouteInputs {
        model_id: Uuid::from_u128(2).into(),
        canary,
        tenant: None,
        strategy: Strategy::Priority,
        features: Features::default(),
        session: None,
        question: RouteQuestion::of_none(DateTime::UNIX_EPOCH, NONE),
        targets,
    })
}

/// Each fault is added to those before it: the reason is always that of the rule that stands first in the table.
#[test]
fn of_several_reasons_the_first_of_the_table_counts() {
    let mut known = Known::new(1);
    let epoch = DateTime::UNIX_EPOCH;
    let now = MaintenanceWindow { from: epoch, to: epoch + chrono::Duration::hours(1) };
    known.rows[0].maintenance = vec![now].into();
    known.rows[0].facts.stated.abilities = Abilities::UNKNOWN.stating(Ability::Tools, false);
    let terms = RequiredTerms { zero_retention: true, ..RequiredTerms::NONE };
    let mut question = RouteQuestion::of_none(epoch, NONE);
    let breaker = OpenBreakerInputs { has_answered: false, until: None };
    let mut inputs =
        TargetInputs { open_breaker: Some(breaker), provider_maintenance: Some(&known.windows), ..known.inputs(0) };
    let why = |question: &RouteQuestion<'_>, inputs: &TargetInputs<'_>| {
        LeftOut::judge(question, inputs).map(|why| why.recorded().shown().into_owned())
    };
    let rested = RouteQuestion { now: epoch + chrono::Duration::days(1), ..question };
    assert_eq!(why(&rested, &inputs).as_deref(), Some("breaker_open"));
    assert_eq!(why(&question, &inputs).as_deref(), Some("maintenance"));
    question.required = Requirements { request: &terms, ..NONE };
    assert_eq!(why(&question, &inputs).as_deref(), Some("zero_retention_not_met"));
    (inputs.context_window, inputs.prompt_tokens) = (Some(9), Some(10));
    assert_eq!(why(&question, &inputs).as_deref(), Some("context_window"));
    question.needs = AbilitySet::NONE.with(Ability::Tools);
    assert_eq!(why(&question, &inputs).as_deref(), Some("ability tools"));
    (question.output_cap, inputs.max_output_tokens) = (Some(20), Some(19));
    assert_eq!(why(&question, &inputs).as_deref(), Some("cap_above"));
    (question.has_documents, inputs.context_window) = (true, None);
    assert_eq!(why(&question, &inputs).as_deref(), Some("context_unknown"));
    for (dialect, word) in [
        (DialectFit::FieldNotAllowed, "field_not_allowed"),
        (DialectFit::ForAnotherApi, "for_another_api"),
        (DialectFit::NoSuchApi, "no_such_api"),
        (DialectFit::KindUnknown, "kind_unknown"),
    ] {
        inputs.dialect = dialect;
        assert_eq!(why(&question, &inputs).as_deref(), Some(word));
    }
    inputs.tariff = None;
    assert_eq!(why(&question, &inputs).as_deref(), Some("no_price"));
    inputs.provider_maintenance = None;
    assert_eq!(why(&question, &inputs).as_deref(), Some("no_provider"));
}

#[test]
fn the_output_counts_within_a_window_only_where_that_is_stated() {
    let known = Known::new(1);
    let question = RouteQuestion { output_cap: Some(4), ..RouteQuestion::of_none(DateTime::UNIX_EPOCH, NONE) };
    let fits = |tokens: Option<u64>, window_counts_output: bool| {
        let inputs =
            TargetInputs { context_window: Some(10), prompt_tokens: tokens, window_counts_output, ..known.inputs(0) };
        LeftOut::judge(&question, &inputs).is_none()
    };
    assert!(fits(Some(10), false) && !fits(Some(11), false) && fits(None, false));
    assert!(fits(Some(6), true) && !fits(Some(7), true));
}

#[test]
fn targets_with_open_breakers_are_the_last_resorts_and_the_canary_the_very_last() {
    let known = Known::new(5);
    let until = |seconds: i64| Some(DateTime::UNIX_EPOCH + chrono::Duration::seconds(seconds));
    let open = |has_answered: bool, seconds: i64| Some(OpenBreakerInputs { has_answered, until: until(seconds) });
    let breakers = [open(true, 1), open(false, 9), None, open(false, 3), open(true, 50)];
    let targets = || (0..5).map(|at| TargetInputs { open_breaker: breakers[at], ..known.inputs(at) }).collect();
    let decision = decided(targets(), None);
    assert_eq!(decision.called().collect::<Vec<_>>(), [2, 0, 4, 3, 1]);
    let canary = Canary {
        provider_id: Uuid::from_u128(1).into(),
        model: "0".to_owned(),
        share_percent: 50,
        by: CanaryBy::Request,
    };
    let decision = decided(targets(), Some(&canary));
    assert_eq!(decision.canary, Some(CanaryPlace::Last), "it cannot serve");
    assert_eq!(decision.called().collect::<Vec<_>>(), [2, 4, 3, 1, 0]);
}
