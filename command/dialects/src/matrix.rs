//! `docs/dialects.md` shows what each surface calls a feature, and how each upstream treats it; its tables are written
//! from the rows.

use intermediate::chat::{Feature, Treatment};

use super::*;

const PAGE: &str = "../../docs/dialects.md";
const END: &str = "<!-- end -->";

/// A table of the page: the mark that it begins behind, and its text.
type Table = (&'static str, fn() -> String);

const TABLES: [Table; 2] = [
    ("<!-- fields, written by the test `matrix`: UPDATE_DIALECTS=1 -->\n", fields),
    ("<!-- kinds, written by the test `matrix`: UPDATE_DIALECTS=1 -->\n", kinds),
];

const EMBEDDINGS: &str = "embeddings";

fn row(cells: impl IntoIterator<Item = String>) -> String {
    format!("| {} |\n", cells.into_iter().collect::<Vec<_>>().join(" | "))
}

fn heading(cells: &[String]) -> String {
    row(cells.to_vec()) + &row(cells.iter().map(|_| "---".to_owned()))
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// The field of each feature, by surface for chat.
fn fields() -> String {
    let names = Surface::CHAT.iter().map(|surface| surface.spec().name.to_owned());
    let heads: Vec<_> = names.chain(["what it asks for".to_owned(), "label".to_owned()]).collect();
    let rows = Feature::ALL.iter().map(|feature| {
        let fields =
            Surface::CHAT.iter().map(|surface| (surface.spec().field_of)(*feature).map_or(String::new(), code));
        row(fields.chain([feature.description().to_owned(), code(feature.name())]))
    });
    heading(&heads) + &rows.collect::<String>()
}

/// How each kind of provider treats each feature.
fn kinds() -> String {
    let kinds = || ProviderKind::NAMED.iter().map(|named| named.value);
    let names = ProviderKind::NAMED.iter().map(|named| code(named.name));
    let heads: Vec<_> = ["field", "what it asks for"].map(str::to_owned).into_iter().chain(names).collect();
    let rows = Feature::ALL.iter().map(|feature| {
        let what = [code(first_field(*feature)), feature.description().to_owned()];
        row(what.into_iter().chain(kinds().map(|kind| treatment(kind, *feature))))
    });
    let has = |kind| if provider_dialects::of(kind).has(Api::Embeddings) { "yes" } else { "400" };
    let what = ["`/v1/embeddings`".to_owned(), EMBEDDINGS.to_owned()];
    heading(&heads) + &rows.collect::<String>() + &row(what.into_iter().chain(kinds().map(|kind| has(kind).to_owned())))
}

/// Its name on the first surface that has it.
fn first_field(feature: Feature) -> &'static str {
    Surface::CHAT.iter().find_map(|surface| (surface.spec().field_of)(feature)).expect("a surface has it")
}

fn treatment(kind: ProviderKind, feature: Feature) -> String {
    let upstream = provider_dialects::of(kind);
    let is_passed_on = Surface::CHAT.iter().any(|surface| {
        let spec = surface.spec();
        upstream.shared_dialect.is_some()
            && spec.shared_dialect == upstream.shared_dialect
            && (spec.field_of)(feature).is_some()
    });
    let treatment = match (upstream.treatment)(feature) {
        Treatment::Translated => return "yes".to_owned(),
        Treatment::Ignored => "ignored",
        Treatment::Refused => "400",
    };
    if is_passed_on { format!("{treatment}, or passed on") } else { treatment.to_owned() }
}

#[test]
fn the_page_of_dialects_has_the_tables_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let mut page = std::fs::read_to_string(&path).expect("the page");
    for (begin, table) in TABLES {
        let (before, rest) = page.split_once(begin).expect("where the table begins");
        let (written, after) = rest.split_once(END).expect("where it ends");
        let table = format!("\n{}\n", table());
        if std::env::var_os("UPDATE_DIALECTS").is_none() {
            assert_eq!(written, table, "UPDATE_DIALECTS=1 rewrites it");
        }
        page = [before, begin, &table, END, after].concat();
    }
    if std::env::var_os("UPDATE_DIALECTS").is_some() {
        std::fs::write(&path, page).unwrap();
    }
}
