//! The thread that writes entries.

use std::sync::Arc;

use events::time::rfc3339;

use crate::entry::Entry;
use crate::recorder::EntryBuffer;
use crate::view::ViewFile;

pub(crate) struct Writer {
    pub buffer: Arc<EntryBuffer>,
    /// Whether each entry is a line.
    pub lines: bool,
    /// `None` if no view is kept.
    pub file: Option<ViewFile>,
}

impl Writer {
    /// Writes until the log is closed.
    pub fn run(mut self) {
        let mut is_failing = false;
        while let Some(entries) = self.buffer.collect() {
            if entries.is_empty() {
                continue;
            }
            if self.lines {
                entries.iter().for_each(write_line);
            }
            let Some(file) = &mut self.file else { continue };
            let added = file.add(&entries);
            if let Err(error) = &added {
                self.buffer.lose(entries.len());
                if !is_failing {
                    tracing::error!(%error, "entries of the access log are lost until its file can be written");
                }
            } else if is_failing {
                tracing::info!("the access log is written again");
            }
            is_failing = added.is_err();
        }
    }
}

fn write_line(entry: &Entry) {
    let request = &entry.request;
    tracing::info!(
        target: "access_log",
        answered_at = rfc3339(entry.answered_at),
        request_id = %request.request_id,
        method = request.method,
        route = request.route.as_deref(),
        status = request.status,
        code = request.code.map(|code| code.as_str()),
        actor = request.actor.as_ref().map(tracing::field::display),
        tenant_id = request.chain.tenant.map(tracing::field::display),
        latency_us = entry.latency_us(),
        "request"
    );
}
