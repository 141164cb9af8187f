//! Routing: which of a model's targets serve a request, and in which order they are tried. It is one pure function over the
//! table of strategies. Everything random is drawn from the request's id, so that an order can be reconstructed from the log
//! and is the same each time.
//!
//! A strategy is a file below this one and a line of the table (docs/adding-a-strategy.md). It orders all candidates,
//! including those that cannot serve, which are left out afterwards. It
//! cannot lose or repeat a candidate, because all it gets is a slice to sort. It works in two steps: it gives each candidate figures, from
//! what it knows of it, and orders them by these alone. So the log needs only the figures to show the order again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::RequestId;
use crate::money::{NanoUsd, PromptBound, Tariff};
use crate::named;
use crate::named::NamedValue;

mod affinity;
mod canary;
mod decision;
mod draws;
mod inputs;
pub mod left_out;
mod passed_over;
mod request_features;
mod seen_request;
mod shadow;
mod share;
mod target;

macro_rules! strategies {
    ($($module:ident => $name:ident = $literal:literal,)+) => {
        $(mod $module;)+

        named! {
            /// How a model's targets are ordered. The word is recorded with the model, and so can never change.
            pub enum Strategy { $($name = $literal,)+ }
        }

        impl Strategy {
            /// The name of its first figure, such as `priority`.
            const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $module::WHAT,)+
                }
            }

            /// Which of its figures the log has only as it was recorded.
            const fn measured(self) -> MeasuredFigure {
                match self {
                    $(Self::$name => $module::MEASURED,)+
                }
            }

            /// Gives each candidate its figures.
            fn rate(self, ranking: &mut [Ranked<'_>], features: &Features) {
                match self {
                    $(Self::$name => $module::rate(ranking, features),)+
                }
            }

            /// Orders the candidates by their figures.
            fn arrange(self, ranking: &mut [Ranked<'_>], request: Option<RequestId>) {
                match self {
                    $(Self::$name => $module::arrange(ranking, request),)+
                }
            }
        }
    };
}

strategies! {
    priority => Priority = "priority",
    weighted => Weighted = "weighted",
    cost => Cost = "cost",
    latency => Latency = "latency",
    balanced => Balanced = "balanced",
    quality => Quality = "quality",
    rules => Rules = "rules",
    tenant_default => TenantDefault = "tenant_default",
}

named! {
    /// The party that chose the strategy of a request.
    #[derive(Default)]
    pub enum ChosenBy {
        /// The model, or one of its rules.
        #[default]
        Model = "model",
        /// The tenant, for a model that leaves it to the tenant.
        Tenant = "tenant",
        Request = "request",
    }
}

pub use affinity::Affinity;
pub use canary::{Canary, CanaryBy, CanaryPlace};
pub use decision::{RouteDecision, decide, decide_again};
pub use inputs::{DialectFit, OpenBreakerInputs, RouteInputs, RouteQuestion, TargetInputs};
pub use left_out::{LeftOut, RecordedLeftOut};
pub use passed_over::PassedOverFor;
pub use request_features::{RequestFeatures, RequestType, UNKNOWN_LANGUAGE};
pub use rules::{CompileConditions, ConditionSubject, Conditions, RoutingRule, RoutingRules};
pub use seen_request::{SeenFields, SeenRequest};
pub use shadow::Shadow;
pub use target::{StatedFacts, StatedWindow, Target, TargetFacts, Tokenizer};

impl Strategy {
    /// Strategies that a rule, a tenant or a request can choose. Other gateways call `latency` `performance`.
    pub const CHOOSABLE: &'static [NamedValue<Self>] = &[
        NamedValue::new("priority", Self::Priority),
        NamedValue::new("weighted", Self::Weighted),
        NamedValue::new("cost", Self::Cost),
        NamedValue::new("latency", Self::Latency),
        NamedValue::new("performance", Self::Latency),
        NamedValue::new("balanced", Self::Balanced),
        NamedValue::new("quality", Self::Quality),
    ];

    /// Strategies that administration accepts for a model: those above, the rules, and the choice of the tenant.
    pub const ACCEPTED: &'static [NamedValue<Self>] = &{
        let mut accepted = [NamedValue::new("rules", Self::Rules); Self::CHOOSABLE.len() + 2];
        accepted[Self::CHOOSABLE.len() + 1] = NamedValue::new("tenant_default", Self::TenantDefault);
        let mut at = 0;
        while at < Self::CHOOSABLE.len() {
            accepted[at] = Self::CHOOSABLE[at];
            at += 1;
        }
        accepted
    };

    /// Whether it goes by what the node has measured of the targets.
    pub const fn needs_observations(self) -> bool {
        matches!(self, Self::Latency | Self::Balanced)
    }
}

/// The figure of a strategy that follows from prices, estimates or measurements. A request that is decided again takes it as it was recorded,
/// because the log has it nowhere else; the other figures follow from the model's row.
#[derive(Clone, Copy)]
enum MeasuredFigure {
    None,
    First,
    Second,
}

/// A target, as strategies see it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Candidate<'a> {
    pub priority: u32,
    pub weight: u32,
    /// The operator's score, from 0 to 100.
    pub quality: u32,
    /// `None` if it has no price in force.
    pub tariff: Option<&'a Tariff>,
    pub observed: Observed,
    /// Why it cannot serve; `None` if it can.
    pub left_out: Option<LeftOut>,
}

/// A node's latest measurements of a target, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// `None` if nothing is known of it.
    pub first_token_us: Option<u64>,
    /// The time for each token after the first one.
    pub token_us: u64,
    /// The calls that are under way.
    pub in_flight: u32,
}

impl Observed {
    /// The figure of a target of which nothing is known, for each call that measures it: one call at a time is enough for that.
    const UNKNOWN_US: u64 = 15_000_000;

    /// How long an answer of so many tokens is expected to take behind those that are under way. A target of which nothing is known
    /// counts as the fastest, so that it is measured.
    pub const fn expected_us(&self, tokens: u64) -> u64 {
        let in_flight = self.in_flight as u64;
        match self.first_token_us {
            None => Self::UNKNOWN_US.saturating_mul(in_flight),
            Some(first) => {
                let one = first.saturating_add(self.token_us.saturating_mul(tokens));
                one.saturating_mul(in_flight.saturating_add(1))
            }
        }
    }
}

/// The features of a request that strategies may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// `None` for no request in particular: the order is then that of most requests.
    pub request: Option<RequestId>,
    /// The prompt, with an estimate of its tokens.
    pub prompt: PromptBound,
    /// The answers that the client wants; 0 counts as one.
    pub choices: u64,
    /// The client's own cap of each answer; `None` if it gave none.
    pub output_tokens: Option<u64>,
}

/// The tokens of an answer whose length nobody knows. Caps are often far above what is written.
const OUTPUT_TOKENS_EXPECTED: u64 = 500;

impl Features {
    /// How many tokens each answer is expected to have.
    fn output_tokens_expected(&self) -> u64 {
        self.output_tokens.map_or(OUTPUT_TOKENS_EXPECTED, |cap| cap.min(OUTPUT_TOKENS_EXPECTED))
    }
}

/// A candidate in the order.
#[derive(Debug)]
pub struct Ranked<'a> {
    pub candidate: Candidate<'a>,
    pub figures: RankFigures,
    /// The candidate's index in the input.
    index: usize,
}

/// No figure is above what JSON can express exactly in a number: what is beyond it is a text in the canonical form of an event.
const FIGURE_MAX: u64 = (1 << 53) - 1;

/// The two figures that a candidate's rank follows from: the second decides among equals of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "[u64; 2]", into = "[u64; 2]")]
pub struct RankFigures {
    pub first: u64,
    pub second: u64,
}

impl RankFigures {
    fn expressible(self) -> Self {
        Self { first: self.first.min(FIGURE_MAX), second: self.second.min(FIGURE_MAX) }
    }

    /// The figures with the measured one as it was recorded.
    fn with_recorded(self, recorded: Option<Self>, measured: MeasuredFigure) -> Self {
        match (recorded, measured) {
            (Some(Self { first, .. }), MeasuredFigure::First) => Self { first, ..self },
            (Some(Self { second, .. }), MeasuredFigure::Second) => Self { second, ..self },
            (Some(_), MeasuredFigure::None) | (None, _) => self,
        }
    }
}

impl From<[u64; 2]> for RankFigures {
    fn from([first, second]: [u64; 2]) -> Self {
        Self { first, second }
    }
}

impl From<RankFigures> for [u64; 2] {
    fn from(RankFigures { first, second }: RankFigures) -> Self {
        [first, second]
    }
}

/// The reason for a candidate's rank: `priority 1`, `expected cost 0.000012000 USD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Figure {
        strategy: Strategy,
        figure: u64,
    },
    /// Whatever its figures are.
    Canary(CanaryPlace),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (strategy, figure) = match *self {
            Self::Figure { strategy, figure } => (strategy, figure),
            Self::Canary(place) => return place.fmt(f),
        };
        match strategy {
            // No figure is beyond money.
            Strategy::Cost => {
                write!(f, "{} {} USD", strategy.what(), NanoUsd::new(i64::try_from(figure).unwrap_or(i64::MAX)))
            }
            Strategy::Latency => match figure {
                // Of a target that nothing is known of.
                0 => write!(f, "{} not measured lately", strategy.what()),
                1..1000 => write!(f, "{} below 1 ms", strategy.what()),
                _ => write!(f, "{} {} ms", strategy.what(), figure / 1000),
            },
            Strategy::Balanced => write!(f, "{} {}.{:03}", strategy.what(), figure / 1000, figure % 1000),
            Strategy::Priority | Strategy::Weighted | Strategy::Quality | Strategy::Rules | Strategy::TenantDefault => {
                write!(f, "{} {figure}", strategy.what())
            }
        }
    }
}

/// The candidates in the order in which they are tried, and those that are left out.
#[derive(Debug)]
pub struct Order<'a> {
    pub strategy: Strategy,
    ranking: Vec<Ranked<'a>>,
    /// The index of the canary, if there is one.
    canary: Option<(usize, CanaryPlace)>,
}

/// Orders the candidates of one request.
pub fn choose<'a>(
    strategy: Strategy,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    features: &Features,
) -> Order<'a> {
    choose_by_recorded(strategy, candidates, features, &[])
}

/// Orders the candidates of one request. The measured figure of each is the one that was recorded, if there is one.
fn choose_by_recorded<'a>(
    strategy: Strategy,
    candidates: impl IntoIterator<Item = Candidate<'a>>,
    features: &Features,
    recorded: &[Option<RankFigures>],
) -> Order<'a> {
    let mut ranking = ranked(candidates);
    strategy.rate(&mut ranking, features);
    for ranked in &mut ranking {
        let recorded = recorded.get(ranked.index).copied().flatten();
        ranked.figures = ranked.figures.expressible().with_recorded(recorded, strategy.measured());
    }
    strategy.arrange(&mut ranking, features.request);
    Order { strategy, ranking, canary: None }
}

/// Orders the candidates of a request again, by the figures that were recorded for each.
pub fn choose_again<'a>(
    strategy: Strategy,
    candidates: impl IntoIterator<Item = (Candidate<'a>, RankFigures)>,
    request: RequestId,
) -> Order<'a> {
    let (candidates, figures): (Vec<_>, Vec<_>) = candidates.into_iter().unzip();
    let mut ranking = ranked(candidates);
    for (ranked, figures) in ranking.iter_mut().zip(figures) {
        ranked.figures = figures;
    }
    strategy.arrange(&mut ranking, Some(request));
    Order { strategy, ranking, canary: None }
}

/// Up to so many candidates, the standard library sorts by insertion, without an allocation.
const INSERTION_SORT_MAX: usize = 20;

/// The candidates in the order of the input.
fn ranked<'a>(candidates: impl IntoIterator<Item = Candidate<'a>>) -> Vec<Ranked<'a>> {
    let ranked = |(index, candidate)| Ranked { candidate, figures: RankFigures::default(), index };
    candidates.into_iter().enumerate().map(ranked).collect()
}

/// The lowest figures first; equals keep their order.
fn lowest_first(ranking: &mut [Ranked<'_>]) {
    // Candidates are large: where there are many, the figures are sorted alone, and each candidate is moved once.
    if ranking.len() > INSERTION_SORT_MAX {
        ranking.sort_by_cached_key(|ranked| ranked.figures);
    } else {
        ranking.sort_by_key(|ranked| ranked.figures);
    }
}

impl Order<'_> {
    /// Indexes of the candidates that are tried, the first one first.
    pub fn tried(&self) -> impl Iterator<Item = usize> {
        self.ranking.iter().filter(|ranked| ranked.candidate.left_out.is_none()).map(|ranked| ranked.index)
    }

    /// Indexes of all candidates, in their order.
    pub fn all(&self) -> impl Iterator<Item = usize> {
        self.ranking.iter().map(|ranked| ranked.index)
    }

    /// Indexes of the candidates that are left out, with the reasons, in the same order.
    pub fn left_out(&self) -> impl Iterator<Item = (usize, LeftOut)> {
        self.ranking.iter().filter_map(|ranked| Some((ranked.index, ranked.candidate.left_out?)))
    }

    /// The order with these candidates left out as well.
    #[must_use]
    pub fn without(mut self, unable: &[usize]) -> Self {
        for ranked in self.ranking.iter_mut().filter(|ranked| unable.contains(&ranked.index)) {
            ranked.candidate.left_out.get_or_insert(LeftOut::NoPrice(left_out::NoPrice));
        }
        self
    }

    /// The figures of the candidate with this index.
    pub fn figures(&self, index: usize) -> Option<RankFigures> {
        self.ranking.iter().find(|ranked| ranked.index == index).map(|ranked| ranked.figures)
    }

    /// The reason for the rank of the candidate with this index.
    pub fn reason(&self, index: usize) -> Option<Reason> {
        match self.canary {
            Some((canary, place)) if canary == index => Some(Reason::Canary(place)),
            Some(_) | None => {
                self.figures(index).map(|figures| Reason::Figure { strategy: self.strategy, figure: figures.first })
            }
        }
    }

    /// The decision in words: `priority: p/a (priority 1), p/b (priority 2); left out: p/c (no price in force)`.
    pub fn explained(&self, name: impl Fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "{}{}", self.strategy.as_str(), self.listed(&name, |_, why, f| write!(f, "{why}")))
        })
    }

    /// The candidates with the reasons of their places, and those that are left out: `: p/a (priority 1); left out: p/c (no price in force)`.
    pub fn listed(
        &self,
        name: impl Fn(usize, &mut fmt::Formatter<'_>) -> fmt::Result,
        why_left_out: impl Fn(usize, LeftOut, &mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            for (at, index) in self.tried().enumerate() {
                f.write_str(if at == 0 { ": " } else { ", " })?;
                name(index, f)?;
                self.reason(index).map_or(Ok(()), |reason| write!(f, " ({reason})"))?;
            }
            for (at, (index, why)) in self.left_out().enumerate() {
                f.write_str(if at == 0 { "; left out: " } else { ", " })?;
                name(index, f)?;
                f.write_str(" (")?;
                why_left_out(index, why, f)?;
                f.write_str(")")?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
