//! The bound, computed again from the prices that the admission names.
//!
//! The log has the prompt's tokens for the target that counts most, and the output cap. It does not have how many answers were
//! asked for, how many images the prompt has, and which service tier was named, although all of these are in the bound. The
//! number of answers and the tier are looked for, because there are few. A hold that takes another number than one, or a tier,
//! is one that can be right: whether it is, the log does not say.

use events::event::Chain;
use events::event::hold::BrokeredPart;
use events::event::inference::InferenceAdmitted;
use events::ids::target_key;
use events::ledger::BrokeredBound;
use events::money::{BoundTerms, CallsAtOnce, CostLine, Dearest, NanoUsd, PromptBound, Tariff};
use events::output_cap::{CHOICES_MAX, SHRUNK_OUTPUT_TOKENS_MIN, Shrinking};
use events::usage::ServiceTier;

use super::evidence::{AdmissionEvidence, HeldAmount};
use super::verdict::Verdict;

/// The bound of a request, and what follows.
#[derive(Clone, Debug)]
pub struct BoundCheck {
    pub verdict: Verdict,
    pub held: Option<NanoUsd>,
    /// The bound by the prices, for these choices and this tier. `None` if a price is missing, or money cannot count it.
    pub computed: Option<NanoUsd>,
    pub input_tokens: u64,
    pub output_tokens_max: u64,
    /// The tokens that each choice can have beyond that cap.
    pub output_tokens_beyond_cap: u64,
    /// With which the recorded hold follows, or 1.
    pub choices: u64,
    pub service_tier: Option<ServiceTier>,
    pub targets: Vec<BoundTarget>,
    /// For a request whose cap was lowered.
    pub(super) unlowered: Option<Unlowered>,
    /// The same over those of its targets that are not its tenant's own, if less is held for them.
    pub(super) brokered: Option<BrokeredBound>,
}

/// The bound of a request before its cap was lowered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unlowered {
    pub held: NanoUsd,
    /// The cost under lower caps.
    pub shrinking: Shrinking,
}

/// The most that a request can cost at one of its targets.
#[derive(Clone, Debug)]
pub struct BoundTarget {
    /// `provider_id/model`.
    pub backend: String,
    pub price_version: u64,
    /// The owners of the price.
    pub owners: Chain,
    pub terms: BoundTerms,
    pub request_usd: NanoUsd,
    pub computed: Option<NanoUsd>,
}

const COUNTED_OTHERWISE: &str = "those of its targets that are not its tenant's own may count the prompt differently, or bill images, and the \
     log has the highest count of all";

/// Assumptions about request fields that are not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Supposed {
    choices: u64,
    service_tier: Option<ServiceTier>,
}

impl Supposed {
    /// The sentence for a hold that follows only under these assumptions; `None` if nothing had to be assumed.
    fn undecided(self) -> Option<String> {
        let Self { choices, service_tier } = self;
        let supposed = match (choices, service_tier) {
            (1, None) => return None,
            (_, None) => format!("{choices} answers"),
            (1, Some(tier)) => format!("the service tier {}", tier.as_str()),
            (_, Some(tier)) => format!("{choices} answers in the service tier {}", tier.as_str()),
        };
        Some(format!("the hold follows if the request asked for {supposed}, which the log does not have"))
    }
}

/// The price of a target.
#[derive(Clone, Copy)]
struct PricedTarget<'a> {
    backend: &'a str,
    version: u64,
    owners: Chain,
    tariff: &'a Tariff,
}

pub(super) fn check(of: AdmissionEvidence<'_>, held: Option<HeldAmount>) -> BoundCheck {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let mut check = BoundCheck {
        verdict: Verdict::default(),
        held: held.map(|held| held.amount),
        computed: None,
        input_tokens: admitted.input_tokens_bound,
        output_tokens_max: admitted.max_output_tokens,
        output_tokens_beyond_cap: admitted.output_tokens_beyond_cap.unwrap_or(0),
        choices: 1,
        service_tier: None,
        targets: Vec::new(),
        unlowered: None,
        brokered: None,
    };
    if !evidence.is_whole {
        check.verdict.undecided.push(evidence.too_many_changes());
        return check;
    }
    let mut priced = Vec::new();
    for (backend, version) in &admitted.versions.prices {
        match evidence.price(*version) {
            Some((event, price)) if target_key(price.provider_id, &price.model) == *backend => {
                let owners = event.context.chain();
                priced.push(PricedTarget { backend, version: *version, owners, tariff: &price.tariff });
            }
            _ => check.verdict.differ(
                recorded.position,
                "versions.prices",
                format!("{backend} at {version}"),
                format!("position {version} has no price of it"),
            ),
        }
    }
    let Some(HeldAmount { position, amount: held }) = held.filter(|_| check.verdict.differences.is_empty()) else {
        return check;
    };
    let supposed = supposed(&priced, admitted, held);
    let (choices, service_tier) = supposed.map_or((1, None), |found| (found.choices, found.service_tier));
    let used = Supposed { choices, service_tier };
    (check.choices, check.service_tier) = (choices, service_tier);
    check.computed = bound(&priced, admitted, used);
    check.targets = priced.iter().filter_map(|target| of_target(target, admitted, used)).collect();
    if let Some(supposed) = supposed {
        check.verdict.undecided.extend(supposed.undecided());
        check.unlowered = unlowered(&priced, admitted, used);
        if let Some(part) = evidence.hold().and_then(|(_, reserved)| reserved.brokered.as_deref()) {
            check.compare_brokered(position, part, &priced, admitted, used);
        }
        return check;
    }
    match unrecorded(&priced, admitted, held) {
        Some(missing) => check.verdict.undecided.push(missing.to_owned()),
        None => {
            let follows = check.computed.map_or_else(|| "more than money can count".to_owned(), |usd| usd.to_string());
            check.verdict.differ(position, "held_usd", held, follows);
        }
    }
    check
}

impl BoundCheck {
    /// Computes the part of the bound that is held above the tenant again: over the targets that are not the tenant's own.
    fn compare_brokered(
        &mut self,
        position: u64,
        part: &BrokeredPart,
        priced: &[PricedTarget<'_>],
        admitted: &InferenceAdmitted,
        used: Supposed,
    ) {
        let others: Vec<_> = priced.iter().filter(|target| target.owners.tenant.is_none()).copied().collect();
        let cap = admitted.requested_max_output_tokens.unwrap_or(admitted.max_output_tokens);
        let computed =
            dearest(&others, admitted, cap, used).and_then(|dearest| Some((dearest.held()?, dearest.line()?)));
        let Some((held, line)) = computed else { return };
        let follows = match admitted.requested_max_output_tokens {
            None => Some(held),
            Some(_) => line.at(admitted.max_output_tokens),
        };
        let follows = follows.unwrap_or(held);
        // They may count the prompt lower than the others, and bill images: the log has neither.
        let is_certain = others.is_empty() || follows < part.held_usd;
        if follows != part.held_usd && is_certain && !others.iter().any(|target| target.tariff.bills_images()) {
            self.verdict.differ(position, "brokered.held_usd", part.held_usd, follows);
        } else if follows != part.held_usd {
            self.verdict.undecided.push(COUNTED_OTHERWISE.to_owned());
        }
        self.brokered = Some(BrokeredBound { held, line, is_guest: false });
    }
}

/// The choices and the tier with which the recorded hold follows; of several, the least.
fn supposed(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, held: NanoUsd) -> Option<Supposed> {
    let tiers = ServiceTier::ALL.iter().filter(|tier| priced.iter().any(|target| target.tariff.has_tier(**tier)));
    let tiers: Vec<Option<ServiceTier>> = [None].into_iter().chain(tiers.map(|tier| Some(*tier))).collect();
    // Without output, their number changes nothing.
    let choices_max = if admitted.max_output_tokens == 0 { 1 } else { CHOICES_MAX };
    let mut all = (1..=choices_max)
        .flat_map(|choices| tiers.iter().map(move |service_tier| Supposed { choices, service_tier: *service_tier }));
    all.find(|supposed| bound(priced, admitted, *supposed) == Some(held))
}

fn line(target: &PricedTarget<'_>, admitted: &InferenceAdmitted, supposed: Supposed) -> Option<CostLine> {
    let service_tier = supposed.service_tier;
    let prompt = PromptBound { tokens: admitted.input_tokens_bound, images: 0, service_tier };
    let beyond_cap = admitted.output_tokens_beyond_cap.unwrap_or(0);
    CostLine::of(target.tariff, prompt, supposed.choices)?.with_more_output(beyond_cap)
}

/// The dearest of the targets, of which two may have been called at the same time.
fn dearest(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, cap: u64, supposed: Supposed) -> Option<Dearest> {
    let none = Dearest::new(CallsAtOnce::of(admitted.hedge_after_ms), cap);
    priced.iter().try_fold(none, |dearest, target| dearest.with(line(target, admitted, supposed)?))
}

/// The line that is nowhere below what is held for the targets.
fn highest(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, supposed: Supposed) -> Option<CostLine> {
    dearest(priced, admitted, admitted.max_output_tokens, supposed)?.line()
}

/// The most that the request can cost under its cap. A cap that was lowered follows from a line over all targets, and so does
/// what is held for it.
fn bound(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, supposed: Supposed) -> Option<NanoUsd> {
    if admitted.requested_max_output_tokens.is_some() {
        return highest(priced, admitted, supposed)?.at(admitted.max_output_tokens);
    }
    at_cap(priced, admitted, admitted.max_output_tokens, supposed)
}

fn at_cap(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, cap: u64, supposed: Supposed) -> Option<NanoUsd> {
    dearest(priced, admitted, cap, supposed)?.held()
}

fn of_target(target: &PricedTarget<'_>, admitted: &InferenceAdmitted, supposed: Supposed) -> Option<BoundTarget> {
    let line = line(target, admitted, supposed)?;
    Some(BoundTarget {
        backend: target.backend.to_owned(),
        price_version: target.version,
        owners: target.owners,
        terms: line.terms(),
        request_usd: target.tariff.base().request_usd,
        computed: line.at(admitted.max_output_tokens),
    })
}

/// `None` for a request whose cap was not lowered.
fn unlowered(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, supposed: Supposed) -> Option<Unlowered> {
    let held = at_cap(priced, admitted, admitted.requested_max_output_tokens?, supposed)?;
    let line = highest(priced, admitted, supposed)?;
    Some(Unlowered { held, shrinking: Shrinking { line, resent: None, tokens_min: SHRUNK_OUTPUT_TOKENS_MIN } })
}

/// The fact that is not in the log and may explain the hold; `None` if none can.
fn unrecorded(priced: &[PricedTarget<'_>], admitted: &InferenceAdmitted, held: NanoUsd) -> Option<&'static str> {
    let once = Supposed { choices: 1, service_tier: None };
    if priced.iter().any(|target| target.tariff.bills_images()) && bound(priced, admitted, once)? < held {
        return Some("a price bills images, and the log does not have how many the prompt had");
    }
    let is_between = |choices| {
        let supposed = Supposed { choices, service_tier: None };
        let each = priced.iter().map(|target| line(target, admitted, supposed)?.at(admitted.max_output_tokens));
        let lowest = each.collect::<Option<Vec<_>>>()?.into_iter().min()?;
        Some(lowest <= held && held <= highest(priced, admitted, supposed)?.at(admitted.max_output_tokens)?)
    };
    let may_count_otherwise = priced.len() > 1 && (1..=CHOICES_MAX).any(|choices| is_between(choices) == Some(true));
    may_count_otherwise
        .then_some("its targets may count the prompt differently, and the log has the highest count only")
}
