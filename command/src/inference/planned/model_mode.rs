//! The API that the catalogue knows a backend to be for, so that a request for something else is refused here and not
//! by the provider, whose refusal says less. The catalogue is that of this version of the gateway: the purpose of a
//! model does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use built_in_catalogue::{Catalogue, Mode, Model};
use dialects::Api;
use events::event::admin::{self, Origin, Provider, Target};
use events::refusal::Refusal;

use crate::environment::catalogued_at;

/// The modes that a model of this name has, at any provider: most names need no look at the provider.
static MODES: LazyLock<BTreeMap<&str, BTreeSet<Mode>>> = LazyLock::new(|| {
    let mut modes: BTreeMap<&str, BTreeSet<Mode>> = BTreeMap::new();
    for model in Catalogue::shipped().models() {
        modes.entry(&model.model).or_default().insert(model.mode);
    }
    modes
});

/// True if the model is known to be for another API only. A target with an output cap says itself that it chats, and is not looked
/// up for that.
pub fn is_for_another_api(api: Api, target: &Target, provider: &Provider) -> bool {
    match api {
        Api::Chat => {
            target.default_max_output_tokens.is_none()
                && target.max_output_tokens.is_none()
                && is(provider, &target.model, |mode| mode == Mode::Embedding)
        }
        Api::Embeddings => is(provider, &target.model, |mode| mode == Mode::Chat),
    }
}

/// The refusal of a model for a request that needs this API.
pub fn for_another_api(api: Api, model: &str) -> Refusal {
    let model = admin::Model::bounded_name(model);
    Refusal::invalid(
        "model",
        match api {
            Api::Chat => format!("{model} is a model for embeddings, which does not chat: use POST /v1/embeddings"),
            Api::Embeddings => {
                format!("{model} is a model for chat, which makes no embeddings: use POST /v1/chat/completions")
            }
        },
    )
}

/// True if the mode of the provider's model is known, and is one of these.
fn is(provider: &Provider, backend: &str, these: impl Fn(Mode) -> bool) -> bool {
    let may_be = MODES.get(backend).is_some_and(|modes| modes.iter().copied().any(&these));
    may_be && mode(provider, backend).is_some_and(these)
}

/// The mode of a provider's model. `None` if the catalogue does not know the provider or the model.
fn mode(provider: &Provider, backend: &str) -> Option<Mode> {
    let catalogue = Catalogue::shipped();
    let model = match &provider.key_variable {
        Some(variable) if provider.origin == Some(Origin::Environment) => of_variable(catalogue, variable, backend),
        _ => catalogued_at(catalogue, provider, backend),
    };
    model.map(|model| model.mode)
}

/// The model of the provider whose key is in this variable. Where each account has an address of its own, the names are those of its
/// deployments.
fn of_variable<'a>(catalogue: &'a Catalogue, variable: &str, backend: &str) -> Option<&'a Model> {
    let known = catalogue.providers().iter().find(|known| known.key_variables.iter().any(|key| key == variable))?;
    known.base_url.as_ref().and_then(|_| catalogue.model(&known.id, backend))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SAMPLE: &str = include_str!("../../../../tests/golden/events/provider.created.v1.json");

    fn provider(fields: Value) -> Provider {
        let mut provider = serde_json::from_str::<Value>(SAMPLE).unwrap()["data"].take();
        provider.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(provider).unwrap()
    }

    #[test]
    fn a_model_that_the_catalogue_knows_has_the_api_of_its_mode_alone() {
        let created = provider(json!({ "kind": "openai", "base_url": "https://api.openai.com/v1" }));
        let elsewhere = provider(json!({ "kind": "openai", "base_url": "https://example.com/v1" }));
        let named = provider(json!({ "kind": "openai", "base_url": "https://example.com/v1", "origin": "environment",
                                     "key_variable": "OPENAI_API_KEY" }));
        let deployed =
            provider(json!({ "kind": "azure_openai", "base_url": "https://example.com", "origin": "environment",
                                        "key_variable": "AZURE_OPENAI_API_KEY" }));
        let (embedding, chat) = ("text-embedding-3-small", "gpt-4o-mini");
        for (provider, backend, refused) in [
            (&created, embedding, Some(Api::Chat)),
            (&created, chat, Some(Api::Embeddings)),
            (&named, embedding, Some(Api::Chat)),
            (&named, chat, Some(Api::Embeddings)),
            (&named, "a-model-of-tomorrow", None),
            (&elsewhere, embedding, None),
            (&elsewhere, chat, None),
            (&deployed, chat, None),
        ] {
            let target = Target::new(provider.provider_id, backend);
            for api in [Api::Chat, Api::Embeddings] {
                let found = is_for_another_api(api, &target, provider);
                assert_eq!(found, refused == Some(api), "{backend} at {:?}: {api:?}", provider.base_url);
            }
        }
        // Whoever gives it an output cap says that it chats.
        let target = Target { max_output_tokens: Some(9), ..Target::new(created.provider_id, embedding) };
        assert!(!is_for_another_api(Api::Chat, &target, &created));
    }
}
