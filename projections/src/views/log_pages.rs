//! The log as views read it, page by page.

use std::sync::Arc;

use events::event::Recorded;
use events_log::{LogError, Reader};

/// Events in one transaction: the more there are, the fewer rows are written twice.
pub const EVENTS_MAX: usize = 4096;

/// The events after a position, at least up to `until`: pages, each with the position of its last event.
pub fn pages(
    log: &dyn Reader,
    after: u64,
    until: u64,
) -> impl Iterator<Item = Result<(u64, Vec<Arc<Recorded>>), LogError>> {
    let mut position = after;
    std::iter::from_fn(move || {
        if position >= until {
            return None;
        }
        let page = log.after(position, EVENTS_MAX).map(|events| events.into_iter().map(Arc::new).collect::<Vec<_>>());
        match page {
            Ok(events) => {
                position = events.last()?.position;
                Some(Ok((position, events)))
            }
            Err(error) => Some(Err(error)),
        }
    })
}
