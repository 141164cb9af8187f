//! Text in columns.

/// Rows with their columns aligned, each two spaces from the next. Columns that are empty everywhere but in the first row
/// are left out.
pub fn aligned(mut rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let is_used = |rows: &[Vec<String>], column: usize| {
        rows.iter().skip(1).any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
    };
    let used: Vec<bool> = (0..columns).map(|column| is_used(&rows, column)).collect();
    for row in &mut rows {
        let mut kept = used.iter();
        row.retain(|_| kept.next().copied().unwrap_or(false));
    }
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map_while(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_empty_ones_are_left_out() {
        let rows = [["name", "note", "price"], ["é", "", "1"], ["longer", "", "22"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        assert_eq!(aligned(rows), "name    price\né       1\nlonger  22");
        assert_eq!(aligned(Vec::new()), "");
    }
}
