//! The operation in `/openapi.json`.

use events::refusal::ErrorCode;
use events::usage::ServiceTier;
use http::StatusCode;
use openapi::schema::{self, Fields, Shape};
use openapi::{Answer, Operation};
use serde_json::json;

use super::shown::{AMOUNTS_MAX, ITEMS_MAX};
use crate::admin::described::command;

pub fn described() -> Operation {
    let force =
        "true goes back to an older catalogue than the one in force, but never to one older than the gateway's own";
    command("import_prices", "Takes a newer catalogue of models and list prices")
        .says(
            "The document is kept, for all nodes that share the ledger, and used from now on. Prices and models that the \
             gateway made from its catalogue follow it at once; those that commands created are not touched. The caller must \
             reach the whole platform. An older document than the one in force is a 409.",
        )
        .query("dry_run", schema::boolean(), "true answers what it would change, and changes nothing")
        .query("force", schema::boolean(), force)
        .takes(document(), json!({ "schema": 1, "version": "2999-12-31", "sources": [], "providers": [], "models": [], "aliases": {} }))
        .answers(StatusCode::OK, Answer::json("What it changes", schema::reference("PriceImport")).recorded())
        .defines("PriceImport", import().open())
        .refuses(&[ErrorCode::Draining])
}

fn document() -> Shape {
    let any = || schema::list(schema::any(), None);
    let described = |shape, meaning: &str| schema::described(shape, meaning);
    schema::object()
        .optional("$schema", described(schema::nullable(schema::string()), "The address of the JSON Schema"))
        .required("schema", described(schema::whole(1, 1), "The version of the document's form"))
        .required("version", described(schema::date(), "The day of the document"))
        .required("sources", described(any(), "Where models and prices are from"))
        .required("providers", described(any(), "Providers, as docs/catalogue.md describes them"))
        .required("models", described(any(), "Models and their prices, as docs/catalogue.md describes them"))
        .required(
            "aliases",
            described(schema::map(schema::string(), None), "Short names of models, each with the name that it is for"),
        )
        .closed()
}

fn import() -> Fields {
    let described = |shape, meaning: &str| schema::described(shape, meaning);
    let prices = schema::object()
        .required("new", described(cut(priced()), "Models that have a price only in the new catalogue"))
        .required("changed", described(cut(priced()), "Models with other prices"))
        .required("gone", described(cut(named().open()), "Models that have a price only in the old catalogue"));
    let models = schema::object()
        .required("new", described(cut(named().open()), "Models that only the new catalogue has"))
        .required("gone", described(cut(named().open()), "Models that only the old catalogue has"))
        .required("deprecated", described(cut(ending()), "Models with another end that still answer today"))
        .required("retired", described(cut(ending()), "Models with another end that do not answer any more"));
    let recorded = schema::object()
        .required("prices", described(counts(), "Prices of this gateway"))
        .required("models", described(counts(), "Models of this gateway"));
    schema::object()
        .required("dry_run", described(schema::boolean(), "True if nothing was changed"))
        .required("from_version", described(schema::date(), "The day of the catalogue that was in force"))
        .required("to_version", described(schema::date(), "The day of the new catalogue"))
        .required("prices", described(prices.open(), "The prices in which both differ"))
        .required("models", described(models.open(), "The models in which both differ"))
        .required(
            "providers_not_used",
            described(
                cut(schema::string()),
                "Ids of providers that the document describes in another way than this version of the gateway, which uses its own",
            ),
        )
        .required(
            "recorded",
            described(recorded.open(), "What follows in this gateway, for the providers from its environment"),
        )
        .optional("position", described(schema::count(), "The log position that has all of it; absent in a dry run"))
}

/// A list that is cut.
fn cut(item: Shape) -> Shape {
    let described = |shape, meaning: &str| schema::described(shape, meaning);
    schema::object()
        .required("count", described(schema::count(), "How many there are"))
        .required("more", described(schema::count(), "How many of them are not listed"))
        .required("items", described(schema::list(item, Some(ITEMS_MAX)), "By provider and model"))
        .open()
}

fn named() -> Fields {
    schema::object()
        .required("provider", schema::described(schema::string(), "The provider's id in the catalogue"))
        .required("model", schema::described(schema::string(), "The provider's name of the model"))
}

fn ending() -> Shape {
    named()
        .required(
            "deprecated_on",
            schema::described(schema::date(), "The day from which its provider does not serve it any more"),
        )
        .optional(
            "successor",
            schema::described(schema::string(), "The model that its provider recommends in its place"),
        )
        .open()
}

fn priced() -> Shape {
    let described = |shape, meaning: &str| schema::described(shape, meaning);
    let amount = schema::object()
        .required("field", described(schema::string(), "The name of the amount, such as input_usd_per_mtok"))
        .required("old", described(schema::nullable(schema::money()), "null if it was not listed"))
        .required("new", described(schema::nullable(schema::money()), "null if it is not listed any more"))
        .optional("region", described(schema::string(), "The region whose price it is; absent for all others"))
        .optional("service_tier", described(schema::one_of(ServiceTier::words()), "A condition of its tier"))
        .optional("above_input_tokens", described(schema::count(), "A condition of its tier"));
    named()
        .required(
            "amounts",
            described(schema::list(amount.open(), Some(AMOUNTS_MAX)), "The amounts that are different"),
        )
        .required("more_amounts", described(schema::count(), "How many amounts are not listed"))
        .open()
}

fn counts() -> Shape {
    schema::object()
        .required("created", schema::described(schema::count(), "How many it creates"))
        .required("changed", schema::described(schema::count(), "How many it changes"))
        .required("ended", schema::described(schema::count(), "How many it ends"))
        .open()
}
