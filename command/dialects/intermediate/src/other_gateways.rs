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
const DROPPED: &str = "leave it out: parameters that a model is stated to refuse are left out by themselves, and named in the header \
                       x-ledgerway-ignored; administrators state them as refused_parameters of targets";
const SESSION: &str = "leave it out: the header x-ledgerway-session names the session of the request";

/// The fields, and what to do in place of each: the table of docs/errors.md.
const FIELDS: [(&[&str], &str); 9] = [
    (
        &[
            "models",
            "fallbacks",
            "model_list",
            "context_window_fallbacks",
            "context_window_fallback_dict",
            "content_policy_fallbacks",
            "disable_fallbacks",
            "preset",
        ],
        FALLBACKS,
    ),
    (&["route"], ORDER),
    (&["provider", "providerOptions", "provider_options"], PROVIDER),
    (&["allowed_model_region", "region_name", "aws_region_name", "vertex_location"], REGION),
    (
        &[
            "deployment_id", "model_id", "base_model", "specific_deployment", "engine", "custom_llm_provider",
            "api_base", "base_url",
        ],
        BACKEND,
    ),
    (&["tags"], TAGS),
    (&["priority"], PRIORITY),
    (&["session_id"], SESSION),
    (&["drop_params", "additional_drop_params"], DROPPED),
];

/// Returns advice for a field of a body; `None` for a field that is about something else.
pub fn in_place_of(field: &str) -> Option<&'static str> {
    FIELDS.iter().find(|(names, _)| names.contains(&field)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/errors.md");

    #[test]
    fn the_page_of_errors_has_the_same_fields() {
        let (_, section) = PAGE.split_once("## Fields of other gateways").expect("the section");
        let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let of_row = |row: &'static str| row.split('|').nth(1).unwrap_or_default().split(['`', ',', ' ']);
        let of_page: Vec<Vec<&str>> = rows.map(|row| of_row(row).filter(|word| !word.is_empty()).collect()).collect();
        assert_eq!(of_page, FIELDS.map(|(names, _)| names.to_vec()));
    }

    #[test]
    fn a_field_about_something_else_has_no_advice() {
        assert_eq!((in_place_of("tags"), in_place_of("temperature")), (Some(TAGS), None));
    }
}
