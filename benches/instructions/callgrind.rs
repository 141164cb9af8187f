//! The gateway under callgrind, which counts the instructions of each thread.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use harness::gateway::Gateway;

const VALGRIND: &str = "valgrind";
const TOOL: [&str; 5] = [VALGRIND, "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes", "--quiet"];
/// Functions that identify the thread that runs them.
const MARKS: [(&str, Room); 3] = [
    ("events_log::writer::LogWriter", Room::Writer),
    ("projections::views::store::Store", Room::Views),
    // The main thread makes the connections that others serve.
    ("http::door::Door::answer_same_origin", Room::RequestPath),
];

/// A part of the gateway with threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    RequestPath,
    Writer,
    Views,
    /// Checkpoints of the databases, threads of queries, and the main thread.
    Other,
}

/// Instructions in user space, by room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Instructions([u64; 4]);

/// A gateway whose instructions are counted between [`Self::begin`] and [`Self::end`].
pub struct Callgrind {
    pub gateway: Gateway,
    /// Dumps so far; callgrind numbers its files with it.
    dumps: u32,
}

impl Room {
    pub const ALL: [Self; 4] = [Self::RequestPath, Self::Writer, Self::Views, Self::Other];

    fn of_thread(dump: &str) -> Self {
        MARKS.iter().find(|(function, _)| dump.contains(function)).map_or(Self::Other, |(_, room)| *room)
    }
}

impl Instructions {
    /// In the order of [`Room::ALL`].
    pub const fn new(counts: [u64; 4]) -> Self {
        Self(counts)
    }

    /// The rooms that work on each request for itself.
    pub const fn by_request(&self) -> u64 {
        self.of(Room::RequestPath) + self.of(Room::Writer)
    }

    /// The rooms that work on batches, or now and then.
    pub const fn in_batches(&self) -> u64 {
        self.of(Room::Views) + self.of(Room::Other)
    }

    pub const fn of(&self, room: Room) -> u64 {
        self.0[room as usize]
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn each(&self, requests: u64) -> Self {
        Self(self.0.map(|count| count / requests.max(1)))
    }

    /// For each room the lower count of the two.
    pub fn lower(&self, other: &Self) -> Self {
        Self(Room::ALL.map(|room| self.of(room).min(other.of(room))))
    }
}

impl Callgrind {
    /// Errors: valgrind is not installed.
    pub fn start(binary: &str, beside: &str) -> Result<Self, String> {
        let version = Command::new(VALGRIND).arg("--version").output();
        version.map_err(|error| format!("{VALGRIND}: {error}: install Debian's package valgrind"))?;
        Ok(Self { gateway: Gateway::start_under(&TOOL, &[], binary, beside), dumps: 0 })
    }

    pub fn begin(&self) -> io::Result<()> {
        self.control(&["-i", "on"])
    }

    /// The instructions since [`Self::begin`].
    ///
    /// Errors: a room has none, so that its threads were counted elsewhere; callgrind cannot be told to write, or its dumps not be read.
    pub fn end(&mut self) -> io::Result<Instructions> {
        self.control(&["-d"])?;
        self.control(&["-i", "off"])?;
        self.dumps += 1;
        let prefix = format!("callgrind.out.{}.{}-", self.gateway.id(), self.dumps);
        let mut counted = Instructions::default();
        for entry in fs::read_dir(self.gateway.folder())? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
                let (room, count) = read_thread(&path)?;
                counted.0[room as usize] += count;
            }
        }
        if let Some((mark, room)) = MARKS.iter().find(|(_, room)| counted.of(*room) == 0) {
            return Err(io::Error::other(format!(
                "no thread of {room:?} was found by the name {mark}: if BENCH_BINARY names no binary that has the names of functions, \
                 build one (docs/benchmarks.md#instructions)"
            )));
        }
        Ok(counted)
    }

    /// Copies the dumps, for `callgrind_annotate`.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(self.gateway.folder())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    fn control(&self, arguments: &[&str]) -> io::Result<()> {
        let output = Command::new("callgrind_control").args(arguments).arg(self.gateway.id().to_string()).output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The room and the instructions of the thread that this dump is of.
fn read_thread(path: &Path) -> io::Result<(Room, u64)> {
    let dump = fs::read_to_string(path)?;
    let total = dump.lines().find_map(|line| line.strip_prefix("totals: "));
    let count = total.and_then(|total| total.trim().parse().ok());
    let count = count.ok_or_else(|| io::Error::other(format!("{} has no total", path.display())))?;
    Ok((Room::of_thread(&dump), count))
}
