//! The answers of the script.

use std::time::Duration;

use crate::error::CounterErrorKind;

/// The answer to a request under its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CountReply {
    /// Counted against every limit.
    Counted(Answer),
    /// Counted against none: one or more have too little left.
    Refused(Answer),
    /// Nothing was done: Redis has another state of this node than the call goes by. Of a call without limits: the node was not live.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's time, in microseconds since the epoch.
    pub now_micros: i64,
    /// One for each count, in the order of the call.
    pub standings: Vec<Standing>,
}

/// How a measure stands after the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The count of all nodes together.
    pub counted: u64,
    /// How long until more is left; `None` if nobody knows.
    pub more_in: Option<Duration>,
    /// Why the request does not fit.
    pub shortage: Option<Shortage>,
}

/// Why a request does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A running request must end first.
    Concurrency,
    /// The request fits after this time.
    After(Duration),
    /// The request exceeds the whole limit.
    Never,
}

impl CountReply {
    pub(crate) fn read(words: &[String]) -> Result<Self, CounterErrorKind> {
        match words.first().map(String::as_str) {
            Some("counted") => Answer::read(words).map(Self::Counted),
            Some("refused") => Answer::read(words).map(Self::Refused),
            Some("unknown") => Ok(Self::Unknown),
            _ => Err(CounterErrorKind::Unreadable),
        }
    }
}

impl Answer {
    fn read(words: &[String]) -> Result<Self, CounterErrorKind> {
        let [_, now, numbers @ ..] = words else { return Err(CounterErrorKind::Unreadable) };
        let now_micros = now.parse().map_err(|_| CounterErrorKind::Unreadable)?;
        Ok(Self { now_micros, standings: standings(numbers)? })
    }
}

fn standings(numbers: &[String]) -> Result<Vec<Standing>, CounterErrorKind> {
    let (triples, rest) = numbers.as_chunks::<3>();
    if !rest.is_empty() {
        return Err(CounterErrorKind::Unreadable);
    }
    triples.iter().map(standing).collect()
}

fn standing(triple: &[String; 3]) -> Result<Standing, CounterErrorKind> {
    let [counted, more_in, wait] = triple;
    let number = |text: &String| text.parse::<i64>().map_err(|_| CounterErrorKind::Unreadable);
    let shortage = match number(wait)? {
        0 => None,
        -1 => Some(Shortage::Concurrency),
        -2 => Some(Shortage::Never),
        micros => Some(Shortage::After(Duration::from_micros(micros.unsigned_abs()))),
    };
    let more_in = u64::try_from(number(more_in)?).ok().map(Duration::from_micros);
    Ok(Standing { counted: number(counted)?.unsigned_abs(), more_in, shortage })
}
