//! Looking one row of a view up by its id.

use events::concurrency::QueryPermit;
use projections::views::{Question, View};
use projections::visible::Visible;

use crate::QueryState;
use crate::error::QueryError;
use crate::query_caller::QueryCaller;

/// Looks a row up among those that the caller may see, and returns it with the permit to read more. Only a view that has applied everything recorded before the request
/// may answer that there is none, so that callers find what they have just created without passing `min_position`.
///
/// Errors: 503 `VIEW_BEHIND` if nothing was found and the view does not catch up in time.
pub async fn find<T: Send + 'static, Q: Question<Answer = Option<T>>>(
    state: &QueryState,
    query_caller: &mut QueryCaller,
    view: View,
    question: impl Fn(Visible) -> Q,
) -> Result<Option<(QueryPermit, T)>, QueryError> {
    let recorded = state.log.head().position;
    let (permit, first) = state.ask(query_caller, &question).await?;
    if first.value.is_some() || first.position >= recorded {
        return Ok(first.value.map(|found| (permit, found)));
    }
    drop(permit);
    state.views.wait_for(view, recorded).await?;
    let (permit, second) = state.ask(query_caller, &question).await?;
    Ok(second.value.map(|found| (permit, found)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use events::event::StreamKind;
    use projections::views::catalogue::One;

    use super::*;
    use crate::tests::world::{World, operator};

    #[tokio::test]
    async fn what_a_view_at_the_head_does_not_have_is_not_looked_for_again() {
        let world = World::new().await;
        let head = world.state.log.head().position;
        world.state.views.wait_for(View::Catalogue, head).await.expect("the view gets there");
        let looks = AtomicUsize::new(0);
        let look = |visible| {
            looks.fetch_add(1, Ordering::SeqCst);
            One { visible, kind: StreamKind::Key, id: "none".to_owned() }
        };
        let mut operator = QueryCaller::new(Arc::new(operator()));
        assert!(find(&world.state, &mut operator, View::Catalogue, look).await.is_ok_and(|found| found.is_none()));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        world.close().await;
    }
}
