//! The lines of a bundle.

use std::io::{self, BufRead, Read};

use chrono::{DateTime, Utc};
use events::ids::TenantId;
use events::time::wire;
use serde::{Deserialize, Serialize};
use tlog::Hash;

use crate::selection::TenantRange;

/// The format and its version.
const FORMAT: &str = "ledgerway/bundle/1";
/// The longest line that is read. Events are far shorter.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The beginning of the line of a subtree, and of no other.
const SUBTREE: &str = "{\"height\":";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    bundle: String,
    pub tenant_id: TenantId,
    /// The tenant's events are those recorded at this time or later; absent for those from the beginning.
    #[serde(default, with = "wire::option", skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// And before this time; absent for those up to the checkpoint.
    #[serde(default, with = "wire::option", skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// The signed checkpoint of the tree that the other lines are.
    pub checkpoint: String,
}

impl Header {
    pub fn new(TenantRange { tenant, from, to }: TenantRange, checkpoint: String) -> Self {
        Self { bundle: FORMAT.to_owned(), tenant_id: tenant, from, to, checkpoint }
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(|header: &Self| header.bundle == FORMAT)
    }
}

/// A subtree without its leaves.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subtree {
    height: u32,
    hash: String,
}

/// A line after the first.
pub enum Line<'a> {
    Subtree {
        height: u32,
        hash: Hash,
    },
    /// The canonical envelope of an event.
    Event(&'a str),
}

impl<'a> Line<'a> {
    /// `None` if it begins as a subtree does, and is none. Events are read by whoever needs them.
    pub fn parse(line: &'a str) -> Option<Self> {
        if !line.starts_with(SUBTREE) {
            return Some(Self::Event(line));
        }
        let Subtree { height, hash } = serde_json::from_str(line).ok()?;
        Some(Self::Subtree { height, hash: hash.parse().ok()? })
    }

    /// How many leaves it stands for.
    pub fn leaves(&self) -> u64 {
        match self {
            Self::Subtree { height, .. } => 1_u64.checked_shl(*height).unwrap_or(u64::MAX),
            Self::Event(_) => 1,
        }
    }
}

pub fn subtree_line(height: u32, hash: Hash) -> String {
    format!("{SUBTREE}{height},\"hash\":\"{hash}\"}}")
}

/// The next line without its line feed; `None` after the last. A line that is longer than any can be, or is not UTF-8, is an error
/// of the kind `InvalidData`.
pub fn read_line<'a>(file: &mut impl BufRead, line: &'a mut Vec<u8>) -> io::Result<Option<&'a str>> {
    line.clear();
    file.take(LINE_BYTES_MAX as u64).read_until(b'\n', line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let wrong = |why| io::Error::new(io::ErrorKind::InvalidData, why);
    if line.pop() != Some(b'\n') {
        return Err(wrong("the line does not end"));
    }
    std::str::from_utf8(line).map(Some).map_err(|_| wrong("the line is not UTF-8"))
}
