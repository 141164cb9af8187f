//! A PostgreSQL for one benchmark, as an operator would set it up, and sessions of the same kind as the ledger's, to compare with.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::runtime::{Builder, Runtime};

use crate::figures::per_mille;
use crate::process::Processes;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/postgres");
/// All other settings are PostgreSQL's own.
pub const SETTINGS: [&str; 3] = ["shared_buffers = 1GB", "max_wal_size = 4GB", "checkpoint_timeout = 15min"];
/// As long as an event with its context.
const ROW_BYTES: usize = 400;

pub struct Server {
    folder: PathBuf,
    options: PgConnectOptions,
    process: u32,
}

impl Server {
    /// Starts it with its data in a new folder within `root`, which its own user must be able to enter.
    pub fn start(root: &Path) -> io::Result<Self> {
        let folder = root.join(format!("bench-postgres-{}", std::process::id()));
        let started = Command::new(PROGRAM).arg("start").arg(&folder).args(SETTINGS).output()?;
        if !started.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&started.stderr).into_owned()));
        }
        let address = String::from_utf8_lossy(&started.stdout);
        let options = PgConnectOptions::from_str(address.trim()).map_err(io::Error::other)?;
        let numbers = std::fs::read_to_string(folder.join("data/postmaster.pid"))?;
        let process = numbers.lines().next().and_then(|line| line.parse().ok());
        let process = process.ok_or_else(|| io::Error::other("the server has no process"))?;
        Ok(Self { folder, options, process })
    }

    /// Creates an empty database. Returns its address.
    pub fn create_database(&self, name: &str) -> io::Result<String> {
        self.session("postgres")?.run(&format!("CREATE DATABASE {name}"))?;
        Ok(self.options.clone().database(name).to_url_lossy().to_string())
    }

    /// A session in one of its databases.
    pub fn session(&self, database: &str) -> io::Result<Session> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let options = self.options.clone().database(database);
        let connection = runtime.block_on(options.connect()).map_err(io::Error::other)?;
        Ok(Session { connection, runtime })
    }

    /// Its process, whose children are the sessions.
    pub const fn id(&self) -> u32 {
        self.process
    }

    /// The server and the sessions that it has now.
    pub fn processes(&self) -> Processes {
        Processes::with_children(self.process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = Command::new(PROGRAM).arg("stop").arg(&self.folder).status();
        assert!(stopped.is_ok_and(|status| status.success()), "the server in {} is left over", self.folder.display());
    }
}

pub struct Session {
    // Declared before the runtime, so that it is dropped first.
    connection: PgConnection,
    runtime: Runtime,
}

impl Session {
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
