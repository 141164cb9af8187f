//! The log, added up by itself: tokens at the rates of both prices, charges, and corrections.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use events::event::{Event, Hold, Inference, Recorded, Resource};
use events::ids::RequestId;
use events::log::{EventFilter, open_reader};
use events::usage::TokenClasses;

use crate::ledger;

const PAGE: usize = 4096;

/// Nano-dollars of a token: uncached input, cached input, output.
type Rates = [i64; 3];
/// Those of `PRICE` and `CORRECTED`.
const FIRST: Rates = [100, 50, 400];
const CORRECTED: Rates = [300, 20, 700];

#[derive(Default)]
struct Charged {
    first: i64,
    corrected: i64,
    deltas: Vec<i64>,
    charged: i64,
}

/// The sums over the log, in nano-dollars.
#[derive(Debug, Default)]
pub struct Sums {
    /// Requests by the number of their corrections: none, one, more.
    requests: [u64; 3],
    /// Requests with another value than their tokens have at the corrected price.
    wrong: u64,
    /// The difference between the values of the corrected requests at both prices.
    difference: i64,
    deltas: i64,
    /// The requests and their sum in each `price.revalued`.
    said: Vec<(u64, Option<i64>)>,
}

impl Sums {
    pub fn of(data: &Path) -> io::Result<Self> {
        let (mut sums, mut requests) = (Self::default(), HashMap::<RequestId, Charged>::new());
        let reader = open_reader(&ledger(data)).map_err(io::Error::other)?;
        let mut position = 0;
        loop {
            let page = reader.after(position, PAGE).map_err(io::Error::other)?;
            let Some(last) = page.last() else { break };
            position = last.position;
            page.iter().for_each(|recorded| sums.take(recorded, &mut requests));
        }
        for charged in requests.values() {
            sums.add(charged);
        }
        Ok(sums)
    }

    fn take(&mut self, recorded: &Recorded, requests: &mut HashMap<RequestId, Charged>) {
        if let Event::Resource(Resource::PriceRevalued(revalued)) = &recorded.event {
            self.said.push((revalued.requests, revalued.delta_usd.map(|delta| delta.nanos())));
        }
        let Some(request) = recorded.context.request_id else { return };
        match &recorded.event {
            Event::Inference(Inference::Completed(ended)) => {
                let Some(usage) = &ended.usage else { return };
                let charged = requests.entry(request).or_default();
                (charged.first, charged.corrected) = (cost(&usage.tokens, FIRST), cost(&usage.tokens, CORRECTED));
            }
            Event::Hold(Hold::Settled(settled)) => {
                requests.entry(request).or_default().charged = settled.charged_usd.nanos();
            }
            Event::Hold(Hold::Adjusted(adjusted)) => {
                requests.entry(request).or_default().deltas.push(adjusted.delta_usd.nanos());
            }
            _ => {}
        }
    }

    fn add(&mut self, charged: &Charged) {
        let delta: i64 = charged.deltas.iter().sum();
        let by_corrections = charged.deltas.len().min(2);
        self.requests[by_corrections] += 1;
        self.deltas += delta;
        self.wrong += u64::from(charged.charged + delta != charged.corrected);
        if by_corrections > 0 {
            self.difference += charged.corrected - charged.first;
        }
    }

    /// Whether each of these requests was corrected once, and all others were charged by the corrected price.
    pub fn are_right(&self, requests: u64) -> bool {
        self.requests[1..] == [requests, 0]
            && self.wrong == 0
            && self.deltas == self.difference
            && self.said == [(requests, Some(self.deltas))]
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Self { requests: [none, once, more], wrong, difference, deltas, said } = self;
        writeln!(
            out,
            "{once} requests corrected once, {more} more often, {none} not, {wrong} with another value; the corrections sum to \
             {deltas} nano-dollars, the difference is {difference}; `price.revalued` says {said:?}"
        )
    }
}

fn cost(tokens: &TokenClasses, [input, cached, output]: Rates) -> i64 {
    let count = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    count(tokens.input_uncached_tokens + tokens.input_cache_write_tokens) * input
        + count(tokens.input_cache_read_tokens) * cached
        + count(tokens.output_text_tokens + tokens.output_reasoning_tokens) * output
}

/// The number of corrections in the log of a running gateway.
pub fn corrections(data: &Path) -> io::Result<u64> {
    let connection = rusqlite::Connection::open_with_flags(ledger(data), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = connection.and_then(|connection| {
        connection.query_row("SELECT count(*) FROM events WHERE event_type = 'budget.adjusted'", [], |row| row.get(0))
    });
    count.map_err(io::Error::other)
}

/// Whether the corrections are complete.
pub fn is_complete(data: &Path) -> io::Result<bool> {
    let types = Some(vec![("price.revalued".to_owned(), 1)]);
    let reader = open_reader(&ledger(data)).map_err(io::Error::other)?;
    let part = reader.filtered(&EventFilter { types, ..EventFilter::default() }, 0, 1);
    part.map(|part| !part.events.is_empty()).map_err(io::Error::other)
}
