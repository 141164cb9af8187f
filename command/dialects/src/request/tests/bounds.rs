//! How many tokens a request may have as its input.

use super::*;

#[test]
fn an_images_base64_is_not_counted_as_text() {
    let base64 = "A".repeat(1_000_000);
    let with = |url: &str| {
        format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_\u0075rl","image_url":{{"url":"{url}"}}}}]}}]}}"#
        )
    };
    let bound = |body: String| parse(Surface::OpenAi, body).ok().unwrap().input_tokens_bound();
    let empty = bound(with("data:image/png;base64,"));
    assert_eq!(bound(with(&format!("data:image/png;base64,{base64}"))), empty);
    assert!(empty > IMAGE_TOKENS_MAX && empty < IMAGE_TOKENS_MAX + 400);
    assert!(bound(with("https://example.com/x.png")) > IMAGE_TOKENS_MAX);
    assert!(bound(with(&format!("data:image/png,{base64}"))) > 1_000_000);
    let document = parse(Surface::OpenAi, with(&format!("data:application/pdf;base64,{base64}")));
    assert_eq!(document.err().map(|refusal| refusal.code), Some(ErrorCode::ModelUnpriced));
    let native = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","media_type":"image/png","data":"{base64}"}}]}}]}}"#
    );
    let native = parse(Surface::Native, native).ok().unwrap().input_tokens_bound();
    assert!(native > IMAGE_TOKENS_MAX && native < IMAGE_TOKENS_MAX + 400);
}

#[test]
fn text_is_bounded_by_its_bytes_and_tools_by_their_prompt() {
    let plain = openai("").ok().unwrap().input_tokens_bound();
    assert_eq!(plain, ASK.len() as u64 + 2 + TEMPLATE_TOKENS_MAX);
    let tools = r#","tools":[{"type":"function","function":{"name":"x"}}]"#;
    let with_tools = openai(tools).ok().unwrap().input_tokens_bound();
    assert_eq!(with_tools, plain + tools.len() as u64 + TOOL_PROMPT_TOKENS_MAX);
}

/// Holds: inf.anthropic-bound
#[test]
fn images_and_tools_of_anthropic_are_bounded_and_documents_count_as_the_whole_context() {
    let plain = with_blocks(r#"{"type":"text","text":"x"}"#).ok().unwrap();
    assert!(!plain.has_documents() && plain.input_tokens_bound() < 400);
    let base64 = "A".repeat(100_000);
    let image =
        format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{base64}"}}}}"#);
    let image = with_blocks(&image).ok().unwrap();
    assert!((IMAGE_TOKENS_MAX..IMAGE_TOKENS_MAX + 400).contains(&image.input_tokens_bound()));
    for (document, is_whole_context) in [
        (format!(r#"{{"type":"base64","media_type":"application/pdf","data":"{base64}"}}"#), true),
        (r#"{"type":"url","url":"https://example.com/a.pdf"}"#.to_owned(), true),
        (r#"{"type":"text","media_type":"text/plain","data":"x"}"#.to_owned(), false),
        (r#"{"type":"content","content":[{"type":"text","text":"x"}]}"#.to_owned(), false),
    ] {
        let read =
            |more: &str| with_blocks(&format!(r#"{{"type":"document","source":{document}{more}}}"#)).ok().unwrap();
        assert_eq!(read("").has_documents(), is_whole_context, "{document:.40}");
        assert!(read("").input_tokens_bound() < 600, "{document:.40}");
        // Marks between its sentences are not in the body.
        assert!(read(r#","citations":{"enabled":true}"#).has_documents(), "{document:.40}");
    }
    let bash = anthropic(r#","tools":[{"type":"bash_20250124","name":"bash"}]"#).ok().unwrap();
    assert!(bash.input_tokens_bound() > 2_048 + TOOL_PROMPT_TOKENS_MAX);
}

#[test]
fn what_a_server_may_put_before_each_input_counts_for_each() {
    let inputs = vec![r#""x""#; 2_000].join(",");
    let body = format!(r#"{{"model":"m","input":[{inputs}],"instruct":"{}"}}"#, "y".repeat(10_000));
    let request = parse(Surface::OpenAiEmbeddings, body).ok().unwrap();
    assert!(request.input_tokens_bound() >= 2_000 * 10_000, "{}", request.input_tokens_bound());
}

/// The bound holds for the most expensive image, and for a context full of pages. What nobody reported is charged by an
/// average.
#[test]
fn the_tokens_of_images_and_documents_are_estimated_by_what_they_have_on_average() {
    let estimate = |block: &str| {
        let request = with_blocks(block).ok().unwrap();
        request.input_tokens_estimate(request.input_tokens_bound())
    };
    let plain = estimate(r#"{"type":"text","text":"x"}"#);
    assert!(plain < 100, "{plain}");
    let page = "A".repeat(32 * 1024);
    let long = page.repeat(9) + "A";
    let text = "word ".repeat(1_000);
    let pdf = |data: &str| {
        format!(r#"{{"type":"document","source":{{"type":"base64","media_type":"application/pdf","data":"{data}"}}}}"#)
    };
    let cited = format!(
        r#"{{"type":"document","source":{{"type":"text","media_type":"text/plain","data":"{text}"}},"citations":{{"enabled":true}}}}"#
    );
    for (block, tokens) in [
        (r#"{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}"#.to_owned(), 1_600),
        (pdf("JVBERi0xLjQK"), 3_000),
        (pdf(&page), 3_000),
        (pdf(&long), 30_000),
        (r#"{"type":"document","source":{"type":"url","url":"https://example.com/a.pdf"}}"#.to_owned(), 30_000),
        (cited, 1_250),
    ] {
        let estimate = estimate(&block);
        assert!((tokens..tokens + 100).contains(&estimate), "{estimate}: {block:.80}");
    }
}
