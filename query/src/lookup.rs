//! Looking one row of a view up by its id.

use projections::views::Question;
use projections::visible::Visible;

use crate::error::QueryError;
use crate::query_context::{PermittedQuery, QueryContext};

/// Looks a row up among those that the caller may see, and returns it with the query's permit to read more. Only a view
/// that has applied everything recorded before the request may answer that there is none, so that callers find what they
/// have just created without passing `min_position`.
///
/// Errors: 503 `VIEW_BEHIND` if nothing was found and the view does not catch up in time.
pub async fn find<T: Send + 'static, Q: Question<Answer = Option<T>>>(
    context: &mut QueryContext,
    min_position: u64,
    question: impl Fn(Visible) -> Q,
) -> Result<Option<(PermittedQuery, T)>, QueryError> {
    let recorded = context.state.log.head().position;
    let (query, first) = context.ask(min_position, &question).await?;
    if first.value.is_some() || first.position >= recorded || query.is_past() {
        return Ok(first.value.map(|found| (query, found)));
    }
    drop(query);
    let (query, second) = context.ask(recorded, &question).await?;
    Ok(second.value.map(|found| (query, found)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use events::event::StreamKind;
    use projections::views::View;
    use projections::views::catalogue::OneResource;

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
            OneResource { visible, kind: StreamKind::Key, id: "none".to_owned() }
        };
        let mut context = QueryContext::new(world.state.clone(), Arc::new(operator()), String::new());
        assert!(find(&mut context, 0, look).await.is_ok_and(|found| found.is_none()));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        world.close().await;
    }
}
