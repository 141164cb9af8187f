//! Copies an embedded ledger into an empty shared one, row by row and as it is stored: events keep their position, time and
//! text, and everything next to them is copied too. All in one transaction: a shared ledger has all of it or nothing.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection as Ledger;
use rusqlite::types::ValueRef;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::runtime::Builder;
use uuid::Uuid;

use super::contexts::name_of;
use super::database::Database;
use super::read::stored;
use super::schema;
use crate::log::engine::sqlite;
use crate::log::{EngineError, EngineErrorKind, LogError};

/// Events in one batch of the shared ledger, and rows in one statement.
const ROWS: usize = 1_000;
/// How long one statement may take, and the time between two.
const STATEMENT_MAX: Duration = Duration::from_secs(60);
/// Who appended the batches.
const NODE: &str = "moved";

/// A table that is copied as it is: its name, and its columns with their types in the shared ledger.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

/// Everything next to the events. `contexts` and the batches are made from the events' own rows.
const TABLES: [Table; 14] = [
    Table {
        name: "balances",
        columns: &[
            ("budget_id", "text"),
            ("window_start", "bigint"),
            ("limit_nanos", "bigint"),
            ("settled", "numeric"),
            ("held", "numeric"),
            ("announced", "text"),
            ("position", "bigint"),
        ],
    },
    Table {
        name: "open_holds",
        columns: &[("request_id", "text"), ("held", "bigint"), ("expires_at", "bigint"), ("hold", "text")],
    },
    Table { name: "owner_blocks", columns: &[("owner", "text"), ("block", "bigint")] },
    Table {
        name: "idempotency",
        columns: &[
            ("scope", "text"),
            ("key", "text"),
            ("fingerprint", "bytea"),
            ("status", "bigint"),
            ("body", "text"),
            ("position", "bigint"),
            ("recorded_at", "bigint"),
        ],
    },
    Table {
        name: "inference_keys",
        columns: &[
            ("tenant", "text"),
            ("key", "text"),
            ("fingerprint", "bytea"),
            ("request_id", "text"),
            ("recorded_at", "bigint"),
        ],
    },
    Table { name: "names", columns: &[("kind", "text"), ("scope", "text"), ("name", "text"), ("owner", "text")] },
    Table {
        name: "personal_data",
        columns: &[("subject", "text"), ("name", "text"), ("email", "text"), ("salt", "bytea")],
    },
    Table { name: "client_addresses", columns: &[("request_id", "text"), ("ip", "text"), ("user_agent", "text")] },
    Table {
        name: "key_secrets",
        columns: &[("key_id", "text"), ("generation", "bigint"), ("salt", "bytea"), ("hash", "bytea")],
    },
    Table {
        name: "sealed_secrets",
        columns: &[("subject", "text"), ("generation", "bigint"), ("key_scope", "text"), ("sealed", "bytea")],
    },
    Table { name: "wrapped_keys", columns: &[("scope", "text"), ("wrapped", "bytea")] },
    Table { name: "nodes", columns: &[("node", "text"), ("recipient", "text"), ("serves", "text"), ("tag", "bytea")] },
    Table { name: "tenant_keys", columns: &[("tenant", "text"), ("node", "text"), ("wrapped", "bytea")] },
    Table { name: "contexts", columns: &[("id", "uuid"), ("context", "text")] },
];

/// The columns of an event.
const EVENTS: Table = Table {
    name: "events",
    columns: &[
        ("position", "bigint"),
        ("recorded_at", "bigint"),
        ("aggregate_type", "text"),
        ("aggregate_id", "text"),
        ("sequence", "bigint"),
        ("event_type", "text"),
        ("event_version", "text"),
        ("payload", "text"),
        ("metadata", "text"),
        ("context", "uuid"),
    ],
};

/// Copies the ledger of a file, which nobody must serve meanwhile, into a shared ledger without events. Calls `progress` with
/// the position that is written and the last one. Returns the last position. Blocking, and not for threads of async tasks.
///
/// Errors: nothing is copied. [`LogError::OtherSchema`] if one of the two was not migrated to this version.
pub fn copy_to_shared(ledger: &Path, database: &Database, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, LogError> {
    let mut ledger = sqlite::open_rows(ledger)?;
    let ledger = ledger.transaction()?;
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| refused(format!("cannot start a runtime: {error}")))?;
    let statement_max = format!("{}s", STATEMENT_MAX.as_secs());
    let limits = ["statement_timeout", "idle_in_transaction_session_timeout"].map(|name| (name, &statement_max));
    let options = database.options().clone().options(limits);
    runtime.block_on(async {
        let mut connection = options.connect().await?;
        schema::must_fit(&mut connection).await?;
        let mut copy = connection.begin().await?;
        must_be_empty(&mut copy).await?;
        let head = copy_all(&ledger, &mut copy, progress).await?;
        copy.commit().await.map_err(|error| LogError::Commit(error.to_string()))?;
        Ok(head)
    })
}

/// Keeps others from appending until the transaction ends, and refuses a ledger that has events.
async fn must_be_empty(copy: &mut PgConnection) -> Result<(), LogError> {
    const LOCK: &str = "LOCK TABLE ledger.batches IN SHARE ROW EXCLUSIVE MODE";
    const HAS_EVENTS: &str = "SELECT EXISTS (SELECT FROM ledger.batches WHERE first > 0)";
    sqlx::query(LOCK).execute(&mut *copy).await?;
    if sqlx::query_scalar(HAS_EVENTS).fetch_one(copy).await? {
        return Err(refused("the shared ledger has events already".to_owned()).into());
    }
    Ok(())
}

async fn copy_all(
    ledger: &Ledger,
    copy: &mut PgConnection,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, LogError> {
    let position = |sql| ledger.query_row(sql, [], |row| row.get::<_, i64>(0));
    let head = position("SELECT coalesce(max(position), 0) FROM events")?;
    let state_at = position("SELECT position FROM ledger_checkpoint")?;
    let revaluation_after = position("SELECT after FROM revaluation_begins")?;
    copy_events(ledger, copy, (state_at, head), progress).await?;
    for table in &TABLES {
        copy_table(ledger, copy, table).await?;
    }
    for (sql, value) in [
        ("UPDATE ledger.ledger_checkpoint SET position = $1", state_at),
        ("UPDATE ledger.revaluation_begins SET after = $1", revaluation_after),
    ] {
        sqlx::query(sql).bind(value).execute(&mut *copy).await?;
    }
    u64::try_from(head).map_err(stored)
}

/// Copies the events in batches, one of which ends where the rows of the state do.
async fn copy_events(
    ledger: &Ledger,
    copy: &mut PgConnection,
    (state_at, head): (i64, i64),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), LogError> {
    const SELECT: &str = "
        SELECT position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version, payload,
               CASE WHEN number IS NULL THEN metadata END, number
        FROM events LEFT JOIN contexts ON number = metadata AND CAST(number AS TEXT) = metadata
        WHERE position > ?1 AND position <= ?2 ORDER BY position";
    const INSERT_BATCH: &str = "
        INSERT INTO ledger.batches (first, last, recorded_at, node, token, is_checkpoint)
        SELECT $1, $2, recorded_at, $3, gen_random_uuid(), $2 = $4 FROM ledger.events WHERE position = $2";
    let names = context_names(ledger)?;
    let mut select = ledger.prepare(SELECT)?;
    let mut written = 0;
    while written < head {
        let until = (written + ROWS as i64).min(head);
        let until = if written < state_at { until.min(state_at) } else { until };
        let mut rows = select.query([written, until])?;
        let mut columns = Columns::of(&EVENTS);
        while let Some(row) = rows.next()? {
            columns.push(|column| match (column, row.get_ref(column)?) {
                (9, ValueRef::Integer(number)) => Ok(Value::Uuid(names.get(&number).copied())),
                (_, value) => Ok(Value::Stored(value)),
            })?;
        }
        if columns.rows as i64 != until - written {
            return Err(stored(format!("positions are missing after {written}: run `ledgerway verify`")));
        }
        columns.insert(copy).await?;
        let batch = sqlx::query(INSERT_BATCH).bind(written + 1).bind(until).bind(NODE).bind(state_at);
        batch.execute(&mut *copy).await?;
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

async fn copy_table(ledger: &Ledger, copy: &mut PgConnection, table: &Table) -> Result<(), LogError> {
    let select: Vec<String> = table.columns.iter().map(embedded).collect();
    let mut select = ledger.prepare(&format!("SELECT {} FROM {}", select.join(", "), table.name))?;
    let mut rows = select.query([])?;
    let mut columns = Columns::of(table);
    while let Some(row) = rows.next()? {
        columns.push(|column| match table.columns.get(column) {
            Some((_, "uuid")) => Ok(Value::Uuid(Some(name_of(row.get_ref(column)?.as_str().map_err(stored)?)))),
            _ => Ok(Value::Stored(row.get_ref(column)?)),
        })?;
        if columns.rows == ROWS {
            std::mem::replace(&mut columns, Columns::of(table)).insert(copy).await?;
        }
    }
    columns.insert(copy).await
}

/// The expression of a column in the embedded ledger.
fn embedded((column, kind): &(&str, &str)) -> String {
    match *kind {
        // The name of a context is made from it.
        "uuid" => "context".to_owned(),
        // Up to 127 bits: sent as digits.
        "numeric" => format!("CAST({column} AS TEXT)"),
        _ => (*column).to_owned(),
    }
}

/// A value of a row.
enum Value<'a> {
    Stored(ValueRef<'a>),
    Uuid(Option<Uuid>),
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
        let array = |(_, kind): &(&str, &str)| match *kind {
            "bigint" => Array::Integer(Vec::new()),
            "bytea" => Array::Bytes(Vec::new()),
            "uuid" => Array::Uuid(Vec::new()),
            _ => Array::Text(Vec::new()),
        };
        Self { table, values: table.columns.iter().map(array).collect(), rows: 0 }
    }

    /// Adds a row, whose columns `value` reads.
    fn push<'row>(&mut self, value: impl Fn(usize) -> Result<Value<'row>, LogError>) -> Result<(), LogError> {
        for (column, values) in self.values.iter_mut().enumerate() {
            match (values, value(column)?) {
                (Array::Uuid(values), Value::Uuid(name)) => values.push(name),
                (Array::Uuid(values), Value::Stored(ValueRef::Null)) => values.push(None),
                (Array::Text(values), Value::Stored(value)) => {
                    values.push(value.as_str_or_null().map_err(stored)?.map(str::to_owned));
                }
                (Array::Integer(values), Value::Stored(value)) => {
                    values.push(value.as_i64_or_null().map_err(stored)?);
                }
                (Array::Bytes(values), Value::Stored(value)) => {
                    values.push(value.as_blob_or_null().map_err(stored)?.map(<[u8]>::to_vec));
                }
                (Array::Uuid(_), Value::Stored(_)) | (_, Value::Uuid(_)) => {
                    return Err(stored(format!("a value of another type in {}", self.table.name)));
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes the rows, if there are any.
    async fn insert(self, copy: &mut PgConnection) -> Result<(), LogError> {
        if self.rows == 0 {
            return Ok(());
        }
        let Table { name, columns } = self.table;
        let names: Vec<&str> = columns.iter().map(|(column, _)| *column).collect();
        let values: Vec<String> = columns.iter().map(|(column, kind)| format!("{column}::{kind}")).collect();
        let arrays = (1..).zip(*columns).map(|(number, (_, kind))| format!("${number}::{}[]", sent_as(kind)));
        let arrays: Vec<String> = arrays.collect();
        let (names, values, arrays) = (names.join(", "), values.join(", "), arrays.join(", "));
        let sql =
            format!("INSERT INTO ledger.{name} ({names}) SELECT {values} FROM UNNEST({arrays}) AS copied ({names})");
        let query = self.values.into_iter().fold(sqlx::query(&sql), Array::bind);
        query.execute(copy).await?;
        Ok(())
    }
}

/// The type in which a value of this type is sent.
fn sent_as(kind: &str) -> &str {
    if kind == "numeric" { "text" } else { kind }
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

fn refused(message: String) -> EngineError {
    EngineError { kind: EngineErrorKind::Data, message }
}
