//! The table in `docs/dialects.md`: what each family does with each feature, and what each surface calls it.

use std::collections::BTreeMap;
use std::path::Path;

const PAGE: &str = "docs/dialects.md";
const FEATURE: &str = "feature";

/// By feature: the cell of each column.
pub struct Documented(BTreeMap<String, BTreeMap<String, String>>);

impl Documented {
    pub fn read() -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let page = std::fs::read_to_string(page).expect("the page");
        let mut lines = page.lines().skip_while(|line| !line.starts_with("| feature |"));
        let cells = |line: &str| -> Vec<String> {
            let inside = line.trim().trim_start_matches('|').trim_end_matches('|');
            inside.split('|').map(|cell| unquoted(cell.trim()).to_owned()).collect()
        };
        let heads = cells(lines.next().expect("the head of the table"));
        let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
        let rows = rows.map(|line| {
            let mut row: BTreeMap<_, _> = heads.iter().cloned().zip(cells(line)).collect();
            (row.remove(FEATURE).expect("a feature"), row)
        });
        Self(rows.collect())
    }

    fn cell(&self, feature: &str, column: &str) -> &str {
        let row = self.0.get(feature).unwrap_or_else(|| panic!("{PAGE} has no row of {feature}"));
        row.get(column).unwrap_or_else(|| panic!("{PAGE} has no column {column}"))
    }

    /// True if the family refuses the feature.
    pub fn refuses(&self, kind: &str, feature: &str) -> bool {
        match self.cell(feature, kind) {
            "400" => true,
            "yes" | "ignored" => false,
            other => panic!("{feature} of {kind} is {other:?} in {PAGE}"),
        }
    }

    /// What the surface calls the feature; `None` if it has no such thing.
    pub fn field(&self, surface: &str, feature: &str) -> Option<&str> {
        Some(self.cell(feature, &format!("field, {surface}"))).filter(|field| !field.is_empty())
    }
}

fn unquoted(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or(cell)
}
