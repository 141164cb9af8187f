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
    let (any, names) = (|| schema::list(schema::any(), None), schema::map(schema::string(), None));
    schema::object()
        .optional_as("$schema", schema::nullable(schema::string()), "The address of the JSON Schema")
        .required_as("schema", schema::whole(1, 1), "The version of the document's form")
        .required_as("version", schema::date(), "The day of the document")
        .required_as("sources", any(), "Where models and prices are from")
        .required_as("providers", any(), "Providers, as docs/catalogue.md describes them")
        .required_as("models", any(), "Models and their prices, as docs/catalogue.md describes them")
        .required_as("aliases", names, "Short names of models, each with the name that it is for")
        .closed()
}

fn import() -> Fields {
    let prices = schema::object()
        .required_as("new", cut(priced()), "Models that have a price only in the new catalogue")
        .required_as("changed", cut(priced()), "Models with other prices")
        .required_as("gone", cut(named().open()), "Models that have a price only in the old catalogue");
    let models = schema::object()
        .required_as("new", cut(named().open()), "Models that only the new catalogue has")
        .required_as("gone", cut(named().open()), "Models that only the old catalogue has")
        .required_as("deprecated", cut(ending()), "Models with another end that still answer today")
        .required_as("retired", cut(ending()), "Models with another end that do not answer any more");
    let recorded = schema::object().required_as("prices", counts(), "Prices of this gateway");
    let recorded = recorded.required_as("models", counts(), "Models of this gateway");
    let not_used = "Ids of providers that the document describes in another way than this version of the gateway, which uses \
                    its own";
    schema::object()
        .required_as("dry_run", schema::boolean(), "True if nothing was changed")
        .required_as("from_version", schema::date(), "The day of the catalogue that was in force")
        .required_as("to_version", schema::date(), "The day of the new catalogue")
        .required_as("prices", prices.open(), "The prices in which both differ")
        .required_as("models", models.open(), "The models in which both differ")
        .required_as("providers_not_used", cut(schema::string()), not_used)
        .required_as(
            "recorded",
            recorded.open(),
            "What follows in this gateway, for the providers from its environment",
        )
        .optional_as("position", schema::count(), "The log position that has all of it; absent in a dry run")
}

/// A list that is cut.
fn cut(item: Shape) -> Shape {
    schema::object()
        .required_as("count", schema::count(), "How many there are")
        .required_as("more", schema::count(), "How many of them are not listed")
        .required_as("items", schema::list(item, Some(ITEMS_MAX)), "By provider and model")
        .open()
}

fn named() -> Fields {
    let provider = schema::object().required_as("provider", schema::string(), "The provider's id in the catalogue");
    provider.required_as("model", schema::string(), "The provider's name of the model")
}

fn ending() -> Shape {
    named()
        .required_as("deprecated_on", schema::date(), "The day from which its provider does not serve it any more")
        .optional_as("successor", schema::string(), "The model that its provider recommends in its place")
        .open()
}

fn priced() -> Shape {
    let amount = schema::object()
        .required_as("field", schema::string(), "The name of the amount, such as input_usd_per_mtok")
        .required_as("old", schema::nullable(schema::money()), "null if it was not listed")
        .required_as("new", schema::nullable(schema::money()), "null if it is not listed any more")
        .optional_as("region", schema::string(), "The region whose price it is; absent for all others")
        .optional_as("service_tier", schema::one_of(ServiceTier::words()), "A condition of its tier")
        .optional_as("above_input_tokens", schema::count(), "A condition of its tier");
    named()
        .required_as("amounts", schema::list(amount.open(), Some(AMOUNTS_MAX)), "The amounts that are different")
        .required_as("more_amounts", schema::count(), "How many amounts are not listed")
        .open()
}

fn counts() -> Shape {
    schema::object()
        .required_as("created", schema::count(), "How many it creates")
        .required_as("changed", schema::count(), "How many it changes")
        .required_as("ended", schema::count(), "How many it ends")
        .open()
}
