//! Filters by owner or resource: by id, or by a slug, external id or name that matches exactly one that the caller can see.

use events::event::StreamKind;
use events::event::admin::Permission;
use events::ids::UserId;
use events::refusal::Refusal;
use projections::views::View;
use projections::views::audit::{is_actor_a_name, name_in_resource};
use projections::views::catalogue::{IdMatches, IdsByText, MATCHES_MAX, USERS_MAX, kind_of};
use projections::visible::Visible;

use super::name_scope;
use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::query_context::{PermittedQuery, QueryContext};

/// The most matching ids that a refusal lists.
const IDS_SHOWN_MAX: usize = 10;
/// The kinds of owners, whose names are those of the filters.
const OWNERS: [StreamKind; 4] = [StreamKind::Partner, StreamKind::Tenant, StreamKind::User, StreamKind::Key];

/// Replaces the values of `partner`, `tenant`, `user` and `key` by ids.
///
/// Errors: 400 for a value that matches nothing or several that the caller can see.
pub async fn resolve_owners(context: &mut QueryContext, parameters: &mut Parameters) -> Result<(), QueryError> {
    for kind in OWNERS {
        let name = kind.as_str();
        let Some(text) = parameters.peek(name).filter(|text| kind_of(text) != Some(kind)).map(str::to_owned) else {
            continue;
        };
        if !resolve(context, parameters, name, vec![kind], &text).await? {
            return Err(none(name, kind).into());
        }
    }
    Ok(())
}

/// Replaces the values of the audit's `actor` and `resource` by ids; a value that matches nothing is searched for as given.
///
/// Errors: 400 for a value that matches several.
pub async fn resolve_actor_and_resource(
    context: &mut QueryContext,
    parameters: &mut Parameters,
) -> Result<(), QueryError> {
    if let Some(text) = parameters.peek("actor").filter(|text| is_actor_a_name(text)).map(str::to_owned) {
        resolve(context, parameters, "actor", vec![StreamKind::Key], &text).await?;
    }
    let Some(text) = parameters.peek("resource").map(str::to_owned) else { return Ok(()) };
    if let Some((kinds, name)) = name_in_resource(&text) {
        resolve(context, parameters, "resource", kinds, name).await?;
    }
    Ok(())
}

/// Replaces the value of a parameter by the id of what matches it. Returns false if nothing does.
///
/// Errors: 400 if several match.
async fn resolve(
    context: &mut QueryContext,
    parameters: &mut Parameters,
    name: &str,
    kinds: Vec<StreamKind>,
    text: &str,
) -> Result<bool, QueryError> {
    match meant(context, kinds, text).await?.as_slice() {
        [] => return Ok(false),
        [id] => parameters.put(name, id.clone()),
        several => return Err(ambiguous(name, several).into()),
    }
    Ok(true)
}

/// The ids that the caller can see of these kinds with this slug, external id or name; of each kind hardly more than
/// [`MATCHES_MAX`].
async fn meant(context: &mut QueryContext, kinds: Vec<StreamKind>, text: &str) -> Result<Vec<String>, QueryError> {
    // Only a view that has applied everything recorded by now can say that there is exactly one.
    let head = context.state.log.head().position;
    context.wait_for(View::Catalogue, head).await?;
    let query = context.admit().await?;
    let scope = name_scope(&query.state, Visible::for_caller(&query.caller));
    // Names of people are searched only if users are asked for.
    let include_users = query.caller.may(Permission::AdminAccess) && kinds == [StreamKind::User];
    let question = IdsByText { scope, kinds, text: text.to_owned(), include_users };
    let IdMatches { mut ids, users } = query.ask(question).await?.value;
    if include_users {
        let people = people(&query, text, users).await?;
        ids.extend(people.iter().map(ToString::to_string));
    }
    Ok(ids.into_iter().collect())
}

/// The users with this name, of the given ones or of all. To a caller that sees only its own users, others of the name
/// make no difference.
async fn people(query: &PermittedQuery, name: &str, among: Option<Vec<UserId>>) -> Result<Vec<UserId>, QueryError> {
    if among.as_ref().is_some_and(|users| users.len() > USERS_MAX) {
        let reason =
            format!("is looked for among the names of {USERS_MAX} users at most: give an id, a slug or an external id");
        return Err(Refusal::invalid("user", reason).into());
    }
    let name = name.to_owned();
    let read = query.read(move |reader| match among {
        None => reader.people_named(&name, MATCHES_MAX + 1),
        Some(users) => {
            let people = reader.personal_data(&users)?.into_values();
            Ok(people.filter(|person| person.name == name).map(|person| person.subject).collect())
        }
    });
    Ok(read.await?)
}

fn none(field: &str, kind: StreamKind) -> Refusal {
    let what = kind.as_str();
    let handles = if kind == StreamKind::Key { "name" } else { "slug, external id or name" };
    Refusal::invalid(field, format!("is neither the id nor the {handles} of a {what} that you can see"))
}

fn ambiguous(field: &str, ids: &[String]) -> Refusal {
    let number = if ids.len() > MATCHES_MAX { format!("more than {MATCHES_MAX}") } else { ids.len().to_string() };
    let reason = format!("is the slug, external id or name of {number} that you can see: give the id of one");
    let shown = ids.get(..IDS_SHOWN_MAX).unwrap_or(ids);
    Refusal::invalid(field, reason).with("matches", ids.len().min(MATCHES_MAX)).with("ids", shown)
}
