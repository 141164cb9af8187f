//! The abilities that a request needs of a target, on every surface.

use events::abilities::{Ability, AbilitySet};

use super::*;

/// The abilities beyond those that each request of its kind needs.
fn needs(surface: Surface, body: &str) -> Vec<Ability> {
    let parsed = parse(surface, body.to_owned()).unwrap_or_else(|refusal| panic!("{body}: {refusal:?}"));
    let always = [Ability::Text, Ability::Chat].into_iter().collect::<AbilitySet>();
    assert!(always.difference(parsed.facts.needs).is_empty(), "{body}");
    parsed.facts.needs.difference(always).iter().collect()
}

#[test]
fn each_surface_needs_what_its_fields_ask_for() {
    let with = |surface: Surface, more: &str| {
        let ask = match surface {
            Surface::Native => r#""max_output_tokens":9,"messages":[{"role":"user","content":"x"}]"#,
            Surface::OpenAi => r#""messages":[{"role":"user","content":"x"}]"#,
            Surface::Anthropic => r#""max_tokens":9000,"messages":[{"role":"user","content":"x"}]"#,
            Surface::Responses => r#""input":"x""#,
            Surface::Completions => r#""prompt":"x""#,
            Surface::OpenAiEmbeddings => unreachable!("no chat"),
        };
        needs(surface, &format!(r#"{{"model":"m",{ask}{more}}}"#))
    };
    for surface in Surface::CHAT {
        assert_eq!(with(*surface, ""), [], "{surface:?}");
        assert_eq!(with(*surface, r#","stream":true"#), [Ability::Streaming], "{surface:?}");
    }
    let function = r#""function":{"name":"f","parameters":{"type":"object"}}"#;
    for (surface, more, needed) in [
        (
            Surface::OpenAi,
            format!(r#","tools":[{{"type":"function",{function}}}],"parallel_tool_calls":true"#),
            &[Ability::Tools, Ability::ParallelTools][..],
        ),
        (
            Surface::OpenAi,
            r#","tools":[],"parallel_tool_calls":false,"n":1,"response_format":{"type":"text"}"#.to_owned(),
            &[],
        ),
        (Surface::OpenAi, r#","reasoning_effort":"high""#.to_owned(), &[Ability::Reasoning]),
        (Surface::OpenAi, r#","reasoning_effort":"none""#.to_owned(), &[]),
        (
            Surface::OpenAi,
            r#","response_format":{"type":"json_object"},"n":2,"logprobs":true"#.to_owned(),
            &[Ability::StructuredOutput, Ability::Choices, Ability::Logprobs],
        ),
        (
            Surface::Anthropic,
            r#","tools":[{"name":"f","input_schema":{"type":"object"}}]"#.to_owned(),
            &[Ability::Tools],
        ),
        (
            Surface::Anthropic,
            r#","thinking":{"type":"enabled","budget_tokens":2000}"#.to_owned(),
            &[Ability::Reasoning],
        ),
        (Surface::Anthropic, r#","thinking":{"type":"disabled"},"tools":[]"#.to_owned(), &[]),
        (
            Surface::Anthropic,
            r#","output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#.to_owned(),
            &[Ability::StructuredOutput],
        ),
        (
            Surface::Responses,
            r#","tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]"#.to_owned(),
            &[Ability::Tools],
        ),
        (Surface::Responses, r#","reasoning":{"effort":"low"}"#.to_owned(), &[Ability::Reasoning]),
        (Surface::Responses, r#","text":{"format":{"type":"json_object"}}"#.to_owned(), &[Ability::StructuredOutput]),
        (Surface::Completions, r#","n":2"#.to_owned(), &[Ability::Choices]),
    ] {
        assert_eq!(with(surface, &more), needed, "{surface:?} {more}");
    }
}

#[test]
fn embeddings_need_their_endpoint() {
    let parsed = parse(Surface::OpenAiEmbeddings, r#"{"model":"m","input":"x"}"#.to_owned()).ok().unwrap();
    assert_eq!(parsed.facts.needs.iter().collect::<Vec<_>>(), [Ability::Text, Ability::Embeddings]);
}
