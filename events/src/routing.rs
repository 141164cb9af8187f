//! Which of a model's targets serve a request, and in which order they are tried: one pure function over the table of
//! strategies. Whatever is drawn follows from the request's id, so that an order can be told from the log, and is the same
//! however often it is asked for.
//!
//! A strategy is a file below this one and a line of the table (docs/adding-a-strategy.md). It orders all candidates, those
//! that cannot serve as well, and they are left out afterwards: so that the order of the others does not hang on them. It
//! cannot lose one or name one twice, because all that it is given is a slice to sort. What it writes beside each place says
//! why, and is text only where somebody looks.

use std::fmt;

use crate::ids::RequestId;
use crate::money::Rates;
use crate::named;

macro_rules! strategies {
    ($($module:ident => $name:ident = $literal:literal,)+) => {
        $(mod $module;)+

        named! {
            /// How the targets of a model are chosen among. Recorded with the model, so that a word stays for ever.
            pub enum Strategy { $($name = $literal,)+ }
        }

        impl Strategy {
            fn arrange(self, places: &mut [Place<'_>], features: &Features) {
                match self {
                    $(Self::$name => $module::arrange(places, features),)+
                }
            }
        }
    };
}

strategies! {
    priority => Priority = "priority",
    weighted => Weighted = "weighted",
}

/// A target, as strategies see it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub priority: u32,
    pub weight: u32,
    /// `None` where it has no price.
    pub rates: Option<&'a Rates>,
    /// Why it cannot serve.
    pub left_out: Option<LeftOut>,
}

/// Why a target cannot serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its provider has ended, or is another tenant's.
    NoProvider,
    NoPrice,
    /// The request has a field that changes the cost, and the provider's row does not allow it.
    FieldNotAllowed,
    /// The client's own output cap is above what the target takes.
    CapAbove {
        maximum: u64,
    },
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str("no live provider of the tenant's"),
            Self::NoPrice => f.write_str("no price in force"),
            Self::FieldNotAllowed => f.write_str("a field changes the cost and is not allowed"),
            Self::CapAbove { maximum } => write!(f, "gives {maximum} output tokens at most"),
        }
    }
}

/// What strategies may know of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// `None`: of no request in particular. The order is then the one that most requests have.
    pub request: Option<RequestId>,
    /// Upper bound of the prompt.
    pub input_tokens: u64,
    /// The client's own cap over all answers; `None` where it gave none.
    pub output_tokens: Option<u64>,
}

/// A candidate at its place in the order.
#[derive(Debug)]
pub struct Place<'a> {
    pub candidate: Candidate<'a>,
    pub reason: Reason,
    /// Of the candidate among those that were given.
    index: usize,
}

/// Why a candidate stands where it stands: `priority 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub what: &'static str,
    pub figure: u64,
}

/// The candidates as they are tried, and those that are not.
#[derive(Debug)]
pub struct Order<'a> {
    strategy: Strategy,
    places: Vec<Place<'a>>,
}

/// Orders the candidates of one request.
pub fn choose<'a>(
    strategy: Strategy,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    features: &Features,
) -> Order<'a> {
    let mut places = placed(candidates);
    strategy.arrange(&mut places, features);
    Order { strategy, places }
}

/// As they were given.
fn placed<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>) -> Vec<Place<'a>> {
    let place = |(index, candidate)| Place { candidate, reason: Reason { what: "place", figure: index as u64 }, index };
    candidates.into_iter().enumerate().map(place).collect()
}

impl Order<'_> {
    /// Indexes of the candidates that are tried, first things first.
    pub fn tried(&self) -> impl Iterator<Item = usize> {
        self.places.iter().filter(|place| place.candidate.left_out.is_none()).map(|place| place.index)
    }

    /// Indexes of those that are not, in the same order.
    pub fn left_out(&self) -> impl Iterator<Item = (usize, LeftOut)> {
        self.places.iter().filter_map(|place| Some((place.index, place.candidate.left_out?)))
    }

    /// The decision in words: `priority: p/a (priority 1), p/b (priority 2); left out: p/c (no price in force)`.
    pub fn explained(&self, name: impl Fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            f.write_str(self.strategy.as_str())?;
            for (at, place) in self.places.iter().filter(|place| place.candidate.left_out.is_none()).enumerate() {
                f.write_str(if at == 0 { ": " } else { ", " })?;
                name(place.index, f)?;
                write!(f, " ({} {})", place.reason.what, place.reason.figure)?;
            }
            for (at, (index, why)) in self.left_out().enumerate() {
                f.write_str(if at == 0 { "; left out: " } else { ", " })?;
                name(index, f)?;
                write!(f, " ({why})")?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
