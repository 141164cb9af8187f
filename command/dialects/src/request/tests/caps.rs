//! Under which name the cap on the output goes upstream.

use super::*;

/// Holds: admin.caps
#[test]
fn the_cap_goes_upstream_once_whatever_is_null() {
    let target =
        |cap_field| OutboundTarget { output_cap: UpstreamCap { tokens: 9, field: Some(cap_field) }, ..target() };
    for more in [
        "",
        r#","max_tokens":null"#,
        r#","max_completion_tokens":null"#,
        r#","max_tokens":null,"max_completion_tokens":null"#,
        r#","max_completion_tokens":null,"max_tokens":null"#,
    ] {
        let request = openai(more).ok().unwrap();
        for cap_field in [OutputCapField::MaxTokens, OutputCapField::MaxCompletionTokens] {
            let body = request.upstream_body(ProviderKind::Openai, &target(cap_field)).unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            let caps: Vec<_> = json::members(body)
                .map(Result::unwrap)
                .filter(|member| member.name() == cap_field.as_str())
                .map(|member| member.value.to_owned())
                .collect();
            assert_eq!(caps, ["9"], "{body}");
        }
    }
}

/// Holds: admin.output-cap-field
#[test]
fn a_cap_goes_upstream_under_the_targets_name_where_that_was_given_and_else_under_the_clients_own() {
    use OutputCapField::{MaxCompletionTokens, MaxTokens};
    for (more, of_client) in [
        (r#","max_tokens":7"#, Some(MaxTokens)),
        (r#","max_completion_tokens":7"#, Some(MaxCompletionTokens)),
        (r#","max_completion_tokens":7,"max_tokens":null"#, Some(MaxCompletionTokens)),
        (r#","max_tokens":null,"max_completion_tokens":7"#, Some(MaxCompletionTokens)),
        (r#","max_tokens":7,"max_completion_tokens":null"#, Some(MaxTokens)),
        ("", None),
        (r#","max_completion_tokens":null"#, None),
    ] {
        let request = openai(more).ok().unwrap();
        for of_target in [None, Some(MaxTokens), Some(MaxCompletionTokens)] {
            let target = OutboundTarget { output_cap: UpstreamCap { tokens: 9, field: of_target }, ..target() };
            let body = request.upstream_body(ProviderKind::Openai, &target).unwrap();
            let caps: Vec<_> = json::members(std::str::from_utf8(&body).unwrap())
                .map(Result::unwrap)
                .filter(|member| member.name().starts_with("max_"))
                .map(|member| (member.name().to_owned(), member.value))
                .collect();
            let sent = of_target.or(of_client).unwrap_or(MaxTokens).as_str().to_owned();
            let (given, empty): (Vec<_>, Vec<_>) = caps.into_iter().partition(|(_, value)| *value != "null");
            assert_eq!(given, [(sent.clone(), "9")], "{more} for {of_target:?}");
            assert!(empty.iter().all(|(name, _)| *name != sent), "{more} for {of_target:?}");
        }
    }
}
