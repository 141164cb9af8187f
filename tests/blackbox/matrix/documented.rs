//! The tables in `docs/dialects.md`: what each surface calls each feature, and what each family does with it.

use std::collections::BTreeMap;
use std::path::Path;

const PAGE: &str = "docs/dialects.md";
/// The column that both tables have.
const FEATURE: &str = "what it asks for";

/// Cells by feature and column.
type Table = BTreeMap<String, BTreeMap<String, String>>;

pub struct DocumentedDialects {
    fields: Table,
    kinds: Table,
}

impl DocumentedDialects {
    pub fn read() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = std::fs::read_to_string(page).expect("the page");
        Self { fields: table(&page, "fields"), kinds: table(&page, "kinds") }
    }

    /// True if the family refuses the feature, unless it is passed on.
    pub fn refuses(&self, kind: &str, feature: &str) -> bool {
        match cell(&self.kinds, feature, kind) {
            "400" | "400, or passed on" => true,
            "yes" | "ignored" => false,
            other => panic!("{feature} of {kind} is {other:?} in {PAGE}"),
        }
    }

    /// Returns the surface's name for the feature; `None` if it has no such thing.
    pub fn field(&self, surface: &str, feature: &str) -> Option<&str> {
        Some(cell(&self.fields, feature, surface)).filter(|field| !field.is_empty())
    }
}

/// The table after the mark of this name.
fn table(page: &str, name: &str) -> Table {
    let (_, after) =
        page.split_once(&format!("<!-- {name},")).unwrap_or_else(|| panic!("{PAGE} has no mark of {name}"));
    let mut lines = after.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let heads = cells(lines.next().expect("the head of the table"));
    let rows = lines.skip(1).map(|line| {
        let mut row: BTreeMap<_, _> = heads.iter().cloned().zip(cells(line)).collect();
        (row.remove(FEATURE).expect("a feature"), row)
    });
    rows.collect()
}

fn cells(line: &str) -> Vec<String> {
    let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
    inside.split('|').map(|cell| unquoted(cell.trim()).to_owned()).collect()
}

fn cell<'a>(table: &'a Table, feature: &str, column: &str) -> &'a str {
    let row = table.get(feature).unwrap_or_else(|| panic!("{PAGE} has no row of {feature}"));
    row.get(column).unwrap_or_else(|| panic!("{PAGE} has no column {column}"))
}

fn unquoted(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell)
}
