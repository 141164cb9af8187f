//! Fields by which other gateways choose models, providers and their order, and what to use here instead. Clients that move here still
//! send them.

const FALLBACKS: &str =
    "leave it out: the fallbacks of a model are its targets, to which its administrators can add some";
const ORDER: &str = "leave it out: the order of the model's targets is that of its strategy, or of the one in the header \
                     x-ledgerway-strategy, if the key has routing:choose";
const PROVIDER: &str = "leave it out: the header x-ledgerway-strategy chooses the order of the model's targets, if the key has \
                        routing:choose, and x-ledgerway-residency, x-ledgerway-zero-retention and x-ledgerway-training what each \
                        of them must meet";
const REGION: &str = "leave it out: the header x-ledgerway-residency requires a region of each target";
const BACKEND: &str =
    "leave it out: a model's targets say where its requests go, so ask for a model that has the target you want";
const TAGS: &str = "leave it out, and send metadata such as {\"team\":\"search\"}: rules of a model can use it";
const PRIORITY: &str = "leave it out: the header x-ledgerway-priority is interactive or batch";
const SESSION: &str = "leave it out: the header x-ledgerway-session names the session of the request";

/// What to do in place of a field of a body; `None` for a field that is about something else.
pub fn in_place_of(field: &str) -> Option<&'static str> {
    match field {
        "models"
        | "fallbacks"
        | "model_list"
        | "context_window_fallbacks"
        | "context_window_fallback_dict"
        | "content_policy_fallbacks"
        | "disable_fallbacks"
        | "preset" => Some(FALLBACKS),
        "route" => Some(ORDER),
        "provider" | "providerOptions" | "provider_options" => Some(PROVIDER),
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
        "session_id" => Some(SESSION),
        _ => None,
    }
}
