//! Copies an embedded ledger into an empty shared one, row by row and as it is stored: events keep their position, time and
//! text, and everything next to them is copied too. All in one transaction: a shared ledger has all of it or nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection as Ledger, Row};
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::runtime::Builder;
use tokio::time::Instant;
use uuid::Uuid;

use super::contexts::name_of;
use super::database::DatabaseAddress;
use super::error::is_about_connection;
use super::session::{CONNECT_MAX, within};
use super::unusable::UnusableReason;
use super::{running_nodes, schema, side};
use crate::engine::sqlite;
use crate::stored::stored;
use crate::{EngineError, EngineErrorKind, LogError, SideRow};

/// Events in one batch of the shared ledger, and rows in one statement.
const ROWS: usize = 1_000;
/// How long one statement may take, and the time between two.
const STATEMENT_MAX: Duration = Duration::from_secs(60);
/// How long one statement is waited for: longer than the database's own limit, so that this one is reached only if the database or
/// the network does not answer at all.
const ANSWER_MAX: Duration = Duration::from_secs(70);
/// The node that is recorded as the appender of the batches.
const NODE: &str = "moved";

/// Tables of the embedded ledger that are not copied row by row: the events go in batches, and each of the others has one row,
/// which the shared ledger has as well. All other tables are copied, also those that a later version adds.
const COPIED_OTHERWISE: [&str; 3] = ["events", "ledger_checkpoint", "revaluation_begins"];
/// The number of a context, instead of which the shared ledger has a name.
const NUMBER: (&str, &str) = ("contexts", "number");

/// The tables of the embedded ledger with their columns. Those with erased rows are read through views, which leave these out; an
/// operator may have made other views.
const EMBEDDED_COLUMNS: &str = "
    SELECT tables.name, columns.name FROM sqlite_schema AS tables JOIN pragma_table_info(tables.name) AS columns
    WHERE (tables.type = 'table' AND tables.name NOT GLOB 'sqlite_*' AND tables.name NOT GLOB 'erasable_*')
       OR (tables.type = 'view' AND tables.name IN ('personal_data', 'client_addresses', 'sealed_secrets'))
    ORDER BY tables.name, columns.cid";
const SHARED_COLUMNS: &str = "
    SELECT table_name::text, column_name::text, data_type::text FROM information_schema.columns
    WHERE table_schema = 'ledger' ORDER BY table_name, ordinal_position";

/// The tables of the shared ledger, by name.
type Tables = BTreeMap<String, Table>;

/// A table of the shared ledger.
struct Table {
    name: String,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    /// The type in the shared ledger.
    data_type: String,
}

/// Callbacks to the caller while a ledger is copied.
pub struct CopyCallbacks<'a> {
    /// Gets the position that is written and the last one.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Called when everything is written, and before it is committed. If it fails, nothing is copied.
    pub before_commit: &'a mut dyn FnMut() -> Result<(), UnusableReason>,
}

/// Copies the ledger of a file, which nobody must serve meanwhile, into a shared ledger without events, on which no node may run
/// or start meanwhile. Returns the last position. Blocking, and not for threads of async tasks.
///
/// `catalogue` is the document that nodes use if the folder of the ledger had one.
///
/// Errors: nothing is copied, except that with [`LogError::Commit`] this is unknown. [`LogError::OtherSchema`] if one of the two
/// was not migrated to this version, [`UnusableReason::InUse`] if a node runs.
pub fn copy_to_shared(
    ledger: &Path,
    catalogue: Option<String>,
    database: &DatabaseAddress,
    callbacks: CopyCallbacks<'_>,
) -> Result<u64, UnusableReason> {
    copy_within(ANSWER_MAX, ledger, catalogue, database, callbacks)
}

fn copy_within(
    answer_max: Duration,
    ledger: &Path,
    catalogue: Option<String>,
    database: &DatabaseAddress,
    CopyCallbacks { progress, before_commit }: CopyCallbacks<'_>,
) -> Result<u64, UnusableReason> {
    let mut ledger = sqlite::open_rows(ledger)?;
    let ledger = ledger.transaction().map_err(LogError::from)?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| UnusableReason::Local(format!("cannot start a runtime: {error}")))?;
    let statement_max = format!("{}s", STATEMENT_MAX.as_secs());
    let limits = ["statement_timeout", "idle_in_transaction_session_timeout"].map(|name| (name, &statement_max));
    let options = database.options().clone().options(limits);
    runtime.block_on(async {
        let mut connection = within(Instant::now() + CONNECT_MAX, options.connect()).await??;
        within(Instant::now() + answer_max, schema::must_fit(&mut connection)).await??;
        let mut transaction = within(Instant::now() + answer_max, connection.begin()).await??;
        let mut copy = CopyTransaction { transaction: &mut transaction, answer_max };
        copy.run(running_nodes::must_be_none).await?;
        copy.run(must_be_empty).await?;
        let head = copy_all(&ledger, &mut copy, progress).await?;
        if let Some(document) = catalogue {
            let rows = [SideRow::Catalogue { document, replaces: 0 }];
            copy.run(async |transaction| side::write(&rows, transaction).await).await?;
        }
        before_commit()?;
        let committed = within(Instant::now() + answer_max, transaction.commit()).await.flatten();
        committed.map_err(|error| match is_about_connection(&error) {
            true => LogError::Commit(error.to_string()),
            false => error.into(),
        })?;
        Ok(head)
    })
}

/// The transaction that a ledger is copied in.
struct CopyTransaction<'a> {
    transaction: &'a mut PgConnection,
    answer_max: Duration,
}

impl CopyTransaction<'_> {
    /// Runs a statement or two, and fails if the database does not answer.
    async fn run<T, E: From<sqlx::Error>>(
        &mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E> {
        within(Instant::now() + self.answer_max, work(self.transaction)).await?
    }

    async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<(), LogError> {
        self.run(async |transaction| Ok(query.execute(transaction).await.map(drop)?)).await
    }
}

/// Keeps others from appending until the transaction ends, and refuses a ledger that has events. A node that was not seen lately
/// does not count as running, but may still append.
async fn must_be_empty(copy: &mut PgConnection) -> Result<(), LogError> {
    const LOCK: &str = "LOCK TABLE ledger.batches IN SHARE ROW EXCLUSIVE MODE";
    const HAS_EVENTS: &str = "SELECT EXISTS (SELECT FROM ledger.batches WHERE first > 0)";
    sqlx::query(LOCK).execute(&mut *copy).await?;
    if sqlx::query_scalar(HAS_EVENTS).fetch_one(copy).await? {
        return Err(refused("the shared ledger has events already".to_owned()));
    }
    Ok(())
}

async fn copy_all(
    ledger: &Ledger,
    copy: &mut CopyTransaction<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, LogError> {
    let position = |sql| ledger.query_row(sql, [], |row| row.get::<_, i64>(0));
    let head = position("SELECT coalesce(max(position), 0) FROM events")?;
    let state_at = position("SELECT position FROM ledger_checkpoint")?;
    let revaluation_after = position("SELECT after FROM revaluation_begins")?;
    let tables = copy.run(shared_tables).await?;
    let copied = copied_tables(ledger, &tables)?;
    copy_events(ledger, copy, table(&tables, "events")?, CopiedUntil { state_at, head }, progress).await?;
    for table in copied {
        copy_table(ledger, copy, table).await?;
    }
    for (sql, value) in [
        ("UPDATE ledger.ledger_checkpoint SET position = $1", state_at),
        ("UPDATE ledger.revaluation_begins SET after = $1", revaluation_after),
    ] {
        copy.execute(sqlx::query(sql).bind(value)).await?;
    }
    u64::try_from(head).map_err(stored)
}

async fn shared_tables(copy: &mut PgConnection) -> Result<Tables, LogError> {
    let mut tables = Tables::new();
    let columns: Vec<(String, String, String)> = sqlx::query_as(SHARED_COLUMNS).fetch_all(copy).await?;
    for (table, name, data_type) in columns {
        let table = tables.entry(table.clone()).or_insert_with(|| Table { name: table, columns: Vec::new() });
        table.columns.push(Column { name, data_type });
    }
    Ok(tables)
}

/// The tables that are copied row by row. Refuses a ledger with a table or column that the shared one does not have: it would be
/// lost.
fn copied_tables<'a>(ledger: &Ledger, tables: &'a Tables) -> Result<Vec<&'a Table>, LogError> {
    let mut copied: Vec<&Table> = Vec::new();
    let mut select = ledger.prepare(EMBEDDED_COLUMNS)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (name, column): (String, String) = (row.get(0)?, row.get(1)?);
        let shared = table(tables, &name)?;
        let is_shared = shared.columns.iter().any(|shared| shared.name == column);
        if !is_shared && (name.as_str(), column.as_str()) != NUMBER {
            return Err(refused(format!("the shared ledger has no column {column} in the table {name}")));
        }
        if !COPIED_OTHERWISE.contains(&name.as_str()) && copied.last().is_none_or(|last| last.name != name) {
            copied.push(shared);
        }
    }
    Ok(copied)
}

fn table<'a>(tables: &'a Tables, name: &str) -> Result<&'a Table, LogError> {
    tables.get(name).ok_or_else(|| refused(format!("the shared ledger has no table {name}")))
}

/// The positions up to which the rows of the state, and the events, are copied.
struct CopiedUntil {
    state_at: i64,
    head: i64,
}

/// Copies the events in batches, one of which ends where the rows of the state do.
async fn copy_events(
    ledger: &Ledger,
    copy: &mut CopyTransaction<'_>,
    events: &Table,
    CopiedUntil { state_at, head }: CopiedUntil,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), LogError> {
    const INSERT_BATCH: &str = "
        INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
        SELECT $1, $2, recorded_at, $3, gen_random_uuid(), $2 = $4 FROM ledger.events WHERE position = $2";
    let names = context_names(ledger)?;
    let select: Vec<&str> = events.columns.iter().map(|column| embedded_in_event(&column.name)).collect();
    let mut select = ledger.prepare(&format!(
        "SELECT {} FROM events LEFT JOIN contexts ON number = metadata AND CAST(number AS TEXT) = metadata
         WHERE position > ?1 AND position <= ?2 ORDER BY position",
        select.join(", ")
    ))?;
    let mut written = 0;
    while written < head {
        let until = (written + ROWS as i64).min(head);
        let until = if written < state_at { until.min(state_at) } else { until };
        let mut rows = select.query([written, until])?;
        let mut columns = Columns::of(events);
        while let Some(row) = rows.next()? {
            columns.push(row, &names)?;
        }
        if columns.rows as i64 != until - written {
            return Err(stored(format!("positions are missing after {written}: run `ledgerway verify`")));
        }
        columns.insert(copy).await?;
        copy.execute(sqlx::query(INSERT_BATCH).bind(written + 1).bind(until).bind(NODE).bind(state_at)).await?;
        written = until;
        progress(written.unsigned_abs(), head.unsigned_abs());
    }
    Ok(())
}

/// The names of the stored contexts, by their number in the embedded ledger.
fn context_names(ledger: &Ledger) -> Result<HashMap<i64, Uuid>, LogError> {
    let mut select = ledger.prepare("SELECT number, context FROM contexts")?;
    let names = select.query_map([], |row| Ok((row.get(0)?, name_of(&row.get::<_, String>(1)?))))?;
    Ok(names.collect::<Result<_, _>>()?)
}

async fn copy_table(ledger: &Ledger, copy: &mut CopyTransaction<'_>, table: &Table) -> Result<(), LogError> {
    let select: Vec<String> = table.columns.iter().map(embedded).collect();
    let mut select = ledger.prepare(&format!("SELECT {} FROM {}", select.join(", "), table.name))?;
    let mut rows = select.query([])?;
    let mut columns = Columns::of(table);
    while let Some(row) = rows.next()? {
        columns.push(row, &HashMap::new())?;
        if columns.rows == ROWS {
            std::mem::replace(&mut columns, Columns::of(table)).insert(copy).await?;
        }
    }
    columns.insert(copy).await
}

/// The expression of a column in the embedded ledger.
fn embedded(Column { name, data_type }: &Column) -> String {
    match data_type.as_str() {
        // The name of a context is made from it.
        "uuid" => "context".to_owned(),
        // Up to 127 bits: sent as digits.
        "numeric" => format!("CAST({name} AS TEXT)"),
        _ => name.clone(),
    }
}

/// The expression of an event's column in the embedded ledger, whose metadata is a context or the number of one.
fn embedded_in_event(name: &str) -> &str {
    match name {
        "metadata" => "CASE WHEN number IS NULL THEN metadata END",
        "context" => "number",
        name => name,
    }
}

/// The rows of one statement, by column.
struct Columns<'a> {
    table: &'a Table,
    values: Vec<Array>,
    rows: usize,
}

/// The values of one column.
enum Array {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Bytes(Vec<Option<Vec<u8>>>),
    Uuid(Vec<Option<Uuid>>),
}

impl<'a> Columns<'a> {
    fn of(table: &'a Table) -> Self {
        let array = |column: &Column| match column.data_type.as_str() {
            "bigint" | "integer" => Array::Integer(Vec::new()),
            "bytea" => Array::Bytes(Vec::new()),
            "uuid" => Array::Uuid(Vec::new()),
            _ => Array::Text(Vec::new()),
        };
        Self { table, values: table.columns.iter().map(array).collect(), rows: 0 }
    }

    /// Adds a row of the embedded ledger. `names` has the names of contexts that are numbers there.
    fn push(&mut self, row: &Row<'_>, names: &HashMap<i64, Uuid>) -> Result<(), LogError> {
        for (number, values) in self.values.iter_mut().enumerate() {
            let value = row.get_ref(number)?;
            match values {
                Array::Text(values) => values.push(value.as_str_or_null().map_err(stored)?.map(str::to_owned)),
                Array::Integer(values) => values.push(value.as_i64_or_null().map_err(stored)?),
                Array::Bytes(values) => values.push(value.as_blob_or_null().map_err(stored)?.map(<[u8]>::to_vec)),
                Array::Uuid(values) => values.push(match value {
                    ValueRef::Integer(number) => names.get(&number).copied(),
                    text => text.as_str_or_null().map_err(stored)?.map(name_of),
                }),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes the rows, if there are any.
    async fn insert(self, copy: &mut CopyTransaction<'_>) -> Result<(), LogError> {
        if self.rows == 0 {
            return Ok(());
        }
        let Table { name, columns } = self.table;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let values: Vec<String> =
            columns.iter().map(|Column { name, data_type }| format!("{name}::{data_type}")).collect();
        let arrays = (1..).zip(columns).map(|(number, column)| format!("${number}::{}[]", sent_as(&column.data_type)));
        let arrays: Vec<String> = arrays.collect();
        let (names, values, arrays) = (names.join(", "), values.join(", "), arrays.join(", "));
        let sql =
            format!("INSERT INTO ledger.{name} ({names}) SELECT {values} FROM UNNEST({arrays}) AS copied ({names})");
        copy.execute(self.values.into_iter().fold(sqlx::query(&sql), Array::bind)).await
    }
}

/// The type in which a value of this type is sent.
fn sent_as(data_type: &str) -> &str {
    match data_type {
        "numeric" => "text",
        "integer" => "bigint",
        data_type => data_type,
    }
}

impl Array {
    fn bind(query: Query<'_, Postgres, PgArguments>, values: Self) -> Query<'_, Postgres, PgArguments> {
        match values {
            Self::Text(values) => query.bind(values),
            Self::Integer(values) => query.bind(values),
            Self::Bytes(values) => query.bind(values),
            Self::Uuid(values) => query.bind(values),
        }
    }
}

fn refused(message: String) -> LogError {
    EngineError { kind: EngineErrorKind::Data, message }.into()
}

#[cfg(test)]
mod tests;
