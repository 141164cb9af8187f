//! How a key is replaced that its provider does not accept.

use events::event::admin::{Provider, UpstreamKey};

/// Advice about a key whose account has no money left.
pub const OF_EMPTY_ACCOUNT: &str = "add money to the key's account at the provider, or raise its spend limit";

/// Returns advice with the path and the id. A key of the environment has neither: commands do not change such
/// providers.
pub fn of_refused(provider: &Provider, key: UpstreamKey) -> String {
    match (key, provider.origin, &provider.key_variable) {
        (UpstreamKey::Further(id), _, _) => {
            format!("give this key a new api_key, or end it: PATCH or DELETE /v1/admin/provider-keys/{id}")
        }
        (UpstreamKey::Own(_), Some(_), Some(variable)) => {
            format!("set {variable} to a valid key and start the gateway again")
        }
        (UpstreamKey::Own(_), Some(_), None) => {
            "the gateway made this provider without a key: create another one for the same base_url with api_key: \
             POST /v1/admin/providers"
                .to_owned()
        }
        (UpstreamKey::Own(id), None, _) => format!("give it a valid key: PATCH /v1/admin/providers/{id} with api_key"),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::Origin;
    use events::ids::{ProviderId, ProviderKeyId};

    use super::*;

    #[test]
    fn the_advice_names_what_has_the_key() {
        let id: ProviderId = format!("prv_{:032x}", 1).parse().expect("an id");
        let further: ProviderKeyId = format!("pky_{:032x}", 2).parse().expect("an id");
        let own = Provider::new(id, "p", "openai".parse::<events::event::admin::ProviderKindName>().expect("a name"));
        let named = Provider {
            origin: Some(Origin::Environment),
            key_variable: Some("OPENAI_API_KEY".to_owned()),
            ..own.clone()
        };
        let local = Provider { key_variable: None, ..named.clone() };
        for (provider, key, says) in [
            (&own, UpstreamKey::Further(further), format!("/v1/admin/provider-keys/{further}")),
            (&named, UpstreamKey::Further(further), format!("/v1/admin/provider-keys/{further}")),
            (&own, UpstreamKey::Own(id), format!("PATCH /v1/admin/providers/{id} with api_key")),
            (&named, UpstreamKey::Own(id), "set OPENAI_API_KEY to a valid key and start".to_owned()),
            (&local, UpstreamKey::Own(id), "POST /v1/admin/providers".to_owned()),
        ] {
            let advice = of_refused(provider, key);
            assert!(advice.contains(&says), "{advice}");
            assert_eq!(advice.contains("PATCH"), provider.origin.is_none() || key == UpstreamKey::Further(further));
        }
    }
}
