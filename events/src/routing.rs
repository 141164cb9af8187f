//! Routing: which of a model's targets serve a request, and in which order they are tried. It is one pure function over the
//! table of strategies. Everything random is drawn from the request's id, so that an order can be reconstructed from the log
//! and is the same each time.
//!
//! A strategy is a file below this one and a line of the table (docs/adding-a-strategy.md). It orders all candidates,
//! including those that cannot serve, which are left out afterwards: the order of the others does not depend on them. It
//! cannot lose or repeat a candidate, because all it gets is a slice to sort. It gives a reason for each rank, which
//! becomes text only when it is logged.

use std::fmt;

use crate::ids::RequestId;
use crate::money::Tariff;
use crate::named;

macro_rules! strategies {
    ($($module:ident => $name:ident = $literal:literal,)+) => {
        $(mod $module;)+

        named! {
            /// How a model's targets are ordered. The word is recorded with the model, and so can never change.
            pub enum Strategy { $($name = $literal,)+ }
        }

        impl Strategy {
            fn arrange(self, ranking: &mut [Ranked<'_>], features: &Features) {
                match self {
                    $(Self::$name => $module::arrange(ranking, features),)+
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
    /// `None` if it has no price in force.
    pub tariff: Option<&'a Tariff>,
    /// Why it cannot serve; `None` if it can.
    pub left_out: Option<LeftOut>,
}

/// Why a target cannot serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its provider is deleted, or belongs to another tenant.
    NoProvider,
    NoPrice,
    /// Its provider is of a kind that this version does not have: a later version recorded it.
    KindUnknown,
    /// Its provider does not have the API that the request needs.
    NoSuchApi,
    /// The catalogue knows that the model is for the other API.
    ForAnotherApi,
    /// The request has a field that changes the cost, and the provider does not allow it.
    FieldNotAllowed,
    /// The client's own output cap is above the target's maximum.
    CapAbove {
        maximum: u64,
    },
    /// The request has documents, which may fill the target's context, whose length is unknown.
    ContextUnknown,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProvider => f.write_str("no live provider for this tenant"),
            Self::NoPrice => f.write_str("no price in force"),
            Self::KindUnknown => f.write_str("the provider's kind is unknown to this version"),
            Self::NoSuchApi => f.write_str("its provider does not have the API"),
            Self::ForAnotherApi => f.write_str("the model is known to be for another API"),
            Self::FieldNotAllowed => f.write_str("a field changes the cost and is not allowed"),
            Self::CapAbove { maximum } => write!(f, "accepts at most {maximum} output tokens"),
            Self::ContextUnknown => f.write_str("documents need a target with a context_window"),
        }
    }
}

/// The features of a request that strategies may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// `None` for no request in particular: the order is then that of most requests.
    pub request: Option<RequestId>,
    /// The upper bound of the prompt.
    pub input_tokens: u64,
    /// The client's own cap, for all answers together; `None` if it gave none.
    pub output_tokens: Option<u64>,
}

/// A candidate in the order.
#[derive(Debug)]
pub struct Ranked<'a> {
    pub candidate: Candidate<'a>,
    pub reason: Reason,
    /// The candidate's index in the input.
    index: usize,
}

/// The reason for a candidate's rank: `priority 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub what: &'static str,
    pub figure: u64,
}

/// The candidates in the order in which they are tried, and those that are left out.
#[derive(Debug)]
pub struct Order<'a> {
    strategy: Strategy,
    ranking: Vec<Ranked<'a>>,
}

/// Orders the candidates of one request.
pub fn choose<'a>(
    strategy: Strategy,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    features: &Features,
) -> Order<'a> {
    let mut ranking = ranked(candidates);
    strategy.arrange(&mut ranking, features);
    Order { strategy, ranking }
}

/// The candidates in the order of the input.
fn ranked<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>) -> Vec<Ranked<'a>> {
    let ranked =
        |(index, candidate)| Ranked { candidate, reason: Reason { what: "rank", figure: index as u64 }, index };
    candidates.into_iter().enumerate().map(ranked).collect()
}

impl Order<'_> {
    /// Indexes of the candidates that are tried, the first one first.
    pub fn tried(&self) -> impl Iterator<Item = usize> {
        self.ranking.iter().filter(|ranked| ranked.candidate.left_out.is_none()).map(|ranked| ranked.index)
    }

    /// Indexes of the candidates that are left out, with the reasons, in the same order.
    pub fn left_out(&self) -> impl Iterator<Item = (usize, LeftOut)> {
        self.ranking.iter().filter_map(|ranked| Some((ranked.index, ranked.candidate.left_out?)))
    }

    /// The reason for the rank of the candidate with this index.
    pub fn reason(&self, index: usize) -> Option<Reason> {
        self.ranking.iter().find(|ranked| ranked.index == index).map(|ranked| ranked.reason)
    }

    /// The decision in words: `priority: p/a (priority 1), p/b (priority 2); left out: p/c (no price in force)`.
    pub fn explained(&self, name: impl Fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            f.write_str(self.strategy.as_str())?;
            for (at, ranked) in self.ranking.iter().filter(|ranked| ranked.candidate.left_out.is_none()).enumerate() {
                f.write_str(if at == 0 { ": " } else { ", " })?;
                name(ranked.index, f)?;
                write!(f, " ({} {})", ranked.reason.what, ranked.reason.figure)?;
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
