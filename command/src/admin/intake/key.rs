//! `/v1/admin/keys`: `user_id`, `name`, `permissions`, `models`, `expires_at`; and `POST /v1/admin/keys/{id}/rotate`:
//! `overlap_seconds`. The secret is in the reply that makes it, and nowhere else.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use events::event::admin::{Key, Permission, User};
use events::event::{Chain, ResourceState};
use events::ids::{KeyId, TenantId, UserId};
use events::log::SideRow;
use events::time::rfc3339;
use http::StatusCode;
use openapi::resource::{self, Form};
use openapi::schema::{self, object};
use openapi::{Answer, Operation};
use projections::model_globs::ModelGlobs;
use projections::tables::Tables;
use serde_json::{Value, json};

use super::NAME_LEN_MAX;
use crate::admin::AdminState;
use crate::admin::admin_context::AdminContext;
use crate::admin::described;
use crate::admin::error::CommandError;
use crate::admin::fields::{Field, FieldError, Fields, Patched};
use crate::admin::issue::issue;
use crate::admin::key::{ChangeKey, KeyError, KeyState, RotateKey};
use crate::admin::lifecycle::Command;
use crate::admin::request::AdminRequest;
use crate::admin::routes::{Administered, Plan, Purpose, decide_on};

const PERMISSIONS_LEN_MAX: usize = 32;
const PATTERNS_LEN_MAX: usize = 200;
/// 30 days.
const OVERLAP_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// An hour: time to hand out the new secret. A leaked one is cut off with 0.
const OVERLAP_SECONDS: u64 = 3600;

/// Name of the schema of a rotation's reply.
const ROTATED: &str = "RotatedKey";
const PREVIOUS_EXPIRES_AT: &str = "previous_expires_at";

fn permissions(field: Field) -> Result<Vec<Permission>, FieldError> {
    let names: Vec<_> = Permission::ALL.iter().map(|permission| (permission.as_str(), *permission)).collect();
    let mut permissions = field.list(PERMISSIONS_LEN_MAX, |field| field.one_of(&names))?;
    permissions.sort_unstable();
    permissions.dedup();
    Ok(permissions)
}

fn patterns(field: Field) -> Result<Vec<String>, FieldError> {
    let path = field.path().to_owned();
    let patterns = field.list(PATTERNS_LEN_MAX, |field| field.text(NAME_LEN_MAX))?;
    match ModelGlobs::compile(&patterns) {
        Ok(_) => Ok(patterns),
        Err(error) => Err(FieldError::new(path, format!("{:?} is not a glob", error.pattern))),
    }
}

/// The key's user; a key without one cannot have been made.
fn user_of<'a>(cx: &'a AdminContext<'_>, key: &Key) -> Result<&'a User, CommandError> {
    let user = cx.tables.user(key.user_id).map(|entry| &*entry.value);
    user.ok_or_else(|| CommandError::Defect(format!("{} without its user", key.key_id)))
}

impl Administered for Key {
    const PATH: &'static str = "/v1/admin/keys";

    fn form_of() -> Form {
        let permissions = schema::one_of(Permission::ALL.iter().map(|permission| permission.as_str()));
        let permissions = schema::list(permissions, Some(PERMISSIONS_LEN_MAX));
        let models = "Names of models that the key may use, with * for any text; all where it is null";
        let last_use =
            "When a request of it was let in: any since the gateway's start, before that for a model; null for neither";
        let members = vec![
            resource::defaulting("user_id", schema::id(UserId::PREFIX), Value::Null).fixed(),
            resource::required("name", schema::text(NAME_LEN_MAX)),
            resource::defaulting("permissions", permissions, json!([Permission::ModelsUse])),
            resource::optional("models", schema::list(schema::text(NAME_LEN_MAX), Some(PATTERNS_LEN_MAX)))
                .meaning(models),
            resource::optional("expires_at", schema::time()),
            resource::read("tenant_id", schema::id(TenantId::PREFIX)),
            resource::read("tenant_name", schema::nullable(schema::string())),
            resource::read("user_name", schema::nullable(schema::string())).meaning("Null once the person is erased"),
            resource::read("prefix", schema::string()).meaning("What each of its secrets begins with: `sgk_…_`"),
            resource::read("last_used_at", schema::nullable(schema::time())).meaning(last_use),
        ];
        Form { kind: "key", prefix: KeyId::PREFIX, members, example: json!({ "name": "app", "models": ["sim-*"] }) }
    }

    fn chain(state: &KeyState, tables: &Tables) -> Chain {
        let owners = tables.chain_of_user(state.key.user_id).unwrap_or_default();
        Chain { user: Some(state.key.user_id), key: Some(state.key.key_id), ..owners }
    }

    fn refused(error: KeyError) -> CommandError {
        match error {
            KeyError::Lifecycle(error) => CommandError::of_lifecycle(Self::KIND, error),
            KeyError::Expired => CommandError::KeyExpired,
            KeyError::GenerationsExhausted => CommandError::GenerationsExhausted,
        }
    }

    fn manage(cx: &AdminContext<'_>, state: &KeyState) -> Result<(), CommandError> {
        cx.governs(user_of(cx, &state.key)?)
    }

    async fn create(cx: &AdminContext<'_>, id: KeyId, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        let user = fields.optional("user_id", Field::parsed)?;
        let name = fields.required("name", |field| field.text(NAME_LEN_MAX))?;
        let permissions = fields.optional("permissions", permissions)?.unwrap_or_else(|| vec![Permission::ModelsUse]);
        let models = fields.optional("models", patterns)?;
        let expires_at = fields.optional("expires_at", Field::time)?;
        fields.finish()?;
        if expires_at.is_some_and(|expires_at| expires_at <= cx.now) {
            return Err(FieldError::new("expires_at", "must be in the future").into());
        }
        let user_id = cx.parent(user, cx.caller.chain.user, "user_id")?;
        let (chain, user) = cx.user(user_id, "user_id")?;
        cx.governs(user)?;
        cx.may_give(user, &permissions)?;
        cx.may_give_models(&permissions, models.as_deref())?;
        let (secret, stored) = issue(cx.admin, id, 1).await?;
        let made = Key { key_id: id, user_id, name, permissions, models, expires_at };
        let mut plan = Plan::new(Command::Create(made), Chain { key: Some(id), ..chain }).with_side([stored]);
        plan.secret = Some(secret);
        Ok(plan)
    }

    async fn change(cx: &AdminContext<'_>, state: &KeyState, mut fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.fixed(&["user_id"])?;
        let name = fields.changed("name", |field| field.text(NAME_LEN_MAX))?;
        let permissions = fields.changed("permissions", permissions)?;
        let models = fields.patched("models", patterns)?;
        let expires_at = fields.patched("expires_at", Field::time)?;
        fields.finish()?;
        let change = ChangeKey { name, permissions, models, expires_at };
        may_change(cx, &state.key, &change)?;
        Ok(Plan::new(Command::Change(change), Self::chain(state, &cx.tables)))
    }

    async fn end(cx: &AdminContext<'_>, state: &KeyState, fields: Fields) -> Result<Plan<Self>, CommandError> {
        fields.finish()?;
        let forget = SideRow::DropKeySecrets { key_id: state.key.key_id, below_generation: u32::MAX };
        Ok(Plan::new(Command::End, Self::chain(state, &cx.tables)).with_side([forget]))
    }
}

/// A change that lets the key do more, or for longer, gives: it needs what giving needs.
fn may_change(cx: &AdminContext<'_>, key: &Key, change: &ChangeKey) -> Result<(), CommandError> {
    let permissions = change.permissions.as_ref().unwrap_or(&key.permissions);
    let lasts_longer = match &change.expires_at {
        Patched::Kept => false,
        Patched::Removed => key.expires_at.is_some(),
        Patched::Set(expires_at) => key.expires_at.is_some_and(|until| *expires_at > until),
    };
    if change.permissions.is_some() || lasts_longer {
        cx.may_give(user_of(cx, key)?, permissions)?;
    }
    let models = change.models.clone().over(key.models.clone());
    if change.permissions.is_some() || change.models != Patched::Kept || lasts_longer {
        cx.may_give_models(permissions, models.as_deref())?;
    }
    Ok(())
}

/// `POST /v1/admin/keys/{id}/rotate`: 200, the key, its new `secret` and `previous_expires_at`: the secret before works for
/// `overlap_seconds` more (an hour by default, not at all with 0), those before it end at once.
pub async fn rotate(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    decide_on::<Key, _>(&admin, &id, &request, (Purpose::Change, plan_rotation)).await
}

pub fn described_rotation() -> Operation {
    let form = Key::form_of();
    let overlap = schema::defaulting(schema::nullable(schema::whole(0, OVERLAP_SECONDS_MAX)), OVERLAP_SECONDS.into());
    let overlap =
        schema::described(overlap, "How long the secret before this one goes on working; with 0 it ends at once");
    let previous = schema::described(schema::time(), "When the secret before this one stops working");
    let answer = Answer::json("The key and its new secret", schema::reference(ROTATED)).recorded();
    described::on_one(&form, described::command("rotate_key", "Gives a key a new secret"))
        .may_take(object().optional("overlap_seconds", overlap).closed())
        .answers(StatusCode::OK, answer)
        .defines(ROTATED, form.reply_with_secret_and(PREVIOUS_EXPIRES_AT, previous))
}

async fn plan_rotation(cx: &AdminContext<'_>, state: &KeyState, mut fields: Fields) -> Result<Plan<Key>, CommandError> {
    let overlap = fields.optional("overlap_seconds", |field| field.whole(0..=OVERLAP_SECONDS_MAX))?;
    fields.finish()?;
    // The secret is the key: whoever gets it could as well have been given the key anew.
    cx.may_give(user_of(cx, &state.key)?, &state.key.permissions)?;
    cx.may_give_models(&state.key.permissions, state.key.models.as_deref())?;
    let generation = state.next_generation().map_err(<Key as Administered>::refused)?;
    let (secret, stored) = issue(cx.admin, state.key.key_id, generation).await?;
    let forget = SideRow::DropKeySecrets { key_id: state.key.key_id, below_generation: state.generation };
    let overlap = Duration::from_secs(overlap.unwrap_or(OVERLAP_SECONDS));
    let previous_until = cx.now + overlap;
    let command = Command::Special(RotateKey { now: cx.now, previous_until });
    let chain = <Key as Administered>::chain(state, &cx.tables);
    let mut plan = Plan::new(command, chain).with_side([stored, forget]);
    plan.secret = Some(secret);
    // With the key all of its secrets expire.
    let previous_until = state.key.expires_at.map_or(previous_until, |expires_at| expires_at.min(previous_until));
    plan.shown.insert(PREVIOUS_EXPIRES_AT.to_owned(), rfc3339(previous_until).into());
    Ok(plan)
}
