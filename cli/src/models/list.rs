//! `ledgerway models list`: the models that the key may use, as `GET /v1/models` answers them.

use http::Method;
use serde_json::{Value, json};

use super::super::gateway_access::{FOR_MODELS, connect};
use super::super::printable_text::printable_text;
use super::super::runtime::CommandRuntime;
use super::super::table::aligned;
use super::super::{Failure, print_line};
use super::report::without_zeros;
use super::unknown_model::NO_MODEL;
use super::{advice, failure};
use crate::arguments::ListModelsArgs;
use crate::settings::Flags;

const PATH: &str = "/v1/models";
/// The inputs beside text, each by the capability that stands for it.
const INPUTS: [(&str, &str); 5] =
    [("vision", "image"), ("embed_image", "image"), ("audio_in", "audio"), ("video_in", "video"), ("pdf", "pdf")];
/// The most characters that are repeated of the words.
const WORDS_CHARS_MAX: usize = 64;

pub fn list(args: &ListModelsArgs, flags: &Flags, runtime: &CommandRuntime) -> Result<(), Failure> {
    let json = args.output.is_json(flags)?;
    let gateway = connect(&args.gateway, flags, &FOR_MODELS)?;
    let answer = runtime.block_on(async {
        let answer = gateway.request(Method::GET, PATH).await?;
        if answer["data"].is_array() {
            Ok(answer)
        } else {
            Err(gateway.unexpected("its response is no list of models"))
        }
    });
    let mut answer = answer.map_err(|error| failure(&error, None, advice::of_list(&error), json))?;
    let words: Vec<String> =
        args.words.iter().flat_map(|words| words.split_whitespace()).map(str::to_lowercase).collect();
    let found = found(answer["data"].take(), &words);
    if found.is_empty() && !words.is_empty() {
        let words: String = words.join(" ").chars().take(WORDS_CHARS_MAX).collect();
        return Err(Failure::Failed(format!("the key may use no model that contains {words:?}")));
    }
    if json {
        answer["data"] = found.into();
        print_line(&answer.to_string());
    } else if found.is_empty() {
        print_line(NO_MODEL);
    } else {
        print_line(&table(&found));
    }
    Ok(())
}

/// The models whose name or provider contains every word.
fn found(models: Value, words: &[String]) -> Vec<Value> {
    let Value::Array(mut models) = models else { return Vec::new() };
    models.retain(|model| {
        let text = ["id", "provider"].map(|member| model[member].as_str().unwrap_or_default().to_lowercase());
        words.iter().all(|word| text.iter().any(|text| text.contains(word.as_str())))
    });
    models
}

/// One model a line. A price with tiers says so: it is not its whole price.
fn table(models: &[Value]) -> String {
    let head = ["model", "provider", "context", "inputs", "input", "output", ""].map(str::to_owned);
    let rows = models.iter().map(|model| {
        let text = |value: &Value| printable_text(value.as_str().unwrap_or_default());
        let amount = |name: &str| without_zeros(&text(&model["price"][name]));
        let has_tiers = model["price"]["tiers"].as_array().is_some_and(|tiers| !tiers.is_empty());
        vec![
            text(&model["id"]),
            text(&model["provider"]),
            model["context_window"].as_u64().map(|tokens| tokens.to_string()).unwrap_or_default(),
            inputs(&model["capabilities"]),
            amount("input_usd_per_mtok"),
            amount("output_usd_per_mtok"),
            if has_tiers { "and tiers".to_owned() } else { String::new() },
        ]
    });
    let rows = std::iter::once(head.to_vec()).chain(rows).collect();
    format!("{}\nprices in US dollars per million tokens", aligned(rows))
}

/// `text, image`; empty if it is not known.
fn inputs(capabilities: &Value) -> String {
    let Some(known) = capabilities.as_array() else { return String::new() };
    let mut inputs = vec!["text"];
    for (capability, input) in INPUTS {
        if known.contains(&json!(capability)) && !inputs.contains(&input) {
            inputs.push(input);
        }
    }
    inputs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models() -> Value {
        json!([
            { "id": "gpt-4o", "provider": "openai", "context_window": 128_000, "capabilities": ["pdf", "vision", "tools"],
              "price": { "input_usd_per_mtok": "2.500000000", "output_usd_per_mtok": "10.000000000",
                         "tiers": [{ "service_tier": "batch" }] } },
            { "id": "own/\u{1b}[31mmodel", "provider": "Local", "context_window": null,
              "price": { "input_usd_per_mtok": "0.000000000", "output_usd_per_mtok": "0.000000000" } },
        ])
    }

    #[test]
    fn a_line_has_what_is_known_of_a_model() {
        let wanted = "model           provider  context  inputs            input  output\n\
                      gpt-4o          openai    128000   text, image, pdf  2.5    10      and tiers\n\
                      own/[31mmodel   Local                                0      0\n\
                      prices in US dollars per million tokens";
        let squeezed = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&table(&found(models(), &[]))), squeezed(wanted));
    }

    #[test]
    fn every_word_is_in_the_name_or_in_the_provider() {
        for (words, count) in [(&[][..], 2), (&["own", "loc"], 1), (&["gpt", "local"], 0), (&["o"], 2)] {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(found(models(), &words).len(), count, "{words:?}");
        }
    }
}
