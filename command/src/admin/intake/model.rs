//! `/v1/admin/models`: `name`, `strategy`, `targets`, `system_prefix`, `tenant_id`. A name is claimed among what the same
//! keys can see: one list for what all share, one for each tenant's own.

use dialects::upstreams;
use events::event::admin::{Model, Strategy, Target, Tokenizer};
use events::event::{Chain, ResourceState};
use events::ids::{ModelId, ProviderId, TenantId};
use openapi::resource::{self, Form};
use openapi::schema::{self, object};
use projections::tables::Tables;
use serde_json::json;

use super::NAME_LEN_MAX;
use super::names::{claim, release};
use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields};
use crate::admin::lifecycle::Command;
use crate::admin::model::{ChangeModel, ModelError};
use crate::admin::routes::{Administered, Plan};

const TARGETS_LEN_MAX: usize = 32;
const SYSTEM_PREFIX_LEN_MAX: usize = 100_000;
const RANK_MAX: u64 = 1_000_000;
const TOKENS_MAX: u64 = 100_000_000;

const TARGET_FIELDS: [&str; 8] = [
    "provider_id",
    "model",
    "priority",
    "weight",
    "context_window",
    "max_output_tokens",
    "default_max_output_tokens",
    "tokenizer",
];

const TOKENIZERS: &[(&str, Tokenizer)] =
    &[("o200k_base", Tokenizer::O200kBase), ("cl100k_base", Tokenizer::Cl100kBase)];

fn slug(field: Field) -> Result<String, FieldError> {
    let path = field.path().to_owned();
    let name = field.text(NAME_LEN_MAX)?;
    if name.contains(char::is_whitespace) {
        return Err(FieldError::new(path, "must not have white space"));
    }
    Ok(name)
}

fn targets(field: Field) -> Result<Vec<Target>, FieldError> {
    field.list(TARGETS_LEN_MAX, |field| target(field.object()?))
}

fn target(fields: Fields) -> Result<Target, FieldError> {
    let mut fields = fields.known(&TARGET_FIELDS)?;
    let rank = |field: Field| {
        let path = field.path().to_owned();
        u32::try_from(field.whole(0..=RANK_MAX)?).map_err(|_| FieldError::new(path, "is too large"))
    };
    let tokens = |field: Field| field.whole(1..=TOKENS_MAX);
    let target = Target {
        provider_id: fields.required("provider_id", Field::parsed)?,
        model: fields.required("model", |field| field.text(NAME_LEN_MAX))?,
        priority: fields.optional("priority", rank)?.unwrap_or(0),
        weight: fields.optional("weight", rank)?.unwrap_or(1),
        context_window: fields.optional("context_window", tokens)?,
        max_output_tokens: fields.optional("max_output_tokens", tokens)?,
        default_max_output_tokens: fields.optional("default_max_output_tokens", tokens)?,
        tokenizer: fields.optional("tokenizer", |field| field.one_of(TOKENIZERS))?,
    };
    fields.finish()?;
    Ok(target)
}

fn check_providers(cx: &AdminContext<'_>, targets: &[Target], tenant: Option<TenantId>) -> Result<(), CommandError> {
    for (index, target) in targets.iter().enumerate() {
        let provider = cx.provider(target.provider_id, tenant, &format!("targets[{index}].provider_id"))?;
        if target.tokenizer.is_some() && !upstreams::of(provider.kind).has_tokenizers {
            let field = format!("targets[{index}].tokenizer");
            return Err(FieldError::new(field, "is not what this provider counts with").into());
        }
    }
    Ok(())
}

impl Administered for Model {
    const PATH: &'static str = "/v1/admin/models";

    fn form_of() -> Form {
        let tokens = || schema::nullable(schema::whole(1, TOKENS_MAX));
        let rank = |default: u64| schema::defaulting(schema::nullable(schema::whole(0, RANK_MAX)), default.into());
        let tokenizer = || schema::nullable(schema::one_of_names(TOKENIZERS));
        let target = || {
            object()
                .required("provider_id", schema::id(ProviderId::PREFIX))
                .required("model", schema::text(NAME_LEN_MAX))
                .optional("priority", schema::described(rank(0), "The lowest number is tried first"))
                .optional("weight", rank(1))
                .optional("context_window", tokens())
                .optional("max_output_tokens", tokens())
                .optional("default_max_output_tokens", tokens())
                .optional("tokenizer", schema::described(tokenizer(), "Only where the backend counts with it"))
        };
        let targets = schema::filled_list(target().closed(), Some(TARGETS_LEN_MAX));
        let members = vec![
            resource::required(
                "name",
                schema::formed(&format!(r"^[^\s\u0000-\u001f\u007f-\u009f]{{1,{NAME_LEN_MAX}}}$")),
            )
            .meaning("What clients ask for; / is allowed, white space is not"),
            resource::defaulting("strategy", schema::one_of_names(Strategy::NAMED), json!("priority")),
            resource::required("targets", targets).shown_as(schema::list(target().open(), None)),
            resource::optional("system_prefix", schema::prose(SYSTEM_PREFIX_LEN_MAX)),
            resource::optional("tenant_id", schema::id(TenantId::PREFIX))
                .fixed()
                .meaning("Whose own it is; shared by all where it is null"),
        ];
        let target = json!({ "provider_id": "prv_0000000000000000000000000000000b", "model": "echo" });
        let example = json!({ "name": "gpt", "targets": [target] });
        Form { kind: "model", prefix: ModelId::PREFIX, members, example }
    }

    fn chain(state: &Model, tables: &Tables) -> Chain {
        state.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    fn refused(error: ModelError) -> CommandError {
        let field = match error {
            ModelError::Lifecycle(error) => return CommandError::of_lifecycle(Self::KIND, error),
            ModelError::NoTargets => "targets".to_owned(),
            ModelError::NoWeight => "targets".to_owned(),
            ModelError::TargetRepeated { index } => format!("targets[{index}]"),
            ModelError::DefaultAboveMaximum { index } => format!("targets[{index}].default_max_output_tokens"),
        };
        FieldError::new(field, error.to_string()).into()
    }

    fn manage(_: &AdminContext<'_>, _: &Model) -> Result<(), CommandError> {
        Ok(())
    }

    async fn create(cx: &AdminContext<'_>, id: ModelId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let name = fields.required("name", slug)?;
        let strategy =
            fields.optional("strategy", |field| field.one_of(Strategy::NAMED))?.unwrap_or(Strategy::Priority);
        let targets = fields.required("targets", targets)?;
        let system_prefix = fields.optional("system_prefix", |field| field.prose(SYSTEM_PREFIX_LEN_MAX))?;
        let tenant_id = fields.optional("tenant_id", Field::parsed)?;
        fields.finish()?;
        let chain = cx.owner(tenant_id)?;
        check_providers(cx, &targets, tenant_id)?;
        let claim = claim(Self::KIND, id, &name, tenant_id);
        let made = Model { model_id: id, name, strategy, targets, system_prefix, tenant_id };
        Ok(Plan::new(Command::Create(made), chain).with_side([claim]))
    }

    async fn change(cx: &AdminContext<'_>, state: &Model, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["tenant_id"])?;
        let name = fields.changed("name", slug)?;
        let strategy = fields.changed("strategy", |field| field.one_of(Strategy::NAMED))?;
        let targets = fields.changed("targets", targets)?;
        let system_prefix = fields.patched("system_prefix", |field| field.prose(SYSTEM_PREFIX_LEN_MAX))?;
        fields.finish()?;
        check_providers(cx, targets.as_deref().unwrap_or_default(), state.tenant_id)?;
        let id = state.model_id;
        let renamed = name.as_ref().map(|name| [release(id), claim(Self::KIND, id, name, state.tenant_id)]);
        let change = ChangeModel { name, strategy, targets, system_prefix };
        let plan = Plan::new(Command::Change(change), Self::chain(state, &cx.tables));
        Ok(plan.with_side(renamed.into_iter().flatten()))
    }

    async fn end(cx: &AdminContext<'_>, state: &Model, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        let plan = Plan::new(Command::End, Self::chain(state, &cx.tables));
        Ok(plan.with_side([release(state.model_id)]))
    }
}
