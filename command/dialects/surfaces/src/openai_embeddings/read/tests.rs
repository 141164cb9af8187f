use events::refusal::ErrorCode;
use serde_json::{Value, json};

use super::*;

fn body(input: &Value, more: &str) -> String {
    format!(r#"{{"model":"m","input":{input}{more}}}"#)
}

fn read(text: &str) -> Result<OpenAiEmbeddingsRequest, Refusal> {
    OpenAiEmbeddingsRequest::read(text).map(|(_, request)| request)
}

/// The code and the field of a refusal; `None` if it is accepted.
fn refused(text: &str) -> Option<(ErrorCode, String)> {
    let refusal = read(text).err()?;
    Some((refusal.code, refusal.details["field"].as_str().unwrap_or_default().to_owned()))
}

/// Holds: inf.embeddings
#[test]
fn an_input_is_a_text_or_token_ids_or_a_list_of_either() {
    for (input, count, tokens, estimate) in [
        (json!("hëllo"), 1, 6, 2),
        (json!(["a", "bcdefg"]), 2, 7, 2),
        (json!([1, 22, 333]), 1, 3, 3),
        (json!([[1], [2, 3], [4_294_967_295_u32]]), 3, 4, 4),
        (json!(vec!["x"; 2_048]), 2_048, 2_048, 512),
    ] {
        let text = body(&input, "");
        let request = read(&text).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let beside = text.len() as u64 - input.to_string().len() as u64;
        let wanted = (count, beside + tokens + 16 * count as u64, estimate);
        assert_eq!(
            (request.expected.count, request.input_tokens_bound, request.input_tokens_estimate),
            wanted,
            "{input:.60}"
        );
    }
}

/// Holds: inf.embeddings
#[test]
fn what_is_no_input_is_400() {
    let invalid = |field: &str| Some((ErrorCode::InvalidRequest, field.to_owned()));
    for (input, field) in [
        (json!(null), "input"),
        (json!(7), "input"),
        (json!({}), "input"),
        (json!(""), "input"),
        (json!([]), "input"),
        (json!(["a", ""]), "input[1]"),
        (json!([[1], []]), "input[1]"),
        (json!(["a", 1]), "input[1]"),
        (json!([1, "a"]), "input[1]"),
        (json!([[1], "a"]), "input[1]"),
        (json!([[1, -1]]), "input[0][1]"),
        (json!([1.5]), "input[0]"),
        (json!([4_294_967_296_u64]), "input[0]"),
        (json!([null]), "input[0]"),
        (json!([{ "image": "x" }]), "input[0]"),
        (json!(vec!["x"; 2_049]), "input"),
        (json!(vec![[1]; 2_049]), "input"),
    ] {
        assert_eq!(refused(&body(&input, "")), invalid(field), "{input:.60}");
    }
    assert_eq!(refused(r#"{"model":"m"}"#), invalid("input"));
    assert_eq!(refused(r#"{"input":"x"}"#), invalid("model"));
    assert_eq!(refused(r#"{"model":"m","input":"\ud800"}"#), invalid("input"));
    assert_eq!(refused("[1]"), invalid(""));
    assert_eq!(refused(""), invalid(""));
}

/// Holds: inf.embeddings
#[test]
fn fields_are_checked_and_misspelled_ones_refused() {
    for (more, field) in [
        (r#","stream":true"#, "stream"),
        (r#","stream":1"#, "stream"),
        (r#","encoding_format":"int8""#, "encoding_format"),
        (r#","dimensions":0"#, "dimensions"),
        (r#","dimensions":"9""#, "dimensions"),
        (r#","user":1"#, "user"),
        (r#","encodingFormat":"float""#, "encodingFormat"),
        (r#","Input":"y""#, "Input"),
        (r#","input":"y""#, "input"),
    ] {
        let wanted = Some((ErrorCode::InvalidRequest, field.to_owned()));
        assert_eq!(refused(&body(&json!("x"), more)), wanted, "{more}");
    }
    for (name, value) in [("messages", r#"[{"role":"user"}]"#), ("images", r#"["u"]"#)] {
        let wanted = Some((ErrorCode::ModelUnpriced, name.to_owned()));
        assert_eq!(refused(&body(&json!("x"), &format!(r#","{name}":{value}"#))), wanted);
        assert_eq!(refused(&body(&json!("x"), &format!(r#","{name}":[]"#))), None);
    }
    let more = r#","stream":false,"dimensions":256,"encoding_format":"base64","user":"u","input_type":"query""#;
    let request = read(&body(&json!("x"), more)).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    let wanted = ExpectedVectors { count: 1, dimensions: Some(256), encoding: Encoding::Base64 };
    assert_eq!(request.expected, wanted);
    let tier =
        OpenAiEmbeddingsRequest::read(&body(&json!("x"), r#","service_tier":"priority""#)).map(|(facts, _)| facts);
    assert_eq!(tier.expect("it may be allowed").unpriced.len(), 1);
}

#[test]
fn the_intermediate_request_has_all_that_was_asked_and_refuses_the_rest_by_name() {
    let read_embeddings = |text: &str| read(text).expect("a request").embeddings(text.as_bytes());
    let request =
        read_embeddings(&body(&json!(["a\"", "b"]), r#","dimensions":3,"user":"u","encoding_format":"base64""#))
            .unwrap();
    assert!(matches!(&request.inputs, Inputs::Texts(texts) if texts == &["a\"", "b"]));
    assert_eq!((request.dimensions, request.user.as_deref()), (Some(3), Some("u")));
    let request = read_embeddings(&body(&json!([[1, 2], [3]]), r#","input_type":"","dimensions":null"#)).unwrap();
    assert!(matches!(&request.inputs, Inputs::Tokens(lists) if lists[0].get() == "[1,2]" && lists.len() == 2));
    let one = read_embeddings(&body(&json!([7, 8]), "")).unwrap();
    assert!(matches!(&one.inputs, Inputs::Tokens(lists) if lists[0].get() == "[7,8]" && lists.len() == 1));
    for (input_type, purpose) in [
        ("search_document", Purpose::SearchDocument),
        ("passage", Purpose::SearchDocument),
        ("query", Purpose::SearchQuery),
        ("classification", Purpose::Classification),
        ("clustering", Purpose::Clustering),
    ] {
        let more = format!(r#","input_type":"{input_type}""#);
        assert_eq!(read_embeddings(&body(&json!("x"), &more)).unwrap().purpose, Some(purpose));
    }
    for (more, field) in [(r#","input_type":"image""#, "input_type"), (r#","task":"x""#, "task")] {
        let refusal = read_embeddings(&body(&json!("x"), more)).unwrap_err();
        assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &json!(field)));
    }
}
