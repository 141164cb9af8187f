//! The questions of docs/sql.md, asked of a copy in PostgreSQL and of the views' own file. Where the two databases need different
//! statements, the page shows both.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{Column, ConnectOptions, Row, ValueRef as _};

use crate::world::{ACME, World, database};

/// A question of the page.
struct Question {
    title: String,
    postgres: String,
    sqlite: String,
    answer: String,
}

/// The questions of the page: each has a statement, or one for each database, and its answer.
fn questions() -> Vec<Question> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sql.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let sections = page.split("\n### ").skip(1);
    let question = |section: &str| {
        let section = section.split("\n## ").next().expect("a section");
        let title = section.lines().next().expect("a title").to_owned();
        let fences = |language: &str| -> Vec<String> {
            let begin = format!("\n```{language}\n");
            section
                .split(begin.as_str())
                .skip(1)
                .map(|rest| rest.split("\n```").next().expect("an end").to_owned())
                .collect()
        };
        let (statements, answers) = (fences("sql"), fences("text"));
        assert!((1..=2).contains(&statements.len()), "{title}");
        let [answer] = answers.as_slice() else { panic!("{title} has one answer") };
        Question {
            postgres: statements[0].clone(),
            sqlite: statements.last().expect("a statement").clone(),
            answer: answer.clone(),
            title,
        }
    };
    sections.map(question).collect()
}

/// A table as the page shows it.
fn table(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let lines = std::iter::once(header).chain(rows);
    lines.map(|cells| cells.join(" | ").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

async fn ask_postgres(address: &PgConnectOptions, question: &str) -> String {
    let mut connection = address.connect().await.expect("a connection");
    let first = "SET ROLE ledgerway_analyst; SET search_path = views; SET timezone = 'UTC'";
    sqlx::raw_sql(first).execute(&mut connection).await.expect("an analyst");
    let rows =
        sqlx::raw_sql(question).fetch_all(&mut connection).await.unwrap_or_else(|error| panic!("{question}: {error}"));
    let cell = |row: &PgRow, index| {
        let raw = row.try_get_raw(index).expect("a value");
        if raw.is_null() { String::new() } else { raw.as_str().expect("a text").to_owned() }
    };
    let header = rows.first().map(|row| row.columns().iter().map(|column| column.name().to_owned()).collect());
    let rows = rows.iter().map(|row| (0..row.len()).map(|index| cell(row, index)).collect()).collect();
    table(header.unwrap_or_default(), rows)
}

fn ask_sqlite(file: &Connection, question: &str) -> String {
    let mut statement = file.prepare(question).unwrap_or_else(|error| panic!("{question}: {error}"));
    let header: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let columns = header.len();
    let rows = statement.query_map([], |row| (0..columns).map(|index| row.get_ref(index).map(cell)).collect());
    table(header, rows.expect("rows").collect::<Result<_, _>>().expect("values"))
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        // As SQLite's own shell shows it: 25.0
        ValueRef::Real(number) => format!("{number:?}"),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(_) => panic!("no view has bytes"),
    }
}

#[tokio::test]
async fn every_question_of_the_page_has_the_answer_that_it_shows() {
    let (database, copied) = database().await;
    let mut world = World::with_history().await;
    let running = world.admits(ACME, "small").await;
    let copying = world.copying(&copied).await;
    copying.caught_up().await;
    copying.stop().await;
    let address: PgConnectOptions = database.url().parse().expect("an address");
    let file = world.views_file();
    let (questions, mut wrong) = (questions(), Vec::new());
    assert!(questions.len() >= 20, "{}", questions.len());
    for Question { title, postgres, sqlite, answer } in &questions {
        for (database, answered) in
            [("PostgreSQL", ask_postgres(&address, postgres).await), ("SQLite", ask_sqlite(&file, sqlite))]
        {
            if answered != *answer {
                wrong.push(format!("{title}: {database} answers\n{answered}\n"));
            }
        }
    }
    drop(running);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sums of corrections may be below zero.
#[test]
fn dollars_of_sums_in_sqlite_keep_their_sign() {
    let sqlite = Connection::open_in_memory().expect("a database");
    let mut forms = 0;
    for Question { title, sqlite: statement, .. } in questions() {
        for (begin, _) in statement.match_indices("printf(") {
            let form = statement[begin..].split(" AS ").next().expect("a form");
            for (nanos, dollars) in
                [(-1_500_000_000_i64, "-1.500000000"), (-1, "-0.000000001"), (0, "0.000000000"), (42, "0.000000042")]
            {
                let shown =
                    sqlite.query_row(&format!("SELECT {form} FROM (SELECT ?1 AS cost_nanos)"), [nanos], |row| {
                        row.get::<_, String>(0)
                    });
                assert_eq!(shown.expect("dollars"), dollars, "{title}");
            }
            forms += 1;
        }
    }
    assert!(forms > 3, "{forms}");
}
