//! `search=asr_…`: the filter of a saved search, put among the parameters of the request. Rows are bounded by the caller's reach
//! as without it.

use std::collections::BTreeMap;

use events::event::StreamKind;
use events::ids::AuditSearchId;
use events::refusal::Refusal;
use projections::views::View;
use projections::views::catalogue::OneResource;
use projections::visible::Visible;

use crate::error::QueryError;
use crate::parameters::Parameters;
use crate::query_context::QueryContext;

/// The parameter that names the search.
pub const SEARCH: &str = "search";

/// Adds the filter of the search that is named, as it is now.
///
/// Errors: 404 if the caller sees no such search, or it has ended; 400 for a parameter that the search sets as well.
pub async fn apply_saved_search(context: &mut QueryContext, parameters: &mut Parameters) -> Result<(), QueryError> {
    let Some(id) = parameters.id::<AuditSearchId>(SEARCH)? else { return Ok(()) };
    for (name, text) in filter_of(context, id).await? {
        if parameters.peek(&name).is_some() {
            let reason = format!("is set by the search {id}, so it cannot be given beside it");
            return Err(Refusal::invalid(name, reason).into());
        }
        parameters.put(&name, text);
    }
    Ok(())
}

async fn filter_of(context: &mut QueryContext, id: AuditSearchId) -> Result<BTreeMap<String, String>, QueryError> {
    // Only a view that has applied everything recorded by now can say what the filter is.
    let head = context.state.log.head().position;
    context.wait_for(View::Catalogue, head).await?;
    let query = context.admit().await?;
    let visible = Visible::within_reach(&query.caller);
    let found = query.ask(OneResource { visible, kind: StreamKind::AuditSearch, id: id.to_string() }).await?.value;
    let live = found.filter(|search| search.lifetime.ended_at.is_none());
    let mut search = live.ok_or(QueryError::NotFound("saved search"))?;
    Ok(serde_json::from_value(search.body["filter"].take())?)
}
