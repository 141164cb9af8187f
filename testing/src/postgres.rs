//! Databases for tests, on the PostgreSQL that `tests/postgres` starts.

use std::env;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// The variable with the address of the server.
const SERVER: &str = "LEDGERWAY_TEST_POSTGRES";

/// The user belongs to all databases of the server, so that tests create it at the same time.
const CREATE_GATEWAY: &str = "DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ledgerway_test_gateway') THEN
        CREATE ROLE ledgerway_test_gateway LOGIN PASSWORD 'gateway' IN ROLE ledgerway_gateway;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$";

/// A database of one test, empty at first. It is dropped with this value, whoever is still connected to it.
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Creates a database with a random name. Blocking.
    ///
    /// # Panics
    ///
    /// If there is no server.
    pub fn create() -> Self {
        let Ok(server) = env::var(SERVER) else {
            panic!("this test needs a PostgreSQL: export {SERVER}=\"$(tests/postgres start)\"");
        };
        Self::on(server.parse().unwrap_or_else(|error| panic!("{SERVER}: {error}")))
    }

    fn on(server: PgConnectOptions) -> Self {
        let database = Self { server, name: random_name() };
        // Its locale orders texts unlike their bytes, as those of users may.
        let locale = "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'";
        run(&database.server, &format!("CREATE DATABASE {} {locale}", database.name)).expect("a database");
        database
    }

    /// The address of the database.
    pub fn url(&self) -> String {
        self.options().to_url_lossy().to_string()
    }

    /// The address for a user who may do what `ledgerway migrate` grants to gateways, and nothing else. Blocking.
    ///
    /// # Panics
    ///
    /// If the database was not migrated.
    pub fn gateway_url(&self) -> String {
        self.execute(CREATE_GATEWAY);
        self.options().username("ledgerway_test_gateway").password("gateway").to_url_lossy().to_string()
    }

    /// The address of the database on another port of this machine.
    pub fn url_through(&self, port: u16) -> String {
        self.options().host("127.0.0.1").port(port).to_url_lossy().to_string()
    }

    /// The address of the server, for a proxy.
    pub fn socket(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.server.get_port()).into()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in the database, as its superuser. Blocking.
    pub fn execute(&self, sql: &str) {
        run(&self.options(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The number that a query finds, with the tables of the schema `ledger` by their names. Blocking.
    pub fn number(&self, sql: &str) -> i64 {
        let options = self.options().options([("search_path", "ledger")]);
        let found = blocking(async || {
            let mut connection = options.connect().await?;
            sqlx::query_scalar(sql).fetch_one(&mut connection).await
        });
        found.unwrap_or_else(|error: sqlx::Error| panic!("{sql}: {error}"))
    }

    fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }
}

impl Drop for TestDatabase {
    #[expect(clippy::print_stderr, reason = "the test may be failing already: a panic here would hide why")]
    fn drop(&mut self) {
        if let Err(error) = run(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name)) {
            eprintln!("{} is left over: {error}", self.name);
        }
    }
}

/// A server for one test or benchmark, which may stop it or change its settings. Stopped with this value.
pub struct TestServer {
    folder: PathBuf,
    options: PgConnectOptions,
}

impl TestServer {
    /// Blocking.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not installed.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With settings such as `shared_buffers = 1GB`. Blocking.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not installed, or does not know a setting.
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = env::temp_dir().join(format!("ledgerway-{}", random_name()));
        // Its log must not keep the pipe of the address open.
        let started = script("start", &folder).args(settings).stderr(Stdio::inherit()).output();
        let said = started.expect("tests/postgres");
        assert!(said.status.success(), "tests/postgres start: {}", said.status);
        let address = String::from_utf8(said.stdout).expect("an address");
        Self { folder, options: address.trim().parse().expect("an address") }
    }

    /// The process of the server, whose children are its sessions.
    pub fn id(&self) -> u32 {
        let about = fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("a server that runs");
        about.lines().next().and_then(|line| line.parse().ok()).expect("the number of its process")
    }

    /// Creates a database. It is gone with the server. Blocking.
    pub fn create_database(&self) -> TestDatabase {
        TestDatabase::on(self.options.clone())
    }

    /// Stops the server, as `pg_ctl stop --mode` does, and starts it again. Blocking.
    pub fn restart(&self, mode: &str) {
        let done = script("restart", &self.folder).arg(mode).status().expect("tests/postgres");
        assert!(done.success(), "tests/postgres restart: {done}");
    }

    /// Changes a setting, for all sessions as well. Blocking.
    pub fn set(&self, setting: &str, value: &str) {
        let alter = format!("ALTER SYSTEM SET {setting} = {value}");
        // Neither fits into a transaction with the other. The user may have been kept from writing, which this is not.
        for sql in [alter.as_str(), "SELECT pg_reload_conf()"] {
            run(&self.options, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It is left over if this fails, and says so.
        let _ = script("stop", &self.folder).status();
    }
}

fn script(action: &str, folder: &Path) -> Command {
    let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/postgres"));
    script.arg(action).arg(folder);
    script
}

/// A name that no other test has.
pub(crate) fn random_name() -> String {
    format!("test_{:016x}", RandomState::new().build_hasher().finish())
}

fn run(options: &PgConnectOptions, sql: &str) -> Result<(), sqlx::Error> {
    blocking(async || {
        let mut connection = options.connect().await?;
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        connection.close().await
    })
}

/// On a thread of its own, because most tests are in a runtime, which must not be blocked by another.
fn blocking<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    };
    thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
}
