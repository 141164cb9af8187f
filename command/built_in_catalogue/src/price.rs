//! List prices of a model, by the names that prices have everywhere in the gateway.

use events::money::{GivenRates, InvalidTiers, NanoUsd, NanoUsdPerMtok, Tiers, TokenRate, TokenRates};
use events::usage::ServiceTier;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Defines a struct of optional prices, and `listed`, which gives those that are there by their names.
macro_rules! optional_prices {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$other_meta:meta])* $other:ident: $type:ty,)*
        }
        and optional {
            $($(#[$doc:meta])* $rate:ident,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$other_meta])* pub $other: $type,)*
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $rate: Option<NanoUsdPerMtok>,
            )+
        }

        impl $name {
            /// The optional prices per million tokens that are given, by their names.
            fn optional(&self) -> impl Iterator<Item = (&'static str, NanoUsdPerMtok)> + use<> {
                [$((stringify!($rate), self.$rate),)+]
                    .into_iter()
                    .filter_map(|(name, rate)| Some((name, rate?)))
            }
        }
    };
}

optional_prices! {
    /// The price of one model. Prices per million tokens; one that is absent follows another, as each says.
    pub struct Price {
        input_usd_per_mtok: NanoUsdPerMtok,
        output_usd_per_mtok: NanoUsdPerMtok,
        /// For each request, beside its tokens. Absent: nothing.
        #[serde(default, deserialize_with = "not_negative", skip_serializing_if = "Option::is_none")]
        request_usd: Option<NanoUsd>,
        /// For each image in a request, beside its tokens. Absent: nothing.
        #[serde(default, deserialize_with = "not_negative", skip_serializing_if = "Option::is_none")]
        input_image_usd: Option<NanoUsd>,
        /// For each search that the provider reports. Absent: nothing.
        #[serde(default, deserialize_with = "not_negative", skip_serializing_if = "Option::is_none")]
        search_usd: Option<NanoUsd>,
        /// Prices that take the place of these under a condition. No two have the same conditions.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tiers: Vec<PriceTier>,
    }
    and optional {
        /// Absent: the price of input.
        cache_read_usd_per_mtok,
        /// Tokens that a cache keeps for five minutes, or for a time without a price of its own. Absent: input.
        cache_write_usd_per_mtok,
        /// Absent: as any cache write.
        cache_write_30m_usd_per_mtok,
        /// Absent: as any cache write.
        cache_write_1h_usd_per_mtok,
        /// Absent: as any cache write.
        cache_write_12h_usd_per_mtok,
        /// Absent: the price of output.
        reasoning_usd_per_mtok,
        /// Absent: the price of input.
        input_audio_usd_per_mtok,
        /// Absent: the price of cache reads.
        cache_read_audio_usd_per_mtok,
        /// Absent: the price of output.
        output_audio_usd_per_mtok,
        /// Absent: the price of input.
        input_image_usd_per_mtok,
        /// Absent: the price of cache reads.
        cache_read_image_usd_per_mtok,
        /// Absent: the price of output.
        output_image_usd_per_mtok,
        /// Absent: nothing.
        citation_usd_per_mtok,
    }
}

optional_prices! {
    /// Prices under one or two conditions; what it does not list stays as it is without them.
    pub struct PriceTier {
        /// For requests whose prompt, all classes of input together, has more tokens. They are charged so as a whole.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        above_input_tokens: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service_tier: Option<ServiceTier>,
    }
    and optional {
        input_usd_per_mtok,
        output_usd_per_mtok,
        cache_read_usd_per_mtok,
        cache_write_usd_per_mtok,
        cache_write_30m_usd_per_mtok,
        cache_write_1h_usd_per_mtok,
        cache_write_12h_usd_per_mtok,
        reasoning_usd_per_mtok,
        input_audio_usd_per_mtok,
        cache_read_audio_usd_per_mtok,
        output_audio_usd_per_mtok,
        input_image_usd_per_mtok,
        cache_read_image_usd_per_mtok,
        output_image_usd_per_mtok,
        citation_usd_per_mtok,
    }
}

impl Price {
    /// The price as the gateway charges it. Errors: more tiers than it takes, or such as exclude each other.
    pub fn given(&self) -> Result<GivenRates, InvalidTiers> {
        let tier = |tier: &PriceTier| events::money::PriceTier {
            above_input_tokens: tier.above_input_tokens,
            service_tier: tier.service_tier,
            rates: token_rates(tier.per_mtok()),
        };
        Ok(GivenRates {
            others: token_rates(self.optional()),
            request: self.request_usd,
            input_image: self.input_image_usd,
            search: self.search_usd,
            tiers: Tiers::new(self.tiers.iter().map(tier).collect())?,
            ..GivenRates::new(self.input_usd_per_mtok, self.output_usd_per_mtok)
        })
    }

    /// The prices per million tokens that are given, by their names.
    pub fn per_mtok(&self) -> impl Iterator<Item = (&'static str, NanoUsdPerMtok)> {
        let always =
            [("input_usd_per_mtok", self.input_usd_per_mtok), ("output_usd_per_mtok", self.output_usd_per_mtok)];
        always.into_iter().chain(self.optional())
    }

    /// The prices of other units that are given, by their names.
    pub fn per_unit(&self) -> impl Iterator<Item = (&'static str, NanoUsd)> + use<> {
        let units = [
            ("request_usd", self.request_usd),
            ("input_image_usd", self.input_image_usd),
            ("search_usd", self.search_usd),
        ];
        units.into_iter().filter_map(|(name, amount)| Some((name, amount?)))
    }
}

impl PriceTier {
    /// The prices per million tokens that are given, by their names.
    pub fn per_mtok(&self) -> impl Iterator<Item = (&'static str, NanoUsdPerMtok)> + use<> {
        self.optional()
    }

    /// The conditions that must hold for these prices.
    pub fn conditions(&self) -> (Option<u64>, Option<ServiceTier>) {
        (self.above_input_tokens, self.service_tier)
    }
}

/// An amount that may be absent, and not less than nothing.
fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NanoUsd>, D::Error> {
    let amount = NanoUsd::deserialize(deserializer)?;
    if amount.is_negative() { Err(de::Error::custom("must not be negative")) } else { Ok(Some(amount)) }
}

/// Prices of tokens by name. The names here are those that the gateway has.
fn token_rates(named: impl Iterator<Item = (&'static str, NanoUsdPerMtok)>) -> TokenRates {
    let known = named.filter_map(|(name, price)| Some((TokenRate::parse(name)?, price)));
    known.fold(TokenRates::default(), |rates, (rate, price)| rates.with(rate, price))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_price_of_the_shipped_list_is_charged_as_it_is_listed() {
        let mut charged = 0;
        for model in crate::Catalogue::shipped().models() {
            for price in model.price.iter().chain(model.regional_prices.values()) {
                let given = price.given().expect("tiers");
                let mut listed = serde_json::to_value(price).expect("JSON");
                let mut taken = serde_json::to_value(given.others).expect("JSON");
                let members = taken.as_object_mut().expect("an object");
                members.insert("input_usd_per_mtok".to_owned(), serde_json::json!(given.input));
                members.insert("output_usd_per_mtok".to_owned(), serde_json::json!(given.output));
                for (name, amount) in price.per_unit() {
                    members.insert(name.to_owned(), serde_json::json!(amount));
                }
                if !given.tiers.is_empty() {
                    members.insert("tiers".to_owned(), serde_json::json!(given.tiers));
                }
                assert_eq!(listed.take(), taken, "{}/{}", model.provider, model.model);
                charged += 1;
            }
        }
        assert!(charged > 1_000, "{charged}");
    }
}
