//! The claims that follow from a sound ledger, and those that do not.

use serde_json::{Value, json};

use super::super::table::aligned;
use super::checkpoint::VerifiedCheckpoint;
use super::content::VerifiedContent;

/// A statement about a log. Its name is what `--json` has.
struct Claim {
    name: &'static str,
    statement: String,
}

/// Claims that were proven of a ledger, and claims that were not.
pub struct Proven {
    proven: Vec<Claim>,
    not_proven: Vec<Claim>,
}

impl Proven {
    /// Claims about a ledger whose events were checked, and compared with a checkpoint if there is one. `unchecked` says why they were not
    /// compared with a published log.
    pub fn of(checkpoint: Option<&VerifiedCheckpoint>, unchecked: Option<&str>) -> Self {
        let mut proven = vec![
            claim("order", "positions and streams have no gaps"),
            claim("time", "times never go back from one event to the next"),
            claim("holds", "each request was admitted and held once, and ended once unless its hold is open"),
            claim("costs", "each cost follows from its tokens and its price, and each charge from its cost"),
            claim("budgets", "each admission was within its budgets"),
        ];
        let mut not_proven = never_proven();
        if let Some(files) = checkpoint.and_then(VerifiedCheckpoint::claim_of_files) {
            proven.push(claim("published_files", files));
        }
        if let Some(why) = unchecked {
            not_proven.insert(0, claim("published_files", format!("that the log is what was published: {why}")));
        }
        match checkpoint.and_then(VerifiedCheckpoint::claim) {
            Some(completeness) => proven.push(claim("completeness", completeness)),
            None => not_proven.insert(
                0,
                claim(
                    "completeness",
                    "that no event was changed or removed with all that depends on it: --checkpoint-key",
                ),
            ),
        }
        Self { proven, not_proven }
    }

    /// Adds the claim about sealed content, if its store was checked.
    pub fn with_content(mut self, content: Option<&VerifiedContent>) -> Self {
        if let Some(content) = content {
            match content.claim() {
                Some(opened) => self.proven.push(claim("content", opened)),
                None => self.not_proven.push(claim("content", "that content is as it was sealed: none was opened")),
            }
        }
        self
    }

    /// Claims about a bundle whose checkpoint has this many events.
    pub fn of_bundle(origin: &str, size: u64) -> Self {
        let proven = vec![
            claim(
                "inclusion",
                format!("each event is in {origin}, as it was when a checkpoint with {size} events was signed"),
            ),
            claim(
                "order",
                "positions and times never go back, and no stream has a gap before its last event in the file",
            ),
            claim(
                "holds",
                "each request was admitted and held once, and ended once unless the file does not show its end",
            ),
            claim(
                "costs",
                "each cost follows from its tokens and a price that is in the log, and each charge from its cost",
            ),
        ];
        let mut not_proven = vec![
            claim(
                "completeness",
                "that nothing newer was left out: a whole request, its end, or a correction of its charge",
            ),
            claim("budgets", "that each admission was within its budgets: verify --archive"),
        ];
        not_proven.extend(never_proven());
        Self { proven, not_proven }
    }

    /// Claims about a sound receipt whose checkpoint has this many events.
    pub fn of_receipt(origin: &str, size: u64) -> Self {
        let inclusion = format!("each event is in {origin}, as it was when a checkpoint with {size} events was signed");
        let mut not_proven = vec![
            claim("completeness", "that the request has no other events, such as a later correction of its charge"),
            claim("costs", "that its cost follows from its tokens and a price: verify --bundle"),
            claim("budgets", "that its admission was within its budgets: verify --archive"),
        ];
        not_proven.extend(never_proven());
        Self { proven: vec![claim("inclusion", inclusion)], not_proven }
    }

    /// A table for people.
    pub fn table(&self) -> String {
        let rows = |head: &str, claims: &[Claim]| {
            let head = [vec![head.to_owned(), String::new()]];
            let rows = claims.iter().map(|claim| vec![claim.name.replace('_', " "), claim.statement.clone()]);
            head.into_iter().chain(rows).collect::<Vec<_>>()
        };
        let blank = vec![String::new(), String::new()];
        let mut table = rows("PROVEN", &self.proven);
        table.push(blank);
        table.extend(rows("NOT PROVEN", &self.not_proven));
        aligned(table)
    }

    /// Adds the names to an object.
    pub fn add_to(&self, object: &mut Value) {
        let names = |claims: &[Claim]| claims.iter().map(|claim| claim.name).collect::<Vec<_>>();
        object["proven"] = json!(names(&self.proven));
        object["not_proven"] = json!(names(&self.not_proven));
    }
}

/// The claims that no log proves.
fn never_proven() -> Vec<Claim> {
    vec![
        claim("provider_bills", "that what a provider reported and bills is right"),
        claim("before_the_log", "what happened before the first event, or was never recorded"),
        claim("names", "who is behind an id"),
    ]
}

fn claim(name: &'static str, statement: impl Into<String>) -> Claim {
    Claim { name, statement: statement.into() }
}
