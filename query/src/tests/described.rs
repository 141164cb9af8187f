//! The described parameters are those that handlers read.

use std::collections::BTreeSet;

use openapi::refusals::NATIVE;
use serde_json::Value;

use super::world::{OURS, World, operator};
use crate::parameters::asked;
use crate::routes;

#[tokio::test]
async fn the_published_parameters_are_those_that_are_read() {
    let world = World::new().await;
    let (_, described) = routes(world.state.clone(), NATIVE).into_parts();
    let document: Value = serde_json::from_slice(&described.json("0").expect("a document")).expect("a document");
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(parameters) = item["get"]["parameters"].as_array().map(|parameters| parameters.iter()) else {
            continue;
        };
        let of_query = parameters.filter(|parameter| parameter["in"] == "query");
        let published: BTreeSet<String> =
            of_query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect();
        asked::taken();
        let budget = OURS.budget().to_string();
        let path = path
            .replace("{request_id}", "req_00000000000000000000000000000001")
            .replace("{id}", &budget)
            .replace("{name}", "m");
        let _ = world.send(&operator(), &path, &[]).await;
        assert_eq!(asked::taken(), published, "{path}");
    }
    world.close().await;
}
