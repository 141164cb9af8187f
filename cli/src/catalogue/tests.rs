use dialects::ProviderKind;
use dialects::provider_dialects::{corrected_base_url, server_of};
use events::event::admin::Provider;
use events::ids::ProviderId;

use super::*;
use crate::settings::setting::PREFIX;

/// The crate of the catalogue knows no kinds and no servers.
#[test]
fn the_gateway_can_call_every_provider_of_the_catalogue_at_its_address() {
    for listed in Catalogue::shipped().providers() {
        let kind = ProviderKind::named(&listed.kind).unwrap_or_else(|| panic!("{} has an unknown kind", listed.id));
        let Some(base_url) = &listed.base_url else { continue };
        assert_eq!(corrected_base_url(kind, base_url), None, "{}", listed.id);
        let id: ProviderId = format!("prv_{:032x}", 1).parse().expect("an id");
        let by_host = Provider { base_url: Some(base_url.clone()), ..Provider::new(id, "p", listed.kind.clone()) };
        let named = Provider { server: listed.server.clone(), ..by_host.clone() };
        assert_eq!(server_of(&named), server_of(&by_host), "{}: the server is the one of the address", listed.id);
        assert_eq!(listed.server.is_some(), kind == ProviderKind::Openai, "{}", listed.id);
        assert!(listed.server.is_none() || server_of(&named).is_some(), "{} has an unknown server", listed.id);
    }
}

#[test]
fn no_variable_of_a_provider_is_a_setting() {
    let variables = Catalogue::shipped().providers().iter().flat_map(built_in_catalogue::Provider::variables);
    assert_eq!(variables.filter(|variable| variable.starts_with(PREFIX)).count(), 0);
}

#[test]
fn a_model_with_an_end_is_deprecated_before_it_and_retired_from_then_on() {
    let mut models = Catalogue::shipped().models().iter();
    let model = models.find(|model| model.deprecated_on.is_some()).expect("a model with an end");
    let day = model.deprecated_on.expect("its end");
    let before = described(model, day.pred_opt().expect("a day"));
    assert!(before.contains(&format!("deprecated, and retired on {day}")), "{before}");
    assert!(described(model, day).contains(&format!(", retired on {day}")));
}

#[test]
fn an_argument_that_is_not_known_is_refused_with_what_is_near() {
    let refused = |result: Result<(), Failure>| result.expect_err("refused").to_string();
    let shipped = Catalogue::shipped();
    let near = refused(check_provider(shipped, "opnai"));
    assert_eq!(near, "--provider is \"opnai\", which the catalogue does not have; did you mean openai?");
    let far = refused(check_provider(shipped, "zzzzzzzz"));
    assert!(far.contains("; there are openai, anthropic, ") && far.ends_with("vertex_ai"), "{far}");
    let mode = refused(known_mode("talk").map(drop));
    assert_eq!(mode, "--mode is \"talk\", but must be one of chat, completion, responses, embedding");
}
