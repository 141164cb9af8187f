//! `POST /v1/admin/subjects/{id}/erase`: erases the personal data and the content of a user that has ended. The log keeps its
//! digests, which nobody can compare with a guess any more, and so every proof and every sum.

use std::collections::{BTreeSet, HashSet};

use axum::extract::{Path, State};
use axum::response::Response;
use events::event::admin::{Tenant, User, UserErased};
use events::event::{Actor, Change, Event, Recorded, Resource, ResourceState, Stream};
use events::ids::{KeyId, RequestId, TenantId, UserId};
use events_log::{LogError, Reader, SideRow};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Operation};

use crate::admin::admin_context::AdminContext;
use crate::admin::administered::{Administered, CommandPlan, PlanResult};
use crate::admin::error::CommandError;
use crate::admin::execution::{CommandTo, execute};
use crate::admin::lifecycle::Command;
use crate::admin::request::AdminRequest;
use crate::admin::resource_kind::{GivenFields, USERS, decided_on};
use crate::admin::{AdminState, described};

pub fn described_erasure() -> Operation {
    let declared = User::DECLARATION;
    let answer = Answer::json("The user without personal data", schema::reference(&declared.name())).recorded();
    described::on_one(declared, described::command("erase_subject", "Erases the personal data of a user"))
        .says(
            "Its name and e-mail address, the addresses from which its keys changed something, and the keys of its sealed content. \
             Delete the user first: 409 while it is live. It cannot be undone.",
        )
        .may_take(object().closed())
        .answers(StatusCode::OK, answer)
}

pub async fn erase(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    execute(&admin, &request, CommandTo::existing(&USERS, |input| Box::pin(decided_on(input, plan_erasure)), &id)).await
}

/// Plans it for a user that has ended, whose keys change nothing any more: nothing of it is recorded after what is erased was read.
async fn plan_erasure(cx: &AdminContext<'_>, state: &User, fields: GivenFields) -> PlanResult<User> {
    fields?.finish()?;
    let subject = state.user_id;
    // Before all else: whoever deletes a person to erase it cannot undo that.
    let not_held = require_no_hold(cx, state).await?;
    if cx.tables.user(subject).is_none_or(|user| user.is_live()) {
        return Err(CommandError::StillLive { kind: User::KIND });
    }
    let log = &cx.admin.log;
    let (is_known, created) = log.read(move |reader| known_since(reader, subject)).await?;
    if !is_known {
        // It was erased before: the end of what has ended changes nothing.
        return Ok(CommandPlan::of(Command::End, state, cx));
    }
    let changes = changes_by(subject, log.administration_after(created).await?);
    let command = Command::RecordAtAnyTime(Resource::UserErased(Box::new(UserErased { user_id: subject })));
    let erased = [
        SideRow::ErasePersonalData(subject),
        SideRow::DropContentKeys(subject),
        SideRow::EraseClientAddresses(changes),
    ];
    Ok(CommandPlan::of(command, state, cx).with_side(erased).based_on(not_held))
}

/// The streams of the tenants that must not be under legal hold, and must not have changed by the time that it is recorded.
///
/// Errors: the user's own tenant is, or one in which it has content.
async fn require_no_hold(cx: &AdminContext<'_>, state: &User) -> Result<Vec<Stream>, CommandError> {
    let subject = state.user_id;
    let with_content = cx.admin.log.read(move |reader| reader.tenants_with_content_keys_of(subject)).await?;
    let tenants: BTreeSet<TenantId> = with_content.into_iter().chain([state.tenant_id]).collect();
    match cx.tables.tenants_under_legal_hold().find(|held| tenants.contains(&held.tenant_id)) {
        Some(held) => Err(CommandError::LegalHold { tenant: held.tenant_id }),
        None => Ok(tenants.into_iter().map(|tenant| Stream::new(Tenant::KIND, tenant)).collect()),
    }
}

/// Whether there is personal data of the user, and the position at which it was created.
fn known_since(reader: &dyn Reader, subject: UserId) -> Result<(bool, u64), LogError> {
    let is_known = reader.personal_data(&[subject])?.contains_key(&subject);
    let first = reader.last_of_each_type(&Stream::new(User::KIND, subject), None)?.first().map(|event| event.position);
    Ok((is_known, first.unwrap_or(0)))
}

/// The requests with which keys of the user have changed something.
fn changes_by(subject: UserId, administration: Vec<Recorded>) -> Vec<RequestId> {
    let (mut keys, mut changes) = (HashSet::<KeyId>::new(), HashSet::new());
    for recorded in administration {
        if let Event::Resource(Resource::Key(Change::Created(key))) = &recorded.event
            && key.user_id == subject
        {
            keys.insert(key.key_id);
        }
        if let Actor::Key(key) = &recorded.context.actor
            && keys.contains(key)
        {
            changes.extend(recorded.context.request_id);
        }
    }
    changes.into_iter().collect()
}
