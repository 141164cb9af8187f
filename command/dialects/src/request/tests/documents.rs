//! Files and documents in requests: which have a price, and what they are to providers.

use super::*;

const PDF: &str = "data:application/pdf;base64,JVBERi0=";

fn openai_file(file_data: &str) -> Result<ClientRequest, Refusal> {
    let part = format!(r#"{{"type":"file","file":{{"file_data":"{file_data}","filename":"a"}}}}"#);
    parse(Surface::OpenAi, format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#))
}

fn input_file(file_data: &str) -> Result<ClientRequest, Refusal> {
    let part = format!(r#"{{"type":"input_file","file_data":"{file_data}","filename":"a"}}"#);
    parse(Surface::Responses, format!(r#"{{"model":"m","input":[{{"role":"user","content":[{part}]}}]}}"#))
}

fn document(url: &str) -> Result<ClientRequest, Refusal> {
    let (media_type, data) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).expect("a URL");
    with_blocks(&format!(
        r#"{{"type":"document","source":{{"type":"base64","media_type":"{media_type}","data":"{data}"}}}}"#
    ))
}

/// Reads a request with one document.
type Reader = fn(&str) -> Result<ClientRequest, Refusal>;

const SURFACES: [(Reader, &str); 3] = [
    (openai_file, "messages[0].content[0].file.file_data"),
    (input_file, "input[0].content[0].file_data"),
    (document, "messages[0].content[0].source.media_type"),
];

/// Holds: event.unpriced
#[test]
fn a_file_that_is_no_document_has_no_price() {
    for (read, field) in SURFACES {
        for media_type in ["audio/wav", "video/mp4", "image/png", "application/octet-stream"] {
            let refusal = read(&format!("data:{media_type};base64,AAAA")).err();
            let refusal = refusal.unwrap_or_else(|| panic!("{field}: {media_type}"));
            assert_eq!(
                (refusal.code, &refusal.details["field"]),
                (ErrorCode::ModelUnpriced, &field.into()),
                "{media_type}"
            );
        }
        for media_type in
            ["application/pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "text/csv"]
        {
            assert!(read(&format!("data:{media_type};base64,AAAA")).is_ok(), "{field}: {media_type}");
        }
    }
}

/// Holds: event.unpriced
#[test]
fn a_document_goes_to_openrouter_only_where_its_plugins_are_allowed() {
    let plugins = BTreeSet::from(["plugins".to_owned()]);
    let at = |server| OutboundTarget { server: Some(server), ..target() };
    for (read, _) in SURFACES {
        let request = read(PDF).expect("a document");
        let refusal = request.upstream_body(ProviderKind::Openai, &at(Server::Openrouter)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ModelUnpriced);
        assert!(refusal.message.contains("plugins"), "{}", refusal.message);
        assert!(request.unpriced_documents(Server::Openrouter, &NO_FIELDS).is_some());
        let allowing = OutboundTarget { allowed_fields: &plugins, ..at(Server::Openrouter) };
        assert!(request.upstream_body(ProviderKind::Openai, &allowing).is_ok());
        // It speaks this dialect too.
        let refusal = request.upstream_body(ProviderKind::Anthropic, &at(Server::Openrouter)).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::ModelUnpriced);
        assert!(request.upstream_body(ProviderKind::Anthropic, &allowing).is_ok());
        assert!(request.upstream_body(ProviderKind::Openai, &at(Server::Other)).is_ok());
        assert!(request.upstream_body(ProviderKind::Openai, &target()).is_ok());
    }
}

#[test]
fn a_text_that_may_be_cited_is_no_file_that_openrouter_has_read_by_a_service() {
    let target = OutboundTarget { server: Some(Server::Openrouter), ..target() };
    let cited = r#""citations":{"enabled":true}"#;
    let found = r#"{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]"#;
    let document = |source: &str| format!(r#"{{"type":"document","source":{{"type":{source}}}"#);
    for (block, is_file) in [
        (found.to_owned(), false),
        (document(r#""text","media_type":"text/plain","data":"x""#), false),
        (document(r#""base64","media_type":"application/pdf","data":"JVBERi0=""#), true),
        (document(r#""url","url":"https://example.com/a.pdf""#), true),
    ] {
        let request = with_blocks(&format!("{block},{cited}}}")).expect("a request");
        assert!(request.has_documents(), "its tokens are not bounded: {block}");
        let sent = request.upstream_body(ProviderKind::Anthropic, &target);
        let refused = sent.err().map(|refusal| refusal.code);
        assert_eq!(refused, is_file.then_some(ErrorCode::ModelUnpriced), "{block}");
    }
}

#[test]
fn a_text_file_is_its_text_to_providers_of_every_dialect() {
    // Of "hello".
    const TEXT: &str = "data:text/plain;charset=utf-8;base64,aGVsbG8=";
    for (read, _) in SURFACES {
        let request = read(TEXT).expect("a document");
        let surface = request.surface();
        assert!(!request.has_documents(), "{surface:?} holds the whole context");
        let pdf = read(&TEXT.replace("text/plain", "application/pdf")).expect("a document");
        assert!(pdf.has_documents(), "{surface:?}");
        for kind in ProviderKind::ALL.iter().copied() {
            let sent = request.upstream_body(kind, &target()).unwrap_or_else(|refusal| panic!("{kind:?}: {refusal:?}"));
            let sent = std::str::from_utf8(&sent).expect("UTF-8");
            // Converse has base64 for text too.
            let text = if kind == ProviderKind::Bedrock { "aGVsbG8=" } else { "hello" };
            let is_passed_on = shortcut(surface, kind).is_some();
            assert_eq!(sent.contains(text), !is_passed_on, "{surface:?} {kind:?}: {sent}");
        }
    }
}

#[test]
fn a_table_is_bounded_as_text_only_where_it_is_sent_as_text() {
    let csv = "data:text/csv;base64,YSxi";
    // OpenAI adds a summary to it, and Converse and Messages know it as text.
    for (read, is_of_unknown_length) in [(SURFACES[0].0, true), (SURFACES[1].0, false), (SURFACES[2].0, true)] {
        assert_eq!(read(csv).expect("a document").has_documents(), is_of_unknown_length);
    }
    for (media_type, name) in [("text/x-csv", "a"), ("text/comma-separated-values", "a"), ("text/plain", "a.csv")] {
        let file = format!(r#"{{"file_data":"data:{media_type};base64,YSxi","filename":"{name}"}}"#);
        let part = format!(r#"{{"type":"file","file":{file}}}"#);
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#);
        assert!(parse(Surface::OpenAi, body).expect("a document").has_documents(), "{media_type} {name}");
    }
}
