//! The test's hand on `fault.c`: builds it, loads it into a gateway, and says what goes wrong.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::gateway::Gateway;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/blackbox/trouble/fault.c");

pub const EIO: i64 = 5;
pub const ENOSPC: i64 = 28;
pub const EROFS: i64 = 30;

// Where the fields of the page are.
const WRITE_ERRNO: u64 = 0;
const SYNC_ERRNO: u64 = 8;
const STALL_MS: u64 = 16;
const SHIFT_MS: u64 = 24;
const WRITES_FAILED: u64 = 32;
const SYNCS_FAILED: u64 = 40;
const SYNCS_STALLED: u64 = 48;
const TARGET: u64 = 256;
const PAGE: u64 = 4096;

/// Faults for one gateway. In front of the gateway, so that it goes after it.
pub struct Fault {
    folder: TempDir,
    page: File,
}

impl Fault {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("fault.so"))
            .args([SOURCE, "-ldl", "-lpthread"])
            .output()
            .expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let page = File::create_new(folder.path().join("page")).expect("the page");
        page.set_len(PAGE).expect("its length");
        for name in ["shadow", "gateway"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let fault = Self { folder, page };
        fault.aim_at("gateway/data/");
        fault
    }

    /// A gateway whose data folder is hit.
    pub fn start(&self, env: &[(&'static str, &str)]) -> Gateway {
        let at = |name: &str| self.folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
        let (library, page, shadow) = (at("fault.so"), at("page"), at("shadow"));
        let mut all = vec![("LD_PRELOAD", &*library), ("FAULT_CONTROL", &*page), ("FAULT_SHADOW", &*shadow)];
        all.extend(env);
        Gateway::start_in(&self.folder.path().join("gateway"), &all)
    }

    /// Returns the disk's copy of the ledger after a power failure now.
    pub fn shadow(&self) -> PathBuf {
        self.folder.path().join("shadow")
    }

    /// Files whose path contains this, or ends with what is before a `$` at its end, instead of all that the gateway has.
    pub fn aim_at(&self, target: &str) {
        let mut bytes = target.as_bytes().to_vec();
        bytes.resize(256, 0);
        self.page.write_all_at(&bytes, TARGET).expect("the target");
    }

    pub fn fail_writes(&self, errno: i64) {
        self.set(WRITE_ERRNO, errno);
    }

    pub fn fail_syncs(&self, errno: i64) {
        self.set(SYNC_ERRNO, errno);
    }

    pub fn stall_syncs_ms(&self, millis: i64) {
        self.set(STALL_MS, millis);
    }

    /// The wall clock shows so much more than it is.
    pub fn shift_clock_s(&self, seconds: i64) {
        self.set(SHIFT_MS, seconds * 1000);
    }

    pub fn heal(&self) {
        for field in [WRITE_ERRNO, SYNC_ERRNO, STALL_MS, SHIFT_MS] {
            self.set(field, 0);
        }
    }

    pub fn writes_failed(&self) -> i64 {
        self.get(WRITES_FAILED)
    }

    pub fn syncs_failed(&self) -> i64 {
        self.get(SYNCS_FAILED)
    }

    pub fn syncs_stalled(&self) -> i64 {
        self.get(SYNCS_STALLED)
    }

    fn set(&self, field: u64, value: i64) {
        self.page.write_all_at(&value.to_ne_bytes(), field).expect("the page is written");
    }

    fn get(&self, field: u64) -> i64 {
        let mut value = [0; 8];
        self.page.read_exact_at(&mut value, field).expect("the page is read");
        i64::from_ne_bytes(value)
    }
}

/// A copy of a folder's databases, as they are.
pub fn copied(from: &Path) -> TempDir {
    let to = tempfile::tempdir().expect("a folder");
    for file in std::fs::read_dir(from).expect("the folder").flatten() {
        let name = file.file_name();
        // The index beside a write-ahead log is made anew from it, as after a power failure.
        if file.path().is_file() && !name.to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), to.path().join(name)).expect("a copy");
        }
    }
    to
}
