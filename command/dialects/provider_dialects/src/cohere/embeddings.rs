//! Embeddings by `/v2/embed`. Their order is that of the inputs.
//!
//! Cohere must know what the vectors are for: without a purpose they are those of documents. A text that is longer than
//! the model's context is refused, and not cut. Token ids are refused, because Cohere takes texts alone, and so are more
//! than 96 inputs. The client's name for its user is dropped on purpose.

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::embeddings::{EmbeddingsRequest, Purpose};
use intermediate::{Metered, UpstreamFault, json};
use serde::Serialize;

use super::answer::in_band;
use crate::EmbeddingsApi;
use crate::embedded_texts::{texts_of, vectors};

pub const API: EmbeddingsApi = EmbeddingsApi { path: |_| "/v2/embed".into(), request_body, read_vectors };

/// Texts per call.
const TEXTS_MAX: usize = 96;

#[derive(Serialize)]
struct CohereEmbeddingsBody<'a> {
    model: &'a str,
    texts: &'a [String],
    input_type: &'static str,
    embedding_types: [&'static str; 1],
    truncate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u64>,
}

fn request_body(request: &EmbeddingsRequest, model: &str) -> Result<Bytes, Refusal> {
    let texts = texts_of(request, "cohere", TEXTS_MAX)?;
    let input_type = match request.purpose {
        None | Some(Purpose::SearchDocument) => "search_document",
        Some(Purpose::SearchQuery) => "search_query",
        Some(Purpose::Classification) => "classification",
        Some(Purpose::Clustering) => "clustering",
    };
    let body = CohereEmbeddingsBody {
        model,
        texts,
        input_type,
        embedding_types: ["float"],
        truncate: "NONE",
        output_dimension: request.dimensions,
    };
    Ok(json::written(&body).into())
}

fn read_vectors<'a>(text: &'a str, metered: &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault> {
    json::check(text)?;
    let [id, embeddings, meta] = json::pick(text, ["id", "embeddings", "meta"])?;
    if let Some(meta) = meta {
        // `billed_units` and `tokens`, as in the usage of a chat.
        metered.add_report(meta, true);
    }
    let Some(embeddings) = embeddings else { return Err(in_band(text)) };
    metered.keep_id_and_model(id, None);
    // By type since `embedding_types` was asked for; a plain list before that.
    let [by_type] = json::pick(embeddings, ["float"])?;
    vectors(by_type.or(Some(embeddings)), |index, json| Ok(IndexedVector { index, json }))
}

#[cfg(test)]
mod tests {
    use intermediate::embeddings::Inputs;

    use super::*;

    fn request(inputs: Inputs, purpose: Option<Purpose>) -> EmbeddingsRequest {
        EmbeddingsRequest { inputs, dimensions: Some(256), user: Some("u".into()), purpose }
    }

    #[test]
    fn a_body_says_what_the_vectors_are_for_and_that_no_text_is_cut() {
        let body = request_body(&request(Inputs::Texts(vec!["a".into()]), Some(Purpose::SearchQuery)), "embed-v4.0");
        assert_eq!(
            body.as_deref(),
            Ok(br#"{"model":"embed-v4.0","texts":["a"],"input_type":"search_query","embedding_types":["float"],"truncate":"NONE","output_dimension":256}"#.as_slice())
        );
        let body = request_body(&request(Inputs::Texts(vec!["a".into()]), None), "m").expect("a body");
        assert!(body.as_ref().windows(17).any(|text| text == br#""search_document""#), "{body:?}");
        for inputs in [Inputs::Texts(vec!["a".into(); 97]), Inputs::Tokens(Vec::new())] {
            assert_eq!(request_body(&request(inputs, None), "m").expect_err("refused").details["field"], "input");
        }
        assert!(request_body(&request(Inputs::Texts(vec!["a".into(); 96]), None), "m").is_ok());
    }

    #[test]
    fn vectors_are_found_by_type_or_as_a_list() {
        for embeddings in [r#"{"float":[[1,2],[3,4]]}"#, "[[1,2],[3,4]]"] {
            let text = format!(
                r#"{{"id":"e1","embeddings":{embeddings},"texts":["a","b"],"meta":{{"billed_units":{{"input_tokens":4}}}}}}"#
            );
            let mut metered = Metered::default();
            let found = read_vectors(&text, &mut metered).expect("vectors");
            assert_eq!(found, [IndexedVector { index: 0, json: "[1,2]" }, IndexedVector { index: 1, json: "[3,4]" }]);
            assert_eq!(metered.upstream_id.as_deref(), Some("e1"));
        }
        for text in [r#"{"embeddings":{"int8":[[1]]}}"#, r#"{"embeddings":7}"#] {
            assert_eq!(
                read_vectors(text, &mut Metered::default()),
                Err(UpstreamFault::Malformed("no embeddings")),
                "{text}"
            );
        }
        for text in ["{}", "[]", r#"{"embeddings":null}"#, r#"{"embeddings":[[1"#] {
            assert!(read_vectors(text, &mut Metered::default()).is_err(), "{text}");
        }
        let error = read_vectors(r#"{"message":"no"}"#, &mut Metered::default());
        assert!(matches!(error, Err(UpstreamFault::InBandError { .. })), "{error:?}");
    }
}
