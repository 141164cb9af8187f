//! Fuzz target of the document. See `docs/fuzzing.md`.

use fuzzing::{Corpus, fuzz};

use super::tests::document;
use super::*;
use crate::{Difference, Model};

const NAMES: [&str; 8] = [
    "regional_prices", "request_usd", "input_image_usd", "capabilities", "header_variables", "local", "dimensions",
    "max_output_tokens",
];

#[test]
fn a_catalogue_can_be_looked_up_as_it_is_written_or_is_refused_in_one_line() {
    let corpus = Corpus::of([document().to_string().into_bytes()]).knowing(&NAMES);
    fuzz!(4_000, |dice| {
        let text = String::from_utf8_lossy(&corpus.draw(dice)).into_owned();
        match Catalogue::parse(&text) {
            Ok(catalogue) => assert_consistent(&catalogue),
            Err(error) => {
                let words = error.to_string();
                assert!(words.len() < 2_000 && !words.contains(char::is_control), "{words}");
            }
        }
    });
}

fn assert_consistent(catalogue: &Catalogue) {
    for model in catalogue.models() {
        assert_eq!(catalogue.model(&model.provider, &model.model), Some(model));
        assert!(catalogue.provider(&model.provider).is_some() && catalogue.models_of(&model.provider).contains(model));
        if let Some(name) = &model.name {
            assert!(catalogue.named(name).any(|found| found == model));
        }
        let written = serde_json::to_string(model).expect("JSON");
        assert_eq!(&serde_json::from_str::<Model>(&written).expect("a model"), model, "{written}");
    }
    for (alias, name) in catalogue.aliases() {
        assert!(catalogue.named(name).next().is_some() && catalogue.named(alias).next().is_none(), "{alias}");
    }
    assert!(Difference::between(catalogue, catalogue).is_empty());
}
