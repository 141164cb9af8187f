//! Fields by which clients of other gateways choose models, providers and their order, and what this gateway has in their place: whoever
//! moves here sends them still, and a provider should seldom get them.

const FALLBACKS: &str = "leave it out: the fallbacks of a model are its targets, which its administrators name with PATCH /v1/admin/models/{id}";
const ORDER: &str = "leave it out: the targets of the model follow each other as its strategy says, or the one in the header \
                     x-ledgerway-strategy";
const PROVIDER: &str = "leave it out: the header x-ledgerway-strategy chooses the order of the model's targets, and \
                        x-ledgerway-residency, x-ledgerway-zero-retention and x-ledgerway-training what each of them must meet";
const REGION: &str = "leave it out: the header x-ledgerway-residency requires a region of each target";
const BACKEND: &str =
    "leave it out: a model's targets say where its requests go, so ask for a model that has the target you want";
const TAGS: &str = "leave it out: the rules of a model can go by the request's metadata";
const PRIORITY: &str = "leave it out: the header x-ledgerway-priority says who is served first";

/// What to do in place of a field of a body; `None` for a field that is about something else.
pub fn in_place_of(field: &str) -> Option<&'static str> {
    match field {
        "models"
        | "fallbacks"
        | "model_list"
        | "context_window_fallbacks"
        | "context_window_fallback_dict"
        | "content_policy_fallbacks" => Some(FALLBACKS),
        "route" => Some(ORDER),
        "provider" | "providerOptions" => Some(PROVIDER),
        "allowed_model_region" | "aws_region_name" | "region_name" | "vertex_location" => Some(REGION),
        "api_base"
        | "base_model"
        | "base_url"
        | "custom_llm_provider"
        | "deployment_id"
        | "engine"
        | "model_id"
        | "specific_deployment" => Some(BACKEND),
        "tags" => Some(TAGS),
        "priority" => Some(PRIORITY),
        _ => None,
    }
}
