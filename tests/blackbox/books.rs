//! An independent reader of the log: folds it with a few lines of arithmetic and panics at the first broken promise.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

const HOLD_ENDS: [&str; 3] = ["budget.settled", "budget.released", "budget.expired"];
const OUTCOMES: [&str; 3] = ["inference.completed", "inference.failed", "inference.aborted"];

/// A budget and its window's start; `None` for the period `total`.
pub type Window = (String, Option<String>);

/// Nano-dollars of one budget and window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub settled: i64,
    pub held: i64,
}

struct Hold {
    held: i64,
    windows: BTreeSet<Window>,
}

/// The log, folded.
#[derive(Default)]
pub struct Books {
    position: u64,
    recorded_at: String,
    sequences: HashMap<String, u64>,
    /// `None` for budgets that only observe.
    limits: HashMap<String, Option<i64>>,
    pub balances: BTreeMap<Window, Balance>,
    open: HashMap<String, Hold>,
    admitted: BTreeSet<String>,
    outcomes: HashMap<String, String>,
    ends: HashMap<String, String>,
    costs: HashMap<String, i64>,
    charges: HashMap<String, i64>,
    /// Refusals, those that stand for several counted as several.
    pub refused: u64,
}

impl Books {
    pub fn of(events: &[Value]) -> Self {
        let mut books = Self::default();
        for event in events {
            books.take(event);
        }
        books.check_the_end();
        books
    }

    /// The position of the last event.
    pub const fn position(&self) -> u64 {
        self.position
    }

    pub fn open_holds(&self) -> BTreeSet<&str> {
        self.open.keys().map(String::as_str).collect()
    }

    pub fn admitted(&self) -> &BTreeSet<String> {
        &self.admitted
    }

    /// How the request's hold ended: `budget.settled`, …
    pub fn end_of(&self, request_id: &str) -> Option<&str> {
        self.ends.get(request_id).map(String::as_str)
    }

    /// Returns the limit of a hard budget.
    pub fn limit(&self, budget: &str) -> Option<i64> {
        self.limits[budget]
    }

    /// Returns the balance of the period `total`.
    pub fn balance(&self, budget: &str) -> Balance {
        self.balances.get(&(budget.to_owned(), None)).copied().unwrap_or_default()
    }

    /// The log goes on with this event.
    pub fn take(&mut self, event: &Value) {
        self.check_order(event);
        let (name, data) = (name_of(event), &event["data"]);
        match name {
            "budget.opened" | "budget.changed" => {
                let limit = (data["enforcement"] == "hard").then(|| nano(&data["limit_usd"]));
                self.limits.insert(text(&data["budget_id"]), limit);
            }
            "inference.admitted" => {
                assert!(self.admitted.insert(request_of(event)), "admitted twice: {event}");
            }
            "inference.refused" => self.refused += data["count"].as_u64().unwrap_or(1),
            "budget.reserved" => self.reserve(event),
            "budget.adjusted" => self.adjust(event),
            _ if HOLD_ENDS.contains(&name) => self.end(event, name),
            _ if OUTCOMES.contains(&name) => self.outcome(event, name),
            _ => {}
        }
    }

    fn check_order(&mut self, event: &Value) {
        self.position += 1;
        assert_eq!(event["position"], self.position, "a gap: {event}");
        let sequence = self.sequences.entry(text(&event["stream"])).or_default();
        *sequence += 1;
        assert_eq!(event["sequence"], *sequence, "out of sequence: {event}");
        let recorded_at = text(&event["recorded_at"]);
        assert!(self.recorded_at <= recorded_at, "time goes back: {event}");
        self.recorded_at = recorded_at;
    }

    fn reserve(&mut self, event: &Value) {
        let (request, held) = (request_of(event), nano(&event["data"]["held_usd"]));
        assert!(self.admitted.contains(&request), "a hold without admission: {event}");
        assert!(held >= 0, "a negative hold: {event}");
        let windows = windows(event);
        for window in &windows {
            let balance = self.balances.entry(window.clone()).or_default();
            balance.held += held;
            let (used, limit) = (balance.settled + balance.held, self.limits[&window.0]);
            assert!(
                limit.is_none_or(|limit| used <= limit),
                "{used} of {limit:?} nano-dollars in {window:?} at {event}"
            );
        }
        assert!(self.open.insert(request, Hold { held, windows }).is_none(), "held twice: {event}");
    }

    fn end(&mut self, event: &Value, name: &str) {
        let (request, data) = (request_of(event), &event["data"]);
        let hold = self.open.remove(&request).unwrap_or_else(|| panic!("no hold is open: {event}"));
        assert_eq!(nano(&data["held_usd"]), hold.held, "another hold: {event}");
        assert_eq!(windows(event), hold.windows, "other budgets: {event}");
        let charged = if name == "budget.released" { 0 } else { nano(&data["charged_usd"]) };
        assert!(charged >= 0, "a negative charge: {event}");
        for window in hold.windows {
            let balance = self.balances.entry(window).or_default();
            balance.held -= hold.held;
            balance.settled += charged;
        }
        self.charges.insert(request.clone(), charged);
        assert!(self.ends.insert(request, name.to_owned()).is_none(), "ended twice: {event}");
    }

    fn adjust(&mut self, event: &Value) {
        for window in windows(event) {
            self.balances.entry(window).or_default().settled += nano(&event["data"]["delta_usd"]);
        }
    }

    fn outcome(&mut self, event: &Value, name: &str) {
        let request = request_of(event);
        assert!(self.admitted.contains(&request), "an outcome without admission: {event}");
        self.costs.insert(request.clone(), nano(&event["data"]["cost_usd"]));
        assert!(self.outcomes.insert(request, name.to_owned()).is_none(), "a second outcome: {event}");
    }

    pub fn check_the_end(&self) {
        for request in &self.admitted {
            let held = self.open.contains_key(request) || self.ends.contains_key(request);
            assert!(held, "{request} was admitted without a hold");
        }
        for (request, outcome) in &self.outcomes {
            assert!(!self.open.contains_key(request), "{request}: {outcome} with an open hold");
            if self.end_of(request) == Some("budget.settled") {
                assert_eq!(self.costs[request], self.charges[request], "{request}: cost and charge");
            }
        }
        for request in self.ends.keys() {
            assert!(self.outcomes.contains_key(request), "{request}: its hold ended without an outcome");
        }
    }
}

/// `inference.admitted` of `inference.admitted.v1`.
fn name_of(event: &Value) -> &str {
    let (name, _) = event["type"].as_str().and_then(|name| name.rsplit_once(".v")).expect("a type with a version");
    name
}

fn request_of(event: &Value) -> String {
    text(&event["request_id"])
}

fn windows(event: &Value) -> BTreeSet<Window> {
    let budgets = event["data"]["budgets"].as_array().expect("a list of budgets");
    budgets
        .iter()
        .map(|window| (text(&window["budget_id"]), window["window_start"].as_str().map(str::to_owned)))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Nano-dollars of money on the wire: a string with exactly nine fractional digits.
pub fn nano(usd: &Value) -> i64 {
    let text = usd.as_str().unwrap_or_else(|| panic!("money is a string: {usd}"));
    let (_, fraction) = text.split_once('.').expect("money with a point");
    assert_eq!(fraction.len(), 9, "{text}");
    text.replace('.', "").parse().expect("money in digits")
}

/// Money on the wire from nano-dollars, which are not negative here.
pub fn usd(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}
