//! `POST /v1/admin/subjects/{id}/erase`: erases the personal data of a user, live or ended. The log keeps its digests, which nobody
//! can compare with a guess any more, and so every proof and every sum.

use std::collections::HashSet;

use axum::extract::{Path, State};
use axum::response::Response;
use events::event::admin::{User, UserErased};
use events::event::{Actor, Change, Event, Resource};
use events::ids::{KeyId, RequestId, UserId};
use events::log::{LogError, Reader, SideRow};
use http::StatusCode;
use openapi::schema::{self, object};
use openapi::{Answer, Operation};

use crate::admin::admin_context::AdminContext;
use crate::admin::error::CommandError;
use crate::admin::lifecycle::Command;
use crate::admin::request::AdminRequest;
use crate::admin::routes::{Administered, CommandPlan, Planned, execute_on};
use crate::admin::{AdminState, described};

pub fn described_erasure() -> Operation {
    let declared = User::DECLARATION;
    let answer = Answer::json("The user without personal data", schema::reference(&declared.name())).recorded();
    described::on_one(declared, described::command("erase_subject", "Erases the personal data of a user"))
        .says(
            "Its name and e-mail address, and the addresses from which its keys changed something. A live user and its keys go on \
             working: delete it first if it should not. It cannot be undone.",
        )
        .may_take(object().closed())
        .answers(StatusCode::OK, answer)
}

pub async fn erase(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    execute_on::<User, _>(&admin, &id, &request, plan_erasure).await
}

async fn plan_erasure(cx: &AdminContext<'_>, state: &User, request: &AdminRequest) -> Planned<User> {
    request.fields()?.finish()?;
    let subject = state.user_id;
    let changes = cx.admin.log.read(move |reader| changes_by(reader, subject)).await?;
    let command = Command::RecordAtAnyTime(Resource::UserErased(Box::new(UserErased { user_id: subject })));
    let erased = [SideRow::ErasePersonalData(subject), SideRow::EraseClientAddresses(changes)];
    Ok(CommandPlan::of(command, state, cx).with_side(erased))
}

/// The requests with which keys of the user have changed something.
fn changes_by(reader: &dyn Reader, subject: UserId) -> Result<Vec<RequestId>, LogError> {
    let (mut keys, mut changes) = (HashSet::<KeyId>::new(), HashSet::new());
    for recorded in reader.administration_after(0)? {
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
    Ok(changes.into_iter().collect())
}
