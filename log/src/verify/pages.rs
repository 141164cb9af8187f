//! Pages of the log: the thread with the connection copies rows, another thread decodes them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender};

use events::event::{Context, Recorded, Stream, StreamKind};
use events::ids::RequestId;
use serde::Deserialize;

use super::VerifyError;
use super::streams::Streams;
use crate::raw::{RawEvent, StoredPositions};
use crate::{EngineErrorKind, LogError, Reader};

/// Events per page.
const PAGE: usize = 256;
/// The only event that may come on a hold's stream after its end.
const CORRECTION: &str = "budget.adjusted";
/// The member that a correction has only if a price caused it.
const PRICE: &str = r#""price":"#;
/// The first event of a request.
const ADMISSION: &str = "inference.admitted";
/// The member that an admission has only if it is of a copy.
const SHADOW_OF: &str = r#""shadow_of":"#;

/// The earlier events on the stream of an adjusted hold, by the position of the adjustment. If a price caused it, also those of
/// the request, before them. By the position of the admission of a copy, the earlier events of the request that was copied.
pub(super) type Histories = HashMap<u64, Vec<Recorded>>;

/// Decoded events with their positions, in order.
pub(super) struct DecodedPage {
    pub(super) rows: Vec<(u64, Result<Recorded, String>)>,
    pub(super) histories: Histories,
}

/// Rows as they are stored, with their positions, and their texts in one buffer; or why a row cannot be read.
#[derive(Default)]
pub(super) struct RawPage {
    rows: Vec<(u64, Result<RawRow, String>)>,
    text: String,
    histories: Histories,
}

/// A row, whose texts are parts of the page's.
type RawRow = RawEvent<Range<usize>>;

/// The channels of full pages, and of used ones whose memory can be reused.
pub(super) struct Exchange<'a> {
    pub(super) full: &'a SyncSender<RawPage>,
    pub(super) spare: &'a Receiver<RawPage>,
}

/// Sends every page up to `head`, until the receiver is dropped. Meanwhile reads as many entries of the streams' index.
pub(super) fn read(
    reader: &dyn Reader,
    head: u64,
    pages: &Exchange<'_>,
    streams: &mut Streams,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), VerifyError> {
    let mut after = i64::MIN;
    let mut last = 0;
    loop {
        let mut page = pages.spare.try_recv().unwrap_or_default();
        let read = page.read(reader, after, head);
        match page.rows.last() {
            Some((position, _)) => last = *position,
            None if read.is_ok() => return Ok(()),
            None => {}
        }
        read.map_err(|error| damaged(error, last))?;
        after = i64::try_from(last).unwrap_or(i64::MAX);
        progress(last, head);
        page.histories = histories(reader, &page);
        if pages.full.send(page).is_err() {
            return Ok(());
        }
        streams.read_entries(reader, PAGE)?;
    }
}

/// Damage in the file makes the log unsound after the last readable row. After other errors it could not be checked.
fn damaged(error: LogError, last: u64) -> VerifyError {
    match error {
        LogError::Engine(error) if error.kind == EngineErrorKind::Damaged => {
            let reason = format!("the file is damaged from here on: {error}");
            VerifyError::Broken { position: last + 1, reason }
        }
        other => other.into(),
    }
}

/// The histories that the events of a page are checked against. They are looked up, because adjustments and copies are too rare to
/// keep the history of every request.
fn histories(reader: &dyn Reader, page: &RawPage) -> Histories {
    let history = |(position, row): &(u64, Result<RawRow, String>)| {
        let row = row.as_ref().ok()?;
        let mut history = match page.text(&row.name) {
            CORRECTION => of_adjusted(reader, page.text(&row.stream_id), page.text(&row.payload)),
            ADMISSION => of_copied(reader, page.text(&row.payload))?,
            _ => return None,
        };
        history.retain(|recorded| recorded.position < *position);
        Some((*position, history))
    };
    page.rows.iter().filter_map(history).collect()
}

fn of_adjusted(reader: &dyn Reader, id: &str, payload: &str) -> Vec<Recorded> {
    // An unreadable event is reported at its own position.
    let stream = |kind| reader.stream(&Stream::new(kind, id)).unwrap_or_default();
    let mut history = if payload.contains(PRICE) { stream(StreamKind::Inference) } else { Vec::new() };
    history.extend(stream(StreamKind::Hold));
    history
}

/// `None` if it is no copy.
fn of_copied(reader: &dyn Reader, payload: &str) -> Option<Vec<Recorded>> {
    if !payload.contains(SHADOW_OF) {
        return None;
    }
    let copy: AdmittedCopy = serde_json::from_str(payload).ok()?;
    Some(reader.stream(&Stream::inference(copy.shadow_of?)).unwrap_or_default())
}

/// The members of a copy's admission that describe the copied request.
#[derive(Deserialize)]
struct AdmittedCopy {
    shadow_of: Option<RequestId>,
}

/// The context of an event, and where its text is in the page.
struct ParsedContext {
    text: Range<usize>,
    context: Context,
}

impl RawPage {
    /// Replaces the page's rows with the next ones.
    fn read(&mut self, reader: &dyn Reader, after: i64, head: u64) -> Result<(), LogError> {
        self.rows.clear();
        self.text.clear();
        reader.raw_events(StoredPositions { after, until: head }, PAGE, &mut |position, event| {
            let row = match u64::try_from(position) {
                Ok(position) => (position, event.map(|event| event.map(|text| self.copy(text)))),
                // Positions begin at 1: a row below is reported in the place of the first.
                Err(_) => (0, Err(format!("there is no position {position}"))),
            };
            self.rows.push(row);
        })
    }

    fn copy(&mut self, text: &str) -> Range<usize> {
        let begins = self.text.len();
        self.text.push_str(text);
        begins..self.text.len()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// Decodes the rows. Unreadable ones keep their place.
    pub(super) fn decode(&mut self) -> DecodedPage {
        let mut before = None;
        let decoded = |(position, row): &(u64, Result<RawRow, String>)| {
            (*position, row.as_ref().map_err(String::clone).and_then(|row| self.event(*position, row, &mut before)))
        };
        let rows = self.rows.iter().map(decoded).collect();
        DecodedPage { rows, histories: std::mem::take(&mut self.histories) }
    }

    fn event(&self, position: u64, row: &RawRow, before: &mut Option<ParsedContext>) -> Result<Recorded, String> {
        let context = self.context(row, before)?;
        row.map(|range| self.text(range)).in_whole_context(position, context).map_err(LogError::reason)
    }

    /// Parses the context of a row. Consecutive events often have the same one, which is parsed once.
    fn context(&self, row: &RawRow, before: &mut Option<ParsedContext>) -> Result<Context, String> {
        let text = self.text(&row.context);
        let context = match before {
            Some(before) if self.text(&before.text) == text => before.context.clone(),
            _ => serde_json::from_str(text).map_err(|error| format!("metadata: {error}"))?,
        };
        *before = Some(ParsedContext { text: row.context.clone(), context: context.clone() });
        if !row.is_without_request {
            return Ok(context);
        }
        let id = self.text(&row.stream_id);
        let request =
            id.parse().map_err(|error| format!("on the stream {}-{id}: {error}", self.text(&row.stream_kind)))?;
        Ok(context.in_request(request))
    }
}
