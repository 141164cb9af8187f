//! A task in the background.

use tokio::sync::watch;
use tokio::task::JoinSet;

/// A task that runs until it is stopped or dropped.
pub struct BackgroundTask {
    task: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl BackgroundTask {
    /// Starts a task, which ends when what it watches becomes true. Needs a tokio runtime.
    pub(crate) fn start<T: Future<Output = ()> + Send + 'static>(run: impl FnOnce(watch::Receiver<bool>) -> T) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(run(stopped));
        Self { task, stop }
    }

    /// Stops the task and waits for its end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while self.task.join_next().await.is_some() {}
    }
}
