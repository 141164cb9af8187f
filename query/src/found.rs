//! One thing of a view, looked for by its id.

use projections::views::{View, ViewsError};
use rusqlite::Connection;

use crate::QueryState;
use crate::error::QueryError;

/// What `look` finds. That there is none is only said by a view that has taken in everything which was recorded when it
/// was asked: whoever has just made a thing finds it without naming its position.
///
/// Errors: 503 `VIEW_BEHIND` where nothing was found and the view does not get there in time.
pub async fn found<T: Send + 'static>(
    state: &QueryState,
    view: View,
    look: impl Fn(&Connection) -> Result<Option<T>, ViewsError> + Clone + Send + 'static,
) -> Result<Option<T>, QueryError> {
    let recorded = state.log.head().position;
    if let Some(found) = state.views.read(view, look.clone()).await?.value {
        return Ok(Some(found));
    }
    state.views.wait_for(view, recorded).await?;
    Ok(state.views.read(view, look).await?.value)
}
