//! `GET /v1/usage`: requests, tokens, cost and latencies, grouped and filtered by any dimension. Reads the view
//! `usage_by_hour`; counts whole hours: `from` is rounded down to one, `to` up. Where metadata is asked for, the requests
//! themselves are counted, see [`tagged`].

mod cursor;
mod question;
mod row;
mod sums;
mod tagged;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use events::event::admin::Permission;
use openapi::Api;
use projections::views::{AsOf, View};

use crate::QueryState;
use crate::asker::{Asker, QueryString};
use crate::error::QueryError;
use crate::page::Page;
use crate::parameters::Parameters;
use crate::record::Record;
use crate::visible::Visible;
use cursor::GroupKey;
use question::Question;
use row::Sums;

pub fn routes() -> Api<QueryState> {
    Api::new().get("/v1/usage", usage, question::described)
}

/// A row a group; times first, then names in the order of their texts, then metadata. `requests` counts what was admitted,
/// `refused` is not among them, `failed` is. A dimension that is not known (a request under way has no backend yet) is
/// null, and so is metadata that a request does not have.
/// Errors: 400 for what is no parameter, and for metadata of more requests than are counted one by one; 403 without
/// `usage:read`; 503 `VIEW_BEHIND`.
async fn usage(
    State(state): State<QueryState>,
    asker: Asker,
    query: QueryString,
) -> Result<Json<Page<Record>>, QueryError> {
    asker.require(Permission::UsageRead)?;
    let mut parameters = Parameters::parse(&query)?;
    let min_position = parameters.min_position(&state.log)?;
    let question = Question::take(parameters)?;
    let (visible, question) = (Visible::to(&asker), Arc::new(question));
    let found = if question.is_about_metadata() {
        by_metadata(&state, &asker, visible, &question, min_position).await?
    } else {
        state.views.wait_for(View::UsageByHour, min_position).await?;
        let question = Arc::clone(&question);
        let permit = state.admit(&asker).await?;
        state.views.read(&permit, View::UsageByHour, move |db| sums::of(db, visible, &question)).await?
    };
    let mut rows = found.value;
    let more = rows.len() > question.limits.limit;
    rows.truncate(question.limits.limit);
    let last = rows.last().filter(|_| more).map(|(key, _)| cursor::write(&question.names(), key)).transpose();
    let next_cursor = last.map_err(|error| QueryError::Answer(error.to_string()))?;
    let items = rows.iter().map(|(key, sums)| row::shown(key, sums, &question)).collect();
    Ok(Json(Page { as_of_position: found.position, items, next_cursor }))
}

async fn by_metadata(
    state: &QueryState,
    asker: &Asker,
    visible: Visible,
    question: &Arc<Question>,
    min_position: u64,
) -> Result<AsOf<Vec<(GroupKey, Sums)>>, QueryError> {
    state.views.wait_for(View::Inferences, min_position).await?;
    // Who asks for a value asks for requests that have it: what was refused has none.
    let counts_refused = question.metadata.is_empty();
    if counts_refused {
        state.views.wait_for(View::UsageByHour, min_position).await?;
    }
    let permit = state.admit(asker).await?;
    let asked = Arc::clone(question);
    let found = state.views.read(&permit, View::Inferences, move |db| tagged::requests(db, visible, &asked)).await?;
    let mut requests = found.value?.into_iter();
    let mut groups = tagged::Groups::new();
    loop {
        let chunk: Vec<tagged::Counted> = requests.by_ref().take(tagged::CHUNK).collect();
        if chunk.is_empty() {
            break;
        }
        let asked = Arc::clone(question);
        let read = state.log.read(&permit, move |reader| {
            let mut groups = groups;
            let added = tagged::add(&mut groups, chunk, &asked, reader);
            Ok((groups, added))
        });
        let (so_far, added) = read.await?;
        added?;
        groups = so_far;
    }
    if counts_refused {
        let asked = Arc::clone(question);
        let refused = state
            .views
            .read(&permit, View::UsageByHour, move |db| sums::refused(db, visible, &asked, tagged::REQUESTS_MAX))
            .await?
            .value;
        if refused.len() > tagged::REQUESTS_MAX {
            return Err(tagged::too_many().into());
        }
        tagged::add_refused(&mut groups, refused, question)?;
    }
    Ok(AsOf { position: found.position, value: tagged::page(groups, question) })
}
