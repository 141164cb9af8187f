//! The views of this node, if it has any: a node whose queries are answered elsewhere keeps none.

use std::sync::Arc;

use events_log::concurrency::{QueryPermit, Requester};

use super::{AsOf, PastViews, PastViewsHandle, Question, Rebuild, View, ViewStatus, ViewsError, ViewsHandle};

/// Answers as the views do; without any, every question is [`ViewsError::Off`]. Cheap to clone.
#[derive(Clone)]
pub struct NodeViews(Option<ViewHandles>);

/// The views of a node that keeps some.
#[derive(Clone)]
pub struct ViewHandles {
    pub now: ViewsHandle,
    pub past: PastViewsHandle,
}

impl NodeViews {
    pub const fn new(views: Option<ViewHandles>) -> Self {
        Self(views)
    }

    pub const fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// See [`ViewsHandle::wait_for`].
    pub async fn wait_for(&self, view: View, position: u64) -> Result<u64, ViewsError> {
        Ok(self.kept()?.wait_for(view, position).await?)
    }

    /// See [`ViewsHandle::ask`].
    pub async fn ask<Q: Question>(&self, permit: &QueryPermit, question: Q) -> Result<AsOf<Q::Answer>, ViewsError> {
        self.kept()?.ask(permit, question).await
    }

    /// The views as of an earlier position that the log has, see [`PastViewsHandle::at`].
    pub async fn at(&self, position: u64, requester: Requester) -> Result<Arc<PastViews>, ViewsError> {
        let kept = self.0.as_ref().ok_or(ViewsError::Off)?;
        Ok(kept.past.at(position, requester).await?)
    }

    /// See [`ViewsHandle::rebuild`].
    pub fn rebuild(&self, view: View) -> Result<Rebuild, ViewsError> {
        Ok(self.kept()?.rebuild(view)?)
    }

    /// The status of every view that is kept.
    pub fn status(&self) -> Vec<ViewStatus> {
        self.0.as_ref().map(|kept| kept.now.status()).unwrap_or_default()
    }

    fn kept(&self) -> Result<&ViewsHandle, ViewsError> {
        self.0.as_ref().map(|kept| &kept.now).ok_or(ViewsError::Off)
    }
}
