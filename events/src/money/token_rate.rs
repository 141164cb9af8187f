//! The prices of tokens by name, and the name that stands in for one that is left out.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NanoUsdPerMtok;
use crate::named;

named! {
    /// The price of a million tokens of one class: the name of its field. Each comes after the one that it follows.
    #[derive(PartialOrd, Ord)]
    pub enum TokenRate {
        Input = "input_usd_per_mtok",
        Output = "output_usd_per_mtok",
        CacheRead = "cache_read_usd_per_mtok",
        /// A cache of five minutes, and of every lifetime without a price of its own.
        CacheWrite = "cache_write_usd_per_mtok",
        Reasoning = "reasoning_usd_per_mtok",
        CacheWrite30m = "cache_write_30m_usd_per_mtok",
        CacheWrite1h = "cache_write_1h_usd_per_mtok",
        CacheWrite12h = "cache_write_12h_usd_per_mtok",
        InputAudio = "input_audio_usd_per_mtok",
        CacheReadAudio = "cache_read_audio_usd_per_mtok",
        OutputAudio = "output_audio_usd_per_mtok",
        InputImage = "input_image_usd_per_mtok",
        CacheReadImage = "cache_read_image_usd_per_mtok",
        OutputImage = "output_image_usd_per_mtok",
        /// Text of sources that the provider reads beside the prompt.
        Citation = "citation_usd_per_mtok",
    }
}

/// The sides of a request, each with its own bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

impl TokenRate {
    pub const COUNT: usize = Self::ALL.len();
    /// The prices of what is written to a cache.
    pub const CACHE_WRITES: [Self; 4] =
        [Self::CacheWrite, Self::CacheWrite30m, Self::CacheWrite1h, Self::CacheWrite12h];

    /// The price that stands in for this one where it is left out; `None` if it is nothing then.
    pub const fn follows(self) -> Option<Self> {
        match self {
            Self::Input | Self::Output | Self::Citation => None,
            Self::CacheRead | Self::CacheWrite | Self::InputAudio | Self::InputImage => Some(Self::Input),
            Self::CacheWrite30m | Self::CacheWrite1h | Self::CacheWrite12h => Some(Self::CacheWrite),
            Self::Reasoning | Self::OutputAudio | Self::OutputImage => Some(Self::Output),
            Self::CacheReadAudio | Self::CacheReadImage => Some(Self::CacheRead),
        }
    }

    /// The side of the request whose tokens it is the price of. Citations are read, and so are input.
    pub const fn side(self) -> Side {
        match self {
            Self::Output | Self::Reasoning | Self::OutputAudio | Self::OutputImage => Side::Output,
            Self::Input
            | Self::CacheRead
            | Self::CacheWrite
            | Self::CacheWrite30m
            | Self::CacheWrite1h
            | Self::CacheWrite12h
            | Self::InputAudio
            | Self::CacheReadAudio
            | Self::InputImage
            | Self::CacheReadImage
            | Self::Citation => Side::Input,
        }
    }

    /// False for the prices that every event has, also where they were left out.
    pub const fn is_recorded_if_given(self) -> bool {
        !matches!(self, Self::Input | Self::Output | Self::CacheRead | Self::CacheWrite | Self::Reasoning)
    }

    /// The price of a cache of this lifetime; `None` for a lifetime that no price is for.
    pub fn of_cache(lifetime: &str) -> Option<Self> {
        match lifetime {
            "5m" => Some(Self::CacheWrite),
            "30m" => Some(Self::CacheWrite30m),
            "1h" => Some(Self::CacheWrite1h),
            "12h" => Some(Self::CacheWrite12h),
            _ => None,
        }
    }
}

/// Some of the prices of tokens, by name. On the wire an object with the fields that are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenRates([Option<NanoUsdPerMtok>; TokenRate::COUNT]);

impl TokenRates {
    pub const fn get(&self, rate: TokenRate) -> Option<NanoUsdPerMtok> {
        self.0[rate as usize]
    }

    pub const fn set(&mut self, rate: TokenRate, price: Option<NanoUsdPerMtok>) {
        self.0[rate as usize] = price;
    }

    #[must_use]
    pub const fn with(mut self, rate: TokenRate, price: NanoUsdPerMtok) -> Self {
        self.set(rate, Some(price));
        self
    }

    /// The prices that are given.
    pub fn given(&self) -> impl Iterator<Item = (TokenRate, NanoUsdPerMtok)> {
        TokenRate::ALL.iter().filter_map(|rate| Some((*rate, self.get(*rate)?)))
    }

    /// These prices, with those of `other` in their place where it has one.
    #[must_use]
    pub fn overlaid_by(&self, other: &Self) -> Self {
        other.given().fold(*self, |rates, (rate, price)| rates.with(rate, price))
    }

    /// All prices of both; of two for the same tokens, the higher one.
    #[must_use]
    pub fn dearer(&self, other: &Self) -> Self {
        other
            .given()
            .fold(*self, |rates, (rate, price)| rates.with(rate, rates.get(rate).map_or(price, |own| own.max(price))))
    }

    /// A price for every class: one that is left out is the price that it follows.
    pub(super) fn complete(&self) -> [NanoUsdPerMtok; TokenRate::COUNT] {
        let mut complete = [NanoUsdPerMtok::default(); TokenRate::COUNT];
        for rate in TokenRate::ALL {
            let followed = rate.follows().map_or(NanoUsdPerMtok::default(), |followed| complete[followed as usize]);
            complete[*rate as usize] = self.get(*rate).unwrap_or(followed);
        }
        complete
    }
}

impl Serialize for TokenRates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (rate, price) in self.given() {
            map.serialize_entry(rate.as_str(), &price)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for TokenRates {
    /// Members of other names are passed over: this is a part of a larger object.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateMembers;

        impl<'de> Visitor<'de> for RateMembers {
            type Value = TokenRates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with prices")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<TokenRates, A::Error> {
                let mut rates = TokenRates::default();
                while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                    match TokenRate::parse(&name) {
                        Some(rate) => rates.set(rate, members.next_value()?),
                        None => drop(members.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(rates)
            }
        }

        deserializer.deserialize_map(RateMembers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::NanoUsd;
    use super::*;

    fn price(nanos: i64) -> NanoUsdPerMtok {
        NanoUsdPerMtok::new(NanoUsd::new(nanos)).expect("a price")
    }

    #[test]
    fn a_price_comes_after_the_one_that_it_follows_and_is_of_the_same_side() {
        for rate in TokenRate::ALL {
            if let Some(followed) = rate.follows() {
                assert!(followed < *rate, "{rate}");
                assert_eq!(followed.side(), rate.side(), "{rate}");
            }
        }
    }

    #[test]
    fn a_price_that_is_left_out_is_that_of_the_one_that_it_follows() {
        use TokenRate::{
            CacheRead, CacheReadAudio, CacheReadImage, CacheWrite, CacheWrite1h, CacheWrite12h, CacheWrite30m,
            Citation, Input, InputAudio, InputImage, Output, OutputAudio, OutputImage, Reasoning,
        };
        let complete = |given: &[(TokenRate, i64)]| {
            let rates =
                given.iter().fold(TokenRates::default(), |rates, (rate, nanos)| rates.with(*rate, price(*nanos)));
            rates.complete()
        };
        let two = complete(&[(Input, 3), (Output, 15)]);
        for rate in TokenRate::ALL {
            let wanted = match rate {
                Citation => 0,
                Output | Reasoning | OutputAudio | OutputImage => 15,
                _ => 3,
            };
            assert_eq!(two[*rate as usize], price(wanted), "{rate}");
        }
        let more = complete(&[(Input, 3), (Output, 15), (CacheRead, 1), (CacheWrite, 4), (CacheWrite1h, 6)]);
        for (rate, wanted) in [
            (CacheReadAudio, 1),
            (CacheReadImage, 1),
            (CacheWrite30m, 4),
            (CacheWrite1h, 6),
            (CacheWrite12h, 4),
            (InputAudio, 3),
            (InputImage, 3),
        ] {
            assert_eq!(more[rate as usize], price(wanted), "{rate}");
        }
    }

    #[test]
    fn prices_are_an_object_with_those_that_are_given() {
        let rates = TokenRates::default().with(TokenRate::Citation, price(7)).with(TokenRate::Input, price(1));
        let text = r#"{"input_usd_per_mtok":"0.000000001","citation_usd_per_mtok":"0.000000007"}"#;
        assert_eq!(serde_json::to_string(&rates).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<TokenRates>(text).ok(), Some(rates));
        let among_others = r#"{"model":"m","input_usd_per_mtok":null,"output_usd_per_mtok":"1"}"#;
        let read = serde_json::from_str::<TokenRates>(among_others).expect("prices");
        assert_eq!(read, TokenRates::default().with(TokenRate::Output, price(1_000_000_000)));
        assert!(serde_json::from_str::<TokenRates>(r#"{"citation_usd_per_mtok":"-1"}"#).is_err());
    }
}
