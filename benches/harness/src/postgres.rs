//! The settings of a [`TestServer`](testing::postgres::TestServer) for benchmarks, and sessions of the same kind as the
//! ledger's, to compare with.

use std::io;
use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::runtime::{Builder, Runtime};

use crate::figures::per_mille;

/// Settings as an operator would choose them. All others are PostgreSQL's own.
pub const SETTINGS: [&str; 3] = ["shared_buffers = 1GB", "max_wal_size = 4GB", "checkpoint_timeout = 15min"];
/// The length of an event with its context.
const ROW_BYTES: usize = 400;

pub struct Session {
    // Declared before the runtime, so that it is dropped first.
    connection: PgConnection,
    runtime: Runtime,
}

impl Session {
    /// Opens a session in the database at this address.
    pub fn open(database: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let connection = runtime.block_on(PgConnection::connect(database)).map_err(io::Error::other)?;
        Ok(Self { connection, runtime })
    }

    pub fn run(&mut self, sql: &str) -> io::Result<()> {
        let Self { connection, runtime } = self;
        runtime.block_on(sqlx::raw_sql(sql).execute(connection)).map(drop).map_err(io::Error::other)
    }

    /// The median time of inserting one row in its own transaction.
    pub fn commit(&mut self, time: Duration) -> io::Result<Duration> {
        self.run(
            "CREATE TABLE IF NOT EXISTS reference (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, row text)",
        )?;
        let Self { connection, runtime } = self;
        let (row, until, mut samples) = ("x".repeat(ROW_BYTES), Instant::now() + time, Vec::new());
        runtime.block_on(async {
            while Instant::now() < until {
                let sent = Instant::now();
                let insert = sqlx::query("INSERT INTO reference (row) VALUES ($1)").bind(&row);
                insert.execute(&mut *connection).await.map_err(io::Error::other)?;
                samples.push(sent.elapsed());
            }
            Ok(per_mille(&mut samples, 500))
        })
    }
}
