//! The terms of targets: where a provider processes a request, whether it keeps it, and whether it trains on it. Whoever makes a
//! model states them of each target, and tenants and requests require them. What nobody has stated is not met.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::named;
use crate::text_on_the_wire::text_on_the_wire;

named! {
    /// A term that can be required.
    pub enum Term {
        Residency = "residency",
        ZeroRetention = "zero_retention",
        Training = "training",
    }
}

named! {
    /// The party that requires a term.
    pub enum RequiredBy {
        Tenant = "tenant",
        Request = "request",
    }
}

/// Where requests are processed: `eu`, or narrower `eu-central-1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region(String);

impl Region {
    pub const LEN_MAX: usize = 40;
    /// The form of its text, as a regular expression.
    pub const FORM: &'static str = "^[a-z0-9]+(-[a-z0-9]+)*$";
    /// The message for any other text.
    pub const EXPECTED: &'static str = "must be words of lower-case letters and digits with dashes between them, such as eu or eu-central-1, \
         of at most 40 characters together";

    /// Whether whatever is processed here is processed in `wider`: `eu-central-1` is within `eu`.
    pub fn is_within(&self, wider: &Self) -> bool {
        self.0.strip_prefix(&wider.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// The narrower of two regions; `None` if neither is within the other.
    pub fn narrower<'a>(one: &'a Self, other: &'a Self) -> Option<&'a Self> {
        if one.is_within(other) {
            return Some(one);
        }
        other.is_within(one).then_some(other)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_of_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_of_word);
        let is_region = text.len() <= Self::LEN_MAX && text.split('-').all(is_word);
        if is_region { Ok(Self(text.to_owned())) } else { Err(Self::EXPECTED) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_on_the_wire!(Region, "a region");

/// Terms stated of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedTerms {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// True if the provider promises to keep nothing of a request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zero_retention: bool,
    /// Whether the provider trains on requests; absent if nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<bool>,
}

impl StatedTerms {
    pub const NONE: Self = Self { region: None, zero_retention: false, training: None };

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

/// Terms required of each target that a request is sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredTerms {
    /// The region that it is in or within.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<Region>,
    /// True if the provider must promise to keep nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zero_retention: bool,
    /// False if the provider must not train on requests.
    #[serde(default = "may_train", skip_serializing_if = "Clone::clone")]
    pub training: bool,
}

const fn may_train() -> bool {
    true
}

impl Default for RequiredTerms {
    fn default() -> Self {
        Self::NONE
    }
}

impl RequiredTerms {
    pub const NONE: Self = Self { residency: None, zero_retention: false, training: true };

    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The first term that a target of which this is stated does not meet.
    pub fn unmet_by(&self, stated: &StatedTerms) -> Option<Term> {
        let is_unmet = |term: &Term| match term {
            Term::Residency => self
                .residency
                .as_ref()
                .is_some_and(|required| stated.region.as_ref().is_none_or(|region| !region.is_within(required))),
            Term::ZeroRetention => self.zero_retention && !stated.zero_retention,
            Term::Training => !self.training && stated.training != Some(false),
        };
        Term::ALL.iter().copied().find(is_unmet)
    }

    /// The required value of a term, as it was given.
    pub fn required_of(&self, term: Term) -> Value {
        match term {
            Term::Residency => self.residency.as_ref().map(Region::as_str).into(),
            Term::ZeroRetention => self.zero_retention.into(),
            Term::Training => self.training.into(),
        }
    }

    /// Whether each target that meets these terms meets the others too.
    pub fn includes(&self, others: &Self) -> bool {
        let is_within = |wider: &Region| self.residency.as_ref().is_some_and(|region| region.is_within(wider));
        others.residency.as_ref().is_none_or(is_within)
            && (self.zero_retention || !others.zero_retention)
            && (!self.training || others.training)
    }

    /// The requirements of both together. `None` if no region can be within both.
    pub fn and(self, others: Self) -> Option<Self> {
        let residency = match (self.residency, others.residency) {
            (Some(one), Some(other)) => Some(Region::narrower(&one, &other)?.clone()),
            (one, other) => one.or(other),
        };
        Some(Self {
            residency,
            zero_retention: self.zero_retention || others.zero_retention,
            training: self.training && others.training,
        })
    }
}

/// The requirements on a request: those of its tenant, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requirements<'a> {
    pub tenant: &'a RequiredTerms,
    pub request: &'a RequiredTerms,
}

impl Requirements<'static> {
    pub const NONE: Self = Self { tenant: &RequiredTerms::NONE, request: &RequiredTerms::NONE };
}

impl<'a> Requirements<'a> {
    pub fn are_none(self) -> bool {
        self.tenant.is_empty() && self.request.is_empty()
    }

    /// The first term that a target of which this is stated does not meet, and who requires it.
    pub fn unmet_by(self, stated: &StatedTerms) -> Option<(Term, RequiredBy)> {
        let of_request = || self.request.unmet_by(stated).map(|term| (term, RequiredBy::Request));
        self.tenant.unmet_by(stated).map(|term| (term, RequiredBy::Tenant)).or_else(of_request)
    }

    /// The regions that the tenant and the request require, if none can be within both.
    pub fn contradicting_regions(self) -> Option<(&'a Region, &'a Region)> {
        let (tenant, request) = (self.tenant.residency.as_ref()?, self.request.residency.as_ref()?);
        Region::narrower(tenant, request).is_none().then_some((tenant, request))
    }

    /// The region that is within both those of the tenant and the request; `None` if there is none.
    pub fn narrowest_region(self) -> Option<&'a Region> {
        match (self.tenant.residency.as_ref(), self.request.residency.as_ref()) {
            (Some(tenant), Some(request)) => Region::narrower(tenant, request),
            (tenant, request) => tenant.or(request),
        }
    }

    pub const fn of(self, by: RequiredBy) -> &'a RequiredTerms {
        match by {
            RequiredBy::Tenant => self.tenant,
            RequiredBy::Request => self.request,
        }
    }
}

/// The terms required of the targets of a request, as its admission records them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedTerms {
    #[serde(default, skip_serializing_if = "RequiredTerms::is_empty")]
    pub tenant: RequiredTerms,
    #[serde(default, skip_serializing_if = "RequiredTerms::is_empty")]
    pub request: RequiredTerms,
    /// Where the terms of targets are not in the model's row, because a tenant owns the model and the platform the provider: the
    /// log positions of the versions of shared models that state them, by `provider_id/model`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stated_by: BTreeMap<String, Vec<u64>>,
}

impl AdmittedTerms {
    pub const fn requirements(&self) -> Requirements<'_> {
        Requirements { tenant: &self.tenant, request: &self.request }
    }
}

/// The terms that several targets of one backend state together: each term that none of them contradicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgreedTerms {
    pub terms: StatedTerms,
    /// The versions of the models that state them: one for each term.
    pub by: Vec<u64>,
}

impl AgreedTerms {
    /// No stated terms.
    pub const NONE: Self = Self { terms: StatedTerms::NONE, by: Vec::new() };

    /// Computes them from the terms of each target, with the version of its model.
    pub fn of<'a>(stated: impl Iterator<Item = (&'a StatedTerms, u64)> + Clone) -> Self {
        let region = agreed(stated.clone().filter_map(|(terms, by)| Some((terms.region.as_ref()?, by))));
        let training = agreed(stated.clone().filter_map(|(terms, by)| Some((terms.training?, by))));
        // One that states other terms, and not this one, contradicts it: the backend may have been changed there and not here.
        let stating = stated.filter(|(terms, _)| !terms.is_empty());
        let zero_retention = agreed(stating.map(|(terms, by)| (terms.zero_retention, by)));
        let zero_retention = zero_retention.filter(|(is_stated, _)| *is_stated).map(|(_, by)| by);
        let by = [region.as_ref().map(|(_, by)| *by), training.map(|(_, by)| by), zero_retention];
        let mut by: Vec<u64> = by.into_iter().flatten().collect();
        by.sort_unstable();
        by.dedup();
        let terms = StatedTerms {
            region: region.map(|(region, _)| region.clone()),
            zero_retention: zero_retention.is_some(),
            training: training.map(|(training, _)| training),
        };
        Self { terms, by }
    }
}

/// The first of these values if all are equal.
fn agreed<T: PartialEq>(mut stated: impl Iterator<Item = (T, u64)>) -> Option<(T, u64)> {
    let first = stated.next()?;
    stated.all(|(other, _)| other == first.0).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn region(text: &str) -> Region {
        text.parse().expect("a region")
    }

    fn required(value: Value) -> RequiredTerms {
        serde_json::from_value(value).expect("required terms")
    }

    fn stated(value: Value) -> StatedTerms {
        serde_json::from_value(value).expect("stated terms")
    }

    #[test]
    fn a_region_is_within_the_words_that_it_begins_with() {
        for (narrow, wide, is_within) in [
            ("eu", "eu", true),
            ("eu-central-1", "eu", true),
            ("eu-central-1", "eu-central", true),
            ("eu", "eu-central-1", false),
            ("europe", "eu", false),
            ("us-eu", "eu", false),
        ] {
            assert_eq!(region(narrow).is_within(&region(wide)), is_within, "{narrow} in {wide}");
        }
        for wrong in ["", "EU", "eu-", "-eu", "eu--1", "eu_1", "é", &"e".repeat(41)] {
            assert!(wrong.parse::<Region>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_term_is_met_only_if_it_is_stated() {
        let all = required(json!({ "residency": "eu", "zero_retention": true, "training": false }));
        for (terms, unmet) in [
            (json!({}), Some(Term::Residency)),
            (json!({ "region": "us", "zero_retention": true, "training": false }), Some(Term::Residency)),
            (json!({ "region": "eu", "training": false }), Some(Term::ZeroRetention)),
            (json!({ "region": "eu", "zero_retention": true }), Some(Term::Training)),
            (json!({ "region": "eu", "zero_retention": true, "training": true }), Some(Term::Training)),
            (json!({ "region": "eu-west-3", "zero_retention": true, "training": false }), None),
        ] {
            assert_eq!(all.unmet_by(&stated(terms.clone())), unmet, "{terms}");
        }
        assert_eq!(RequiredTerms::NONE.unmet_by(&StatedTerms::NONE), None);
    }

    #[test]
    fn what_requires_nothing_is_written_as_nothing() {
        assert_eq!(json!(RequiredTerms::NONE), json!({}));
        let no_training = required(json!({ "training": false }));
        assert_eq!(json!(no_training), json!({ "training": false }));
        assert_eq!(required(json!({ "training": true, "zero_retention": false })), RequiredTerms::NONE);
    }

    #[test]
    fn terms_together_require_what_each_does() {
        let narrow = required(json!({ "residency": "eu-central-1" }));
        let wide = required(json!({ "residency": "eu", "training": false }));
        let both = required(json!({ "residency": "eu-central-1", "training": false }));
        assert_eq!(narrow.clone().and(wide.clone()), Some(both.clone()));
        assert_eq!(wide.clone().and(narrow.clone()), Some(both.clone()));
        let elsewhere = required(json!({ "residency": "us" }));
        assert_eq!(wide.clone().and(elsewhere.clone()), None);
        let regions = |tenant, request| Requirements { tenant, request }.contradicting_regions();
        assert_eq!(regions(&wide, &elsewhere), Some((&region("eu"), &region("us"))));
        assert_eq!(
            (regions(&wide, &narrow), regions(&narrow, &wide), regions(&wide, &RequiredTerms::NONE)),
            (None, None, None)
        );
        assert!(both.includes(&wide) && both.includes(&narrow) && both.includes(&RequiredTerms::NONE));
        assert!(!wide.includes(&narrow) && !narrow.includes(&wide) && !RequiredTerms::NONE.includes(&wide));
    }

    #[test]
    fn targets_agree_on_what_none_of_them_contradicts() {
        let agreed = |of: &[(Value, u64)]| {
            let of: Vec<_> = of.iter().map(|(terms, by)| (stated(terms.clone()), *by)).collect();
            let AgreedTerms { terms, by } = AgreedTerms::of(of.iter().map(|(terms, by)| (terms, *by)));
            (json!(terms), by)
        };
        let said = [
            (json!({}), 1),
            (json!({ "region": "eu" }), 2),
            (json!({ "region": "eu", "zero_retention": true, "training": false }), 3),
        ];
        // The second one states no zero retention.
        assert_eq!(agreed(&said), (json!({ "region": "eu", "training": false }), vec![2, 3]));
        let said = [
            (json!({}), 1),
            (json!({ "zero_retention": true }), 2),
            (json!({ "region": "eu", "zero_retention": true }), 3),
        ];
        assert_eq!(agreed(&said), (json!({ "region": "eu", "zero_retention": true }), vec![2, 3]));
        let contradicted =
            [(json!({ "region": "eu", "training": false }), 2), (json!({ "region": "us", "training": true }), 3)];
        assert_eq!(agreed(&contradicted), (json!({}), vec![]));
        assert_eq!(agreed(&[]), (json!({}), vec![]));
    }
}
