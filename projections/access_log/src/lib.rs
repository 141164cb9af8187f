//! The access log: one entry for each request that a key or the operator may make, whether it was answered or refused, as lines
//! on stderr, as a view of its own, or as both.
//!
//! It is not part of the ledger. An entry is written up to a quarter of a second after its response, on a thread of its own, and
//! no request waits for it. A killed process loses the entries of that time, and a full buffer loses entries as well, which are
//! counted. What has to be complete is in the log of events.
//!
//! `recorder` takes entries from the door; `writer` writes them on a thread of its own, as lines or into the view (`view`).

mod entry;
mod recorder;
mod view;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use events::time::Clock;
use prometheus::Registry;

pub use entry::{Entry, LoggedRequest};
pub use recorder::{EntryGuard, Recorder};
pub use view::{Filter, List, ListedRequest, StatusRange, View, ViewError};

use recorder::EntryBuffer;
use writer::Writer;

/// Where entries are written. At least one of both is meant to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Lines on stderr, with the target `access_log`.
    pub lines: bool,
    /// A view of the newest entries.
    pub view: Option<ViewSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSettings {
    /// The folder of the view's file.
    pub folder: PathBuf,
    /// So many of the newest entries are kept.
    pub entries_max: u64,
}

/// The access log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    View(#[from] ViewError),
    #[error("cannot start the thread of the access log: {0}")]
    Thread(#[from] io::Error),
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
}

/// A running access log.
pub struct AccessLog {
    buffer: Arc<EntryBuffer>,
    view: Option<View>,
    thread: JoinHandle<()>,
}

impl AccessLog {
    pub fn start(settings: &AccessLogSettings, clock: Arc<dyn Clock>, registry: &Registry) -> Result<Self, StartError> {
        let file = settings.view.as_ref().map(view::ViewFile::open).transpose()?;
        let newest = file.as_ref().map(view::ViewFile::newest_at).transpose()?.flatten();
        let buffer = Arc::new(EntryBuffer::new(clock, newest, registry)?);
        let view = settings.view.as_ref().map(|view| View::of(&view.folder));
        let writer = Writer { buffer: Arc::clone(&buffer), lines: settings.lines, file };
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(|| writer.run())?;
        Ok(Self { buffer, view, thread })
    }

    pub fn recorder(&self) -> Recorder {
        Recorder(Arc::clone(&self.buffer))
    }

    /// `None` if none is kept.
    pub fn view(&self) -> Option<View> {
        self.view.clone()
    }

    /// Writes what was recorded, and ends the thread. Blocking.
    pub fn stop(self) {
        self.buffer.close();
        if self.thread.join().is_err() {
            tracing::error!("the thread of the access log had ended");
        }
    }
}
