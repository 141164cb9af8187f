//! An API key of a user. Its secrets are numbered by generations from 1, and events have only these numbers; a side table has
//! the hashes. Only the reply that creates a secret has its text. A revoked key stays revoked.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use events::event::Resource;
use events::event::admin::{Key, KeyRotated, Permission, User};
use events::ids::{KeyId, TenantId, UserId};
use events::time::{parse_rfc3339, rfc3339};
use http::StatusCode;
use openapi::schema::object;
use openapi::{Answer, Operation};
use serde::{Deserialize, Serialize};

use super::key_secret::issue_secret;
use super::model_patterns::patterns;
use super::prelude::*;
use crate::admin::AdminState;
use crate::admin::described;
use crate::admin::execution::{CommandTo, execute};
use crate::admin::lifecycle::StateOf;
use crate::admin::request::AdminRequest;
use crate::admin::resource_kind::{GivenFields, KEYS, decided_on};

const PERMISSIONS_LEN_MAX: usize = 32;
/// 30 days.
const OVERLAP_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// An hour, to distribute the new secret. To stop a leaked secret at once, pass 0.
const OVERLAP_SECONDS: u64 = 3600;

/// The name of the schema of a rotation's reply.
const ROTATED: &str = "RotatedKey";
const PREVIOUS_EXPIRES_AT: &str = "previous_expires_at";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let last_use =
        "When the key was last used: by any request since the gateway started, before that by inference; null if never";
    let members = vec![
        defaulting("user_id", id::<UserId>(), Value::Null).fixed(),
        required("name", text(NAME_LEN_MAX)),
        defaulting("permissions", permissions(), json!(Key::PERMISSIONS)),
        optional("models", patterns())
            .meaning("Names of models that the key may use; * matches any text. null allows every model"),
        optional("expires_at", time()),
        in_some_replies("tenant_id", schema::id(TenantId::PREFIX)),
        in_some_replies("tenant_name", schema::nullable(schema::string())),
        in_some_replies("user_name", schema::nullable(schema::string()))
            .meaning("Null after the person's data is erased"),
        in_some_replies("prefix", schema::string()).meaning("The prefix of each of its secrets: `sgk_…_`"),
        in_some_replies("last_used_at", schema::nullable(schema::time())).meaning(last_use),
    ];
    let example = json!({ "name": "app", "models": ["sim-*"] });
    Declaration::of::<Key>(members, example)
});

/// A set of permissions.
fn permissions() -> FieldType {
    let shape = schema::list(schema::one_of_names(Permission::NAMED), Some(PERMISSIONS_LEN_MAX));
    FieldType::new(shape, |field| {
        let mut permissions = field.list(PERMISSIONS_LEN_MAX, |field| field.one_of(Permission::NAMED))?;
        permissions.sort_unstable();
        permissions.dedup();
        Ok(permissions)
    })
}

/// The key and the generation of its newest secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    pub key: Key,
    pub generation: u32,
}

impl Rules for Key {
    type State = KeyState;
}

impl StateOf<Key> for KeyState {
    fn of(key: Key, before: Option<&Self>) -> Self {
        Self { key, generation: before.map_or(1, |state| state.generation) }
    }

    fn resource(&self) -> &Key {
        &self.key
    }

    fn apply_special(&mut self, fact: &Resource) {
        if let Resource::KeyRotated(rotated) = fact {
            self.generation = rotated.generation;
        }
    }
}

/// The key gets a new secret at `now`. The previous one works until `previous_until`.
fn rotated(state: &KeyState, now: DateTime<Utc>, previous_until: DateTime<Utc>) -> Result<KeyRotated, CommandError> {
    let generation = state.generation.checked_add(1).ok_or(CommandError::GenerationsExhausted)?;
    // The new secret would expire at once, but a caller that rotates a key wants to keep using it.
    if state.key.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(CommandError::KeyExpired);
    }
    Ok(KeyRotated { key_id: state.key.key_id, generation, previous_until })
}

/// The key's user. A key without one cannot have been created.
fn user_of<'a>(cx: &'a AdminContext<'_>, key: &Key) -> Result<&'a User, CommandError> {
    let user = cx.tables.user(key.user_id).map(|entry| &*entry.value);
    user.ok_or_else(|| CommandError::Defect(format!("the user of {} is missing", key.key_id)))
}

impl Administered for Key {
    const PATH: &'static str = "/v1/admin/keys";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &KeyState, tables: &Tables) -> Chain {
        let owners = tables.chain_of_user(state.key.user_id).unwrap_or_default();
        Chain { user: Some(state.key.user_id), key: Some(state.key.key_id), ..owners }
    }

    fn may_manage(cx: &AdminContext<'_>, state: &KeyState) -> Result<(), CommandError> {
        cx.may_manage_user(user_of(cx, &state.key)?)
    }

    async fn create(cx: &AdminContext<'_>, id: KeyId, mut given: FieldValues) -> PlanResult<Self> {
        let expires_at = given.text("expires_at").and_then(parse_rfc3339);
        if expires_at.is_some_and(|expires_at| expires_at <= cx.now) {
            return Err(FieldError::new("expires_at", "must be in the future").into());
        }
        let user_id = cx.parent(&mut given, "user_id", cx.caller.chain.user)?;
        let (chain, user) = cx.user(user_id, "user_id")?;
        cx.may_manage_user(user)?;
        let made: Self = Self::of_values(id, given)?;
        cx.may_grant_permissions(user, &made.permissions)?;
        cx.may_grant_models(&made.permissions, made.models.as_deref())?;
        let (secret, stored) = issue_secret(cx.admin, chain.tenant, id, 1).await?;
        let plan = CommandPlan::creation(made, Chain { key: Some(id), ..chain }).with_side([stored]);
        Ok(CommandPlan { secret: Some(secret), ..plan })
    }

    async fn change(cx: &AdminContext<'_>, state: &KeyState, given: FieldValues) -> PlanResult<Self> {
        let key = &state.key;
        let changed = key.changed_by(&given)?;
        let lasts_longer = key.expires_at.is_some_and(|until| changed.expires_at.is_none_or(|later| later > until));
        // A change that lets the key do more, or live longer, needs the rights to create such a key.
        let extends = given.has("permissions") || lasts_longer;
        if extends {
            cx.may_grant_permissions(user_of(cx, key)?, &changed.permissions)?;
        }
        if extends || given.has("models") {
            cx.may_grant_models(&changed.permissions, changed.models.as_deref())?;
        }
        Ok(CommandPlan::of(Command::Change(given), state, cx))
    }

    fn side_rows_at_end(_: &AdminContext<'_>, state: &KeyState) -> Vec<SideRow> {
        vec![SideRow::DropKeySecrets { key_id: state.key.key_id, below_generation: u32::MAX }]
    }
}

/// `POST /v1/admin/keys/{id}/rotate`: 200 with the key, its new `secret` and `previous_expires_at`. The previous secret works
/// for another `overlap_seconds` (an hour by default; 0 stops it at once), and any older one stops at once.
pub async fn rotate(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    execute(&admin, &request, CommandTo::existing(&KEYS, |input| Box::pin(decided_on(input, plan_rotation)), &id)).await
}

pub fn described_rotation() -> Operation {
    let declared = Key::DECLARATION;
    let overlap = schema::defaulting(schema::nullable(schema::whole(0, OVERLAP_SECONDS_MAX)), OVERLAP_SECONDS.into());
    let overlap = schema::described(overlap, "How long the previous secret keeps working; 0 stops it at once");
    let previous = schema::described(schema::time(), "When the previous secret stops working");
    let answer = Answer::json("The key and its new secret", schema::reference(ROTATED)).recorded();
    described::on_one(declared, described::command("rotate_key", "Rotates the secret of a key"))
        .may_take(object().optional("overlap_seconds", overlap).closed())
        .answers(StatusCode::OK, answer)
        .defines(ROTATED, declared.reply_with_secret().required(PREVIOUS_EXPIRES_AT, previous).open())
}

async fn plan_rotation(cx: &AdminContext<'_>, state: &KeyState, fields: GivenFields) -> PlanResult<Key> {
    let chain = Key::chain(state, &cx.tables);
    cx.require_live_owners(Key::KIND, &chain)?;
    let mut fields = fields?;
    let overlap = fields.optional("overlap_seconds", |field| field.whole(0..=OVERLAP_SECONDS_MAX))?;
    fields.finish()?;
    // A new secret is as good as a new key, so it needs the same rights.
    cx.may_grant_permissions(user_of(cx, &state.key)?, &state.key.permissions)?;
    cx.may_grant_models(&state.key.permissions, state.key.models.as_deref())?;
    let drop_older = SideRow::DropKeySecrets { key_id: state.key.key_id, below_generation: state.generation };
    let overlap = Duration::from_secs(overlap.unwrap_or(OVERLAP_SECONDS));
    let previous_until = cx.now + overlap;
    let has_ended = cx.tables.key(state.key.key_id).is_some_and(|entry| entry.ended_at.is_some());
    if has_ended {
        return Err(CommandError::of_rule(Key::KIND, RuleError::Ended));
    }
    let rotated = rotated(state, cx.now, previous_until)?;
    let (secret, stored) = issue_secret(cx.admin, chain.tenant, state.key.key_id, rotated.generation).await?;
    let command = Command::Record(Resource::KeyRotated(Box::new(rotated)));
    let mut plan = CommandPlan::of(command, state, cx).with_side([stored, drop_older]);
    plan.secret = Some(secret);
    // When the key expires, so do all of its secrets.
    let previous_until = state.key.expires_at.map_or(previous_until, |expires_at| expires_at.min(previous_until));
    plan.extra_fields.insert(PREVIOUS_EXPIRES_AT.to_owned(), rfc3339(previous_until).into());
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use events::time::from_micros;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End, Record};
    use crate::admin::lifecycle::Lifecycle;
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<Key> {
        spec::given(facts)
    }

    fn key() -> Key {
        let models = Some(vec!["sim-*".into()]);
        Key { models, expires_at: Some(from_micros(9_000_000)), ..Key::new(id(1), id(2), "app") }
    }

    fn rotated(generation: u32, previous_until: i64) -> Resource {
        let previous_until = from_micros(previous_until);
        Resource::KeyRotated(Box::new(KeyRotated { key_id: id(1), generation, previous_until }))
    }

    /// A rotation for two seconds, decided on the state after these events.
    fn rotated_at(micros: i64, facts: impl IntoIterator<Item = Resource>) -> Result<Resource, CommandError> {
        let mut lifecycle = Lifecycle::<Key>::default();
        facts.into_iter().for_each(|fact| lifecycle.evolve(fact));
        let state = lifecycle.state().expect("a key");
        let event = super::rotated(state, from_micros(micros), from_micros(micros + 2_000_000));
        event.map(|event| Resource::KeyRotated(Box::new(event)))
    }

    #[test]
    fn generations_rise_with_every_rotation_and_survive_a_change() {
        assert_eq!(rotated_at(0, [created(key())]).ok(), Some(rotated(2, 2_000_000)));
        let past = [created(key()), rotated(2, 0), changed(key())];
        assert_eq!(rotated_at(1_000_000, past).ok(), Some(rotated(3, 3_000_000)));
    }

    #[test]
    fn an_expired_or_revoked_key_is_not_rotated() {
        assert!(matches!(rotated_at(9_000_000, [created(key())]), Err(CommandError::KeyExpired)));
        let used_up = rotated_at(0, [created(key()), rotated(u32::MAX, 0)]);
        assert!(matches!(used_up, Err(CommandError::GenerationsExhausted)));
        given([created(key())]).when(Record(rotated(2, 0))).then([rotated(2, 0)]);
        given([created(key()), ended::<Key>(id(1))]).when(Record(rotated(2, 0))).then_refused(RuleError::Ended);
    }

    #[test]
    fn an_allow_list_and_an_expiry_can_be_removed() {
        let change = change(&json!({ "permissions": [], "models": null, "expires_at": null }));
        let without = Key { permissions: vec![], models: None, expires_at: None, ..key() };
        given([created(key())]).when(change).then([changed(without)]);
    }

    #[test]
    fn a_key_is_created_once_and_revoked_once() {
        given([]).when(Create(key())).then([created(key())]);
        given([created(key())]).when(Create(key())).then_refused(RuleError::Exists);
        given([created(key())]).when(End).then([ended::<Key>(id(1))]);
        given([created(key()), ended::<Key>(id(1))]).when(End).then_nothing();
    }
}
