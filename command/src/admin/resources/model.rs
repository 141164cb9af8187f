//! A frontend model: a name that clients request, and the backends that can serve it. Names are unique among the shared models
//! and among each tenant's own. The log keeps the claims to names beside the events.

mod alias;
mod canary;
mod retirement;
mod shadow;

use built_in_catalogue::MODEL_NAME_CHARS_MAX;
use conditions::{CONDITION_BYTES_MAX, Condition};
use dialects::{ProviderKind, provider_dialects};
use events::event::admin::{Affinity, Model, StatedFacts, Strategy, Target, Tokenizer};
use events::ids::{ModelId, ProviderId, TenantId};
use events::refused_parameters::RefusedParameter;

use super::abilities::{abilities, shape as abilities_shape};
use super::maintenance::maintenance;
use super::prelude::*;
use super::{made_by_gateway, terms};

const TARGETS_LEN_MAX: usize = 32;
const SYSTEM_PREFIX_LEN_MAX: usize = 100_000;
const RANK_MAX: u64 = 1_000_000;
/// The most calls under way that a target can be limited to.
const CONCURRENT_MAX: u64 = 1_000_000;
const QUALITY_MAX: u64 = 100;
/// Below the least, a healthy target would have no time to answer, and nearly every request would be made twice.
const HEDGE_AFTER_MS_MIN: u64 = 50;
const HEDGE_AFTER_MS_MAX: u64 = 600_000;
const RULES_LEN_MAX: usize = 32;
/// Bytes of all conditions of a model together: a request for which no rule holds evaluates all of them.
const CONDITIONS_BYTES_MAX: usize = 8192;
/// `prv_…/` and the longest name of a model.
const BACKEND_LEN_MAX: usize = NAME_LEN_MAX + 40;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let members = vec![
        required("name", slug()).meaning("The name that clients send as model. It may contain /, but no white space"),
        defaulting("strategy", one_of(Strategy::ACCEPTED), json!("priority"))
            .meaning(
                "The order in which targets are tried; performance is another word for latency, and tenant_default is the tenant's default_strategy",
            ),
        defaulting("targets", target().into_object().list(TARGETS_LEN_MAX), json!([])).shown_as(schema::list(target().creation().open(), None)).meaning("At least one, unless the model is an alias"),
        alias::alias(),
        defaulting("affinity", one_of(Affinity::NAMED), json!("none")).meaning(
            "session: requests of one session (x-ledgerway-session, or prompt_cache_key of Chat Completions) go first to the same one of \
             the targets that the strategy ranks equally",
        ),
        canary::canary(),
        shadow::shadow(),
        defaulting("rules", rule().into_object().list(RULES_LEN_MAX), json!([]))
            .shown_as(schema::list(rule().creation().open(), None))
            .meaning("For the strategy rules: the first rule whose condition holds decides. Where none does, the order is that of priority"),
        optional("hedge_after_ms", whole(HEDGE_AFTER_MS_MIN, HEDGE_AFTER_MS_MAX)).meaning(
            "After how many milliseconds without content from the first target the next one is called beside it; null if it never is. Both \
             calls are charged, and the hold is made for two",
        ),
        optional("system_prefix", prose(SYSTEM_PREFIX_LEN_MAX)),
        retirement::deprecated_at(),
        retirement::retires_at(),
        retirement::successor(),
        optional("tenant_id", id::<TenantId>())
            .fixed()
            .meaning("The tenant that owns it; null if all tenants share it"),
        labels(),
        made_by_gateway::origin(
            "catalogue if the gateway made it for a provider of its environment, discovered if it found it at a local server; \
             null if a command created it, which then takes precedence over one of the same name that the gateway made",
        ),
    ];
    let target = json!({ "provider_id": "prv_0000000000000000000000000000000b", "model": "echo" });
    let rule = json!({ "when": "input_tokens > 4000", "targets": ["prv_0000000000000000000000000000000b/echo"] });
    let example = json!({ "name": "gpt", "strategy": "rules", "targets": [target], "rules": [rule] });
    Declaration::of::<Model>(members, example)
});

fn target() -> Members {
    let (rank, tokens) = (|| whole(0, RANK_MAX), || whole(1, Target::TOKENS_MAX));
    let members = vec![
        required("provider_id", id::<ProviderId>()),
        required("model", text(NAME_LEN_MAX)),
        optional("name", text(NAME_LEN_MAX)).meaning(
            "Unique within the model, such as 1-primary. Among targets of one priority, those with a name are tried first, in \
             the order of their names by character codes",
        ),
        defaulting("priority", rank(), json!(0)).meaning("The target with the lowest number is tried first"),
        defaulting("weight", rank(), json!(1)),
        optional("context_window", tokens()).meaning(
            "The most tokens of a prompt. In a model of a tenant's, a target on a shared provider has that of shared models \
             instead",
        ),
        defaulting("window_counts_output", boolean(), json!(false))
            .meaning("True if the output cap counts within context_window as well"),
        optional("max_output_tokens", tokens()).meaning(
            "The highest output cap. In a model of a tenant's, a target on a shared provider has that of shared models, or \
             this one if it is lower",
        ),
        optional("default_max_output_tokens", tokens()),
        optional("tokenizer", one_of(Tokenizer::NAMED))
            .meaning(
                "The tokenizer that the backend counts with, if it is known. In a model of a tenant's, a target on a shared provider has \
                 that of shared models instead",
            ),
        optional("quality", whole(0, QUALITY_MAX)).meaning("Your score, for the strategy quality: the highest is tried first"),
        optional("max_concurrent", whole(1, CONCURRENT_MAX)).meaning(
            "How many calls the backend may have under way from one node; further requests go to other targets, or wait. The lowest of \
             all shared models counts, also for tenants' models on a shared provider",
        ),
        maintenance("When the target is not called, as times in UTC"),
        abilities(),
        optional("refused_parameters", one_of(RefusedParameter::NAMED).list(RefusedParameter::ALL.len())).meaning(
            "The parameters that the backend's model refuses: requests are sent without them, and responses name them in \
             x-ledgerway-ignored. Null for those that the catalogue states",
        ),
        catalogued(),
    ];
    Members(members.into_iter().chain(terms::stated()).collect())
}

/// Bodies may have it, so that a list that was read can be sent back.
fn catalogued() -> Member {
    let shape = schema::object()
        .optional("abilities", abilities_shape())
        .optional("refused_parameters", schema::list(schema::one_of_names(RefusedParameter::NAMED), None))
        .open();
    optional("catalogued", FieldType::new(shape, |_| Ok(StatedFacts::UNKNOWN))).meaning(
        "The facts that the catalogue stated of the backend when the targets were last given; they count where the target states none. \
         Bodies may repeat it; it is not read",
    )
}

fn rule() -> Members {
    Members(vec![
        required("when", condition()).meaning(
            "A condition in the Common Expression Language, such as input_tokens > 4000 && language == \"de\"",
        ),
        defaulting("targets", backend().list(TARGETS_LEN_MAX), json!([]))
            .meaning("The targets that may serve, the one that is tried first in front; all if empty"),
        optional("strategy", one_of(Strategy::CHOOSABLE))
            .meaning("Orders these targets; null for the order in which they are named"),
    ])
}

fn condition() -> FieldType {
    FieldType::new(schema::condition(CONDITION_BYTES_MAX), |field| field.text(CONDITION_BYTES_MAX))
}

/// The rules of the model say which ones it may be.
fn backend() -> FieldType {
    let shape = schema::backend(ProviderId::PREFIX, BACKEND_LEN_MAX);
    let shape = schema::described(shape, "provider_id/model of one of the model's targets");
    FieldType::new(shape, |field| field.text(BACKEND_LEN_MAX))
}

/// Refuses rules that name no target of the model, or whose conditions cannot be read.
fn check_routing_rules(model: &Model) -> Result<(), RuleError> {
    if model.strategy == Strategy::Rules && model.rules.is_empty() {
        return Err(RuleError::of_field("rules", "must have at least one rule, because the strategy is rules"));
    }
    if model.rules.iter().map(|rule| rule.when.len()).sum::<usize>() > CONDITIONS_BYTES_MAX {
        let reason = format!("must have at most {CONDITIONS_BYTES_MAX} bytes of conditions together");
        return Err(RuleError::of_field("rules", reason));
    }
    for (index, rule) in model.rules.iter().enumerate() {
        if let Err(error) = Condition::compile(&rule.when) {
            return Err(RuleError::of_field(format!("rules[{index}].when"), error.to_string()));
        }
        if rule.targets.is_empty() && rule.strategy.is_none() {
            return Err(RuleError::of_field(format!("rules[{index}]"), "must have targets or a strategy"));
        }
        for (place, backend) in rule.targets.iter().enumerate() {
            let field = || format!("rules[{index}].targets[{place}]");
            if !model.targets.iter().any(|target| target.key() == *backend) {
                return Err(RuleError::of_field(
                    field(),
                    "is not a target of this model: write provider_id/model of one of targets",
                ));
            }
            if rule.targets[..place].contains(backend) {
                return Err(RuleError::of_field(field(), "is named twice"));
            }
        }
    }
    Ok(())
}

fn slug() -> FieldType {
    let form = format!(r"^[^\s\u0000-\u001f\u007f-\u009f]{{1,{MODEL_NAME_CHARS_MAX}}}$");
    let is_one_word = |name: &str| !name.contains(char::is_whitespace);
    text_that(schema::formed(&form), MODEL_NAME_CHARS_MAX, is_one_word, "must not contain white space")
}

/// Checks the targets against their providers, and adds what the catalogue states of their backends.
fn check_providers(
    cx: &AdminContext<'_>,
    targets: &mut [Target],
    tenant: Option<TenantId>,
) -> Result<(), CommandError> {
    for (index, target) in targets.iter_mut().enumerate() {
        let provider = cx.provider(target.provider_id, tenant, &format!("targets[{index}].provider_id"))?;
        let kind = ProviderKind::named(&provider.kind);
        if let Some(Err(reason)) = kind.map(|kind| provider_dialects::check_model(kind, &target.model)) {
            return Err(FieldError::new(format!("targets[{index}].model"), reason).into());
        }
        target.facts.catalogued = (cx.admin.catalogued)(provider, &target.model);
        if target.tokenizer.is_none() {
            continue;
        }
        let refused = match kind {
            Some(kind) if provider_dialects::of(kind).has_tokenizers => continue,
            Some(_) => "is not supported for this kind of provider",
            None => "cannot be checked: this version of the gateway does not know the provider's kind",
        };
        return Err(FieldError::new(format!("targets[{index}].tokenizer"), refused).into());
    }
    Ok(())
}

impl Rules for Model {
    type State = Self;

    /// A model that the gateway made yields its name to any other.
    fn claim(&self) -> Option<SideRow> {
        let claim = claim(Self::KIND, self.model_id, &self.name, self.tenant_id);
        Some(claim).filter(|_| self.origin.is_none())
    }

    fn validated(self) -> Result<Self, RuleError> {
        alias::check(&self)?;
        if self.strategy == Strategy::Weighted && self.targets.iter().all(|target| target.weight == 0) {
            let reason = "must have a target with a weight above 0, because the strategy is weighted";
            return Err(RuleError::of_field("targets", reason));
        }
        for (index, target) in self.targets.iter().enumerate() {
            let same = |before: &Target| before.provider_id == target.provider_id && before.model == target.model;
            if self.targets[..index].iter().any(same) {
                let reason = "has the same provider_id and model as an earlier target";
                return Err(RuleError::of_field(format!("targets[{index}]"), reason));
            }
            if target.name.is_some() && self.targets[..index].iter().any(|before| before.name == target.name) {
                let reason = "is the name of an earlier target";
                return Err(RuleError::of_field(format!("targets[{index}].name"), reason));
            }
            let refused = target.facts.stated.refused_parameters.unwrap_or_default();
            if let Some(reason) = refused.contradiction() {
                return Err(RuleError::of_field(format!("targets[{index}].refused_parameters"), reason));
            }
            if let (Some(default), Some(maximum)) = (target.default_max_output_tokens, target.max_output_tokens)
                && default > maximum
            {
                let field = format!("targets[{index}].default_max_output_tokens");
                return Err(RuleError::of_field(field, "must not be above max_output_tokens"));
            }
        }
        check_routing_rules(&self)?;
        canary::check(&self)?;
        shadow::check(&self)?;
        retirement::check(&self)?;
        Ok(self)
    }
}

impl Administered for Model {
    const PATH: &'static str = "/v1/admin/models";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &Model, tables: &Tables) -> Chain {
        state.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn may_manage(cx: &AdminContext<'_>, state: &Model) -> Result<(), CommandError> {
        cx.may_manage_models()?;
        made_by_gateway::refuse_model(state, &cx.tables)
    }

    async fn create(cx: &AdminContext<'_>, id: ModelId, given: FieldValues) -> PlanResult<Self> {
        cx.may_manage_models()?;
        let mut made: Self = Self::of_values(id, given)?;
        let chain = cx.owner(made.tenant_id)?;
        check_providers(cx, &mut made.targets, made.tenant_id)?;
        alias::check_names(cx, made.alias.steps(), made.tenant_id)?;
        if !made.alias.is_empty() {
            alias::check_not_stood_for(cx, &made.name, made.tenant_id)?;
        }
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Model, mut given: FieldValues) -> PlanResult<Self> {
        let tenant = state.tenant_id;
        if let Some(mut targets) = given.get::<Vec<_>>("targets")? {
            check_providers(cx, &mut targets, tenant)?;
            given.put("targets", targets);
        }
        let steps: Option<Vec<_>> = given.get("alias")?;
        alias::check_names(cx, steps.as_deref().unwrap_or_default(), tenant)?;
        let will_be_alias = steps.map_or(!state.alias.is_empty(), |steps| !steps.is_empty());
        if will_be_alias && (state.alias.is_empty() || given.text("name").is_some()) {
            alias::check_not_stood_for(cx, given.text("name").unwrap_or(&state.name), tenant)?;
        }
        let claims = state.reclaim("name", &given)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx).with_side(claims))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use serde_json::Value;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Model> {
        spec::given(facts)
    }

    fn target(provider: u128) -> Target {
        Target { max_output_tokens: Some(10), ..Target::new(id(provider), "echo") }
    }

    fn model(targets: &[Target]) -> Model {
        let made = Model::new(id(1), "acme/small", targets.to_vec());
        Model { system_prefix: Some("Be brief.".into()), ..made }
    }

    #[test]
    fn a_model_has_targets_and_none_of_them_twice() {
        given([]).when(Create(model(&[target(1), target(2)]))).then([created(model(&[target(1), target(2)]))]);
        given([])
            .when(Create(model(&[])))
            .then_refused(RuleError::of_field("targets", "must have at least one target"));
        given([])
            .when(Create(model(&[target(1), target(2), target(1)])))
            .then_refused(RuleError::of_field("targets[2]", "has the same provider_id and model as an earlier target"));
    }

    #[test]
    fn names_of_targets_are_unique_within_their_model() {
        let named = |provider, name: &str| Target { name: Some(name.into()), ..target(provider) };
        let distinct = || model(&[named(1, "1-primary"), named(2, "2-backup"), target(3), target(4)]);
        given([]).when(Create(distinct())).then([created(distinct())]);
        let twice = model(&[named(1, "primary"), target(2), named(3, "primary")]);
        let refused = || RuleError::of_field("targets[2].name", "is the name of an earlier target");
        given([]).when(Create(twice.clone())).then_refused(refused());
        let changed = change(&json!({ "targets": twice.targets }));
        given([created(distinct())]).when(changed).then_refused(refused());
    }

    #[test]
    fn the_default_cap_is_not_above_the_maximum() {
        let capped = |default| Target { default_max_output_tokens: Some(default), ..target(1) };
        given([]).when(Create(model(&[capped(10)]))).then([created(model(&[capped(10)]))]);
        given([]).when(Create(model(&[target(2), capped(11)]))).then_refused(RuleError::of_field(
            "targets[1].default_max_output_tokens",
            "must not be above max_output_tokens",
        ));
    }

    #[test]
    fn a_weighted_model_needs_a_weight_above_zero() {
        let weighted = |weights: [u32; 2]| Model {
            strategy: Strategy::Weighted,
            ..model(&[Target { weight: weights[0], ..target(1) }, Target { weight: weights[1], ..target(2) }])
        };
        given([]).when(Create(weighted([0, 1]))).then([created(weighted([0, 1]))]);
        given([]).when(Create(weighted([0, 0]))).then_refused(RuleError::of_field(
            "targets",
            "must have a target with a weight above 0, because the strategy is weighted",
        ));
    }

    #[test]
    fn rules_name_targets_of_the_model_and_have_conditions_that_can_be_read() {
        let by_rules = |rules: Value| Model {
            strategy: Strategy::Rules,
            rules: serde_json::from_value(rules).expect("rules"),
            ..model(&[target(1), target(2)])
        };
        let [one, two] = [1, 2].map(|provider| target(provider).key());
        let sound = json!([
            { "when": "tools", "targets": [two, one] },
            { "when": "input_tokens > 4000", "strategy": "cost" },
            { "when": "true", "targets": [one], "strategy": "latency" },
        ]);
        given([]).when(Create(by_rules(sound.clone()))).then([created(by_rules(sound))]);
        let other = target(3).key();
        for (rules, field, reason) in [
            (json!([]), "rules", "must have at least one rule, because the strategy is rules"),
            (json!([{ "when": "tools" }]), "rules[0]", "must have targets or a strategy"),
            (
                json!([{ "when": "tools", "targets": [one, other] }]),
                "rules[0].targets[1]",
                "is not a target of this model: write provider_id/model of one of targets",
            ),
            (json!([{ "when": "tools", "targets": [one, one] }]), "rules[0].targets[1]", "is named twice"),
            (
                json!([{ "when": "true", "targets": [one] }, { "when": "input_tokens", "targets": [one] }]),
                "rules[1].when",
                "must be true or false, as input_tokens > 4000 is",
            ),
        ] {
            given([]).when(Create(by_rules(rules))).then_refused(RuleError::of_field(field, reason));
        }
    }

    #[test]
    fn a_change_is_held_to_the_same_rules() {
        let changes = || change(&json!({ "system_prefix": null }));
        let empty = change(&json!({ "system_prefix": null, "targets": [] }));
        let without_prefix = Model { system_prefix: None, ..model(&[target(1)]) };
        given([created(model(&[target(1)]))]).when(changes()).then([changed(without_prefix)]);
        given([created(model(&[target(1)]))])
            .when(empty)
            .then_refused(RuleError::of_field("targets", "must have at least one target"));
        let ended = || ended::<Model>(id(1));
        given([created(model(&[target(1)]))]).when(End).then([ended()]);
        given([created(model(&[target(1)])), ended()]).when(changes()).then_refused(RuleError::Ended);
    }
}
