//! One thing of a view, looked for by its id.

use projections::views::{AsOf, View, ViewsError};
use projections::visible::Visible;
use rusqlite::Connection;

use crate::QueryState;
use crate::asker::Asker;
use crate::error::QueryError;

/// What `look` finds of what the caller may see. That there is none is only said by a view that has taken in everything which was recorded when it
/// was asked: whoever has just made a thing finds it without naming its position.
///
/// Errors: 503 `VIEW_BEHIND` where nothing was found and the view does not get there in time.
pub async fn found<T: Send + 'static>(
    state: &QueryState,
    asker: &mut Asker,
    view: View,
    look: impl Fn(&Connection, Visible) -> Result<Option<T>, ViewsError> + Clone + Send + 'static,
) -> Result<Option<T>, QueryError> {
    let recorded = state.log.head().position;
    let first = read(state, asker, view, look.clone()).await?;
    if first.value.is_some() || first.position >= recorded {
        return Ok(first.value);
    }
    state.views.wait_for(view, recorded).await?;
    Ok(read(state, asker, view, look).await?.value)
}

async fn read<T: Send + 'static>(
    state: &QueryState,
    asker: &mut Asker,
    view: View,
    look: impl Fn(&Connection, Visible) -> Result<Option<T>, ViewsError> + Send + 'static,
) -> Result<AsOf<Option<T>>, QueryError> {
    let permit = state.admit(asker).await?;
    let visible = Visible::to(asker);
    Ok(state.views.read(&permit, view, move |db| look(db, visible)).await?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::tests::world::{World, operator};

    #[tokio::test]
    async fn what_a_view_at_the_head_does_not_have_is_not_looked_for_again() {
        let world = World::new().await;
        let head = world.state.log.head().position;
        world.state.views.wait_for(View::Catalogue, head).await.expect("the view gets there");
        let looks = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&looks);
        let look = move |_: &Connection, _: Visible| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(None::<()>)
        };
        let mut operator = Asker::new(Arc::new(operator()));
        assert!(found(&world.state, &mut operator, View::Catalogue, look).await.is_ok_and(|found| found.is_none()));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        world.close().await;
    }
}
