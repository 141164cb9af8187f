//! `docs/dialects.md` shows how each upstream treats each feature; its table is written from the rows.

use super::chat::{Feature, Treatment};
use super::*;

const PAGE: &str = "../../docs/dialects.md";
const BEGIN: &str = "<!-- written by the test `matrix`: UPDATE_DIALECTS=1 -->\n";
const END: &str = "<!-- end -->";

/// The surfaces for chat, and the kinds of providers over HTTP.
fn table() -> String {
    let kinds = || ProviderKind::NAMED.iter().filter(|(_, kind)| upstreams::of(*kind).endpoint().is_some());
    let surfaces = || Surface::CHAT.iter().map(|surface| surface.spec());
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let heads = surfaces().map(|surface| format!("field, {}", surface.name));
    let heads = heads.chain(kinds().map(|(name, _)| format!("`{name}`")));
    let heads: Vec<_> = std::iter::once("feature".to_owned()).chain(heads).collect();
    let mut text = row(heads.clone()) + &row(vec!["---".to_owned(); heads.len()]);
    for feature in Feature::ALL {
        let fields =
            surfaces().map(|surface| (surface.field_of)(*feature).map_or("".to_owned(), |field| format!("`{field}`")));
        let treatments = kinds().map(|(_, kind)| match (upstreams::of(*kind).treatment)(*feature) {
            Treatment::Translated => "yes".to_owned(),
            Treatment::Ignored => "ignored".to_owned(),
            Treatment::Refused => "400".to_owned(),
        });
        let cells = std::iter::once(feature.description().to_owned()).chain(fields).chain(treatments);
        text += &row(cells.collect());
    }
    let embeddings = kinds().map(|(_, kind)| if upstreams::of(*kind).has(Api::Embeddings) { "yes" } else { "400" });
    let cells = std::iter::once("embeddings, at `/v1/embeddings`").chain(surfaces().map(|_| "")).chain(embeddings);
    text += &row(cells.map(str::to_owned).collect());
    text
}

#[test]
fn the_page_of_dialects_has_the_table_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (written, after) = rest.split_once(END).expect("where it ends");
    let table = format!("\n{}\n", table());
    if std::env::var_os("UPDATE_DIALECTS").is_some() {
        std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(written, table, "UPDATE_DIALECTS=1 rewrites it");
}
