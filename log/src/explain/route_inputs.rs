//! The inputs of a route, gathered from the log for a recorded admission: its model, providers and stated terms by the versions that it
//! names, the rule that holds by its features, and the strategy by whoever chose it.
//!
//! What only the node knew (open breakers, the prompt's count, what the dialect can express, what was measured) is in the log as the
//! reasons and figures that it led to. Each rule states the facts behind its reasons itself: see `RecordedLeftOut::restate`.

use chrono::{DateTime, Utc};
use events::content::ContentPolicy;
use events::event::admin::{Model, Provider, Strategy, Target};
use events::event::inference::InferenceAdmitted;
use events::maintenance::MaintenanceWindows;
use events::money::{GivenRates, NanoUsdPerMtok, Tariff};
use events::routing::left_out::TermNotMet;
use events::routing::{
    ConditionSubject, Features, LeftOut, RankFigures, RecordedLeftOut, RouteInputs, RouteQuestion, RoutingRule,
    TargetInputs,
};
use events::terms::{AdmittedTerms, Requirements, StatedTerms};

use super::evidence::AdmissionEvidence;
use super::strategy;
use super::verdict::Verdict;

/// The targets of a recorded request, as its inputs borrow them.
pub(super) struct LoggedTargets<'a> {
    /// In the order of the model's row.
    targets: Vec<LoggedTarget<'a>>,
    /// The windows of a provider that had none near: the admission names no version of it.
    no_windows: MaintenanceWindows,
    /// Stands for every price in force. The figures that follow from prices are recorded.
    any_tariff: Tariff,
}

/// A target with what the log has of it.
struct LoggedTarget<'a> {
    row: Target,
    provider: Option<&'a Provider>,
    terms: StatedTerms,
    /// The recorded reason why it was left out.
    reason: Option<&'a RecordedLeftOut>,
    /// Whether it could not serve for a reason that is not recorded, or that another version had.
    has_unknown_reason: bool,
    figures: Option<RankFigures>,
}

impl<'a> LoggedTargets<'a> {
    pub(super) fn of(of: AdmissionEvidence<'a>, model: &Model) -> Self {
        let free = NanoUsdPerMtok::default();
        Self {
            targets: model.targets.iter().map(|row| LoggedTarget::of(of, model, row)).collect(),
            no_windows: MaintenanceWindows::default(),
            any_tariff: Tariff::new(GivenRates::new(free, free)),
        }
    }

    /// The recorded figures of each target.
    pub(super) fn figures(&self) -> Vec<Option<RankFigures>> {
        self.targets.iter().map(|target| target.figures).collect()
    }

    /// The inputs for this question, with what the recorded reasons say of both.
    fn inputs<'t>(&'t self, question: &mut RouteQuestion<'_>) -> Vec<TargetInputs<'t>> {
        let mut inputs: Vec<_> = self.targets.iter().map(|target| self.without_reason(target)).collect();
        for (target, inputs) in self.targets.iter().zip(&mut inputs) {
            if let Some(reason) = target.reason {
                reason.restate(question, inputs);
            }
        }
        for (_, inputs) in self.targets.iter().zip(&mut inputs).filter(|(target, _)| target.has_unknown_reason) {
            if LeftOut::judge(question, inputs).is_none() {
                inputs.tariff = None;
            }
        }
        inputs
    }

    /// The inputs of a target that is left out for nothing but what the log shows.
    fn without_reason<'t>(&'t self, target: &'t LoggedTarget<'_>) -> TargetInputs<'t> {
        let of_provider = target.provider.map_or(&self.no_windows, |provider| &provider.maintenance);
        let known = TargetInputs::known_by(&target.row, of_provider, &self.any_tariff, &target.terms);
        TargetInputs { context_window: Some(u64::MAX), ..known }
    }
}

impl<'a> LoggedTarget<'a> {
    fn of(of: AdmissionEvidence<'a>, model: &Model, row: &Target) -> Self {
        let AdmissionEvidence { evidence, recorded, admitted } = of;
        let (backend, route) = (row.key(), admitted.route.as_deref());
        let has_price = admitted.versions.prices.contains_key(&backend);
        let reason = recorded_reason(admitted, &backend);
        let version = admitted.versions.providers.get(&row.provider_id);
        let provider = version.and_then(|version| evidence.provider(*version));
        // The admission names the models that state terms only of targets that it could be sent to.
        let terms = evidence.terms.stated(model, row, admitted, recorded.position).unwrap_or_else(|| match has_price {
            true => StatedTerms::NONE,
            false => TermNotMet::restated(reason, required(admitted)),
        });
        // Admissions by weight without figures are of one priority, or older than levels of weights.
        let has_levels = model.strategy != Strategy::Weighted || !figures_are_absent(admitted);
        Self {
            row: Target { priority: if has_levels { row.priority } else { 0 }, ..row.clone() },
            provider: provider.filter(|provider| provider.provider_id == row.provider_id),
            terms,
            reason,
            // Before reasons were recorded by every strategy, an admission without a route named no price of a target that could not serve.
            // Where there is a route, a target without price and reason was dropped after the decision: its dialect could not express the
            // request.
            has_unknown_reason: reason.map_or(!has_price && route.is_none(), |reason| !reason.is_of_this_version()),
            figures: route.and_then(|route| route.figures.get(&backend).copied()),
        }
    }
}

/// Gathers the inputs. Compares what is recorded of the rule, the strategy and the providers with what the log has of them.
pub(super) fn gather<'a>(
    of: AdmissionEvidence<'a>,
    model: &'a Model,
    logged: &'a LoggedTargets<'a>,
    at: DateTime<Utc>,
    verdict: &mut Verdict,
) -> RouteInputs<'a> {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    providers_must_match(of, verdict);
    let rule = rule_that_holds(of, model, verdict);
    let strategy = strategy::follows(of, strategy_of(model, rule), verdict);
    let mut question = RouteQuestion { rule, ..RouteQuestion::of_none(at, required(admitted)) };
    let targets = logged.inputs(&mut question);
    let session = admitted.route.as_ref().and_then(|route| route.session.clone());
    RouteInputs {
        model_id: model.model_id,
        canary: model.canary.as_ref(),
        tenant: recorded.context.tenant_id,
        strategy,
        features: Features { request: Some(evidence.request), ..Features::default() },
        session: session.filter(|_| !model.affinity.is_none()),
        question,
        targets,
    }
}

/// Why the admission says that a target was left out.
pub(super) fn recorded_reason<'a>(admitted: &'a InferenceAdmitted, backend: &str) -> Option<&'a RecordedLeftOut> {
    admitted.route.as_ref()?.left_out.get(backend)
}

/// Whether the figures of the order are to follow from the model's row.
pub(super) fn figures_are_absent(admitted: &InferenceAdmitted) -> bool {
    admitted.route.as_ref().is_none_or(|route| route.figures.is_empty())
}

fn required(admitted: &InferenceAdmitted) -> Requirements<'_> {
    let terms = admitted.route.as_ref().and_then(|route| route.terms.as_ref());
    terms.map_or(Requirements::NONE, AdmittedTerms::requirements)
}

fn providers_must_match(of: AdmissionEvidence<'_>, verdict: &mut Verdict) {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    for (provider, version) in &admitted.versions.providers {
        if evidence.provider(*version).is_none_or(|named| named.provider_id != *provider) {
            verdict.differ(recorded.position, "versions.providers", version, format!("a version of {provider}"));
        }
    }
}

/// The rule of the model that holds for the request, by the features that the admission has.
fn rule_that_holds<'a>(of: AdmissionEvidence<'_>, model: &'a Model, verdict: &mut Verdict) -> Option<&'a RoutingRule> {
    let AdmissionEvidence { recorded, admitted, .. } = of;
    let (position, route) = (recorded.position, admitted.route.as_deref());
    let features = route.and_then(|route| route.features.as_ref());
    let recorded_rule = route.and_then(|route| route.rule);
    let found = match (features, model.strategy) {
        (Some(features), Strategy::Rules) => {
            let tenant = recorded.context.tenant_id;
            let subject = ConditionSubject { features, metadata: &admitted.metadata, tenant };
            model.rules.first_that_holds(&subject, conditions::compile)
        }
        // Of content that is not kept, features are not either.
        (None, Strategy::Rules) if route.is_some() && admitted.content_policy == ContentPolicy::None => {
            verdict.undecided.push(NO_FEATURES.to_owned());
            let index = recorded_rule.and_then(|rule| usize::try_from(rule).ok());
            index.and_then(|index| Some((index, model.rules.get(index)?)))
        }
        (None, Strategy::Rules) => {
            verdict.differ(position, "route.features", "nothing", "what the rules of the model go by");
            None
        }
        (Some(_), strategy) => {
            let follows = format!("none: the strategy of the model is {strategy}");
            verdict.differ(position, "route.features", "some", follows);
            None
        }
        (None, _) => None,
    };
    if let Some(features) = features {
        verdict.compare(position, "route.features.streaming", features.streaming, admitted.streamed);
    }
    let (index, rule) = found.unzip();
    let shown = |index: Option<u64>| index.map_or_else(|| "none".to_owned(), |index| index.to_string());
    verdict.compare(position, "route.rule", shown(recorded_rule), shown(index.map(|index| index as u64)));
    rule
}

const NO_FEATURES: &str = "the log does not have what the rules went by, because nothing is kept of the content";

/// The strategy that a model and its rule say.
fn strategy_of(model: &Model, rule: Option<&RoutingRule>) -> Strategy {
    match (model.strategy, rule) {
        (Strategy::Rules, None) => Strategy::Priority,
        (Strategy::Rules, Some(rule)) => rule.strategy.unwrap_or(Strategy::Rules),
        (strategy, _) => strategy,
    }
}
