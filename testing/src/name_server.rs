//! A name server for names of providers, and a process's settings that name it: a mount that only that process sees, where this is
//! allowed. Names in `hang.test` get no answer, those in `here.test` are this machine's, and no others exist.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// How often each name was asked for its IPv4 addresses.
type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

/// Serves until it is dropped.
pub struct NameServer {
    folder: TempDir,
    asked: Asked,
    _serving: JoinSet<()>,
}

impl NameServer {
    /// `None` if this process may not mount files, or may not listen on port 53.
    pub async fn start() -> Option<Self> {
        // One for each process, and for each server of a process.
        static STARTED: AtomicU8 = AtomicU8::new(77);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, STARTED.fetch_add(1, Ordering::Relaxed), high, low);
        let folder = tempfile::tempdir().expect("a folder");
        // It hangs for longer than the test takes.
        let settings = format!("nameserver {address}\nsearch invalid\noptions timeout:30 attempts:1\n");
        std::fs::write(folder.path().join("resolv.conf"), settings).expect("a file");
        let tried =
            Command::new("sh").args(["-c", &shell_first(&folder).replace("exec \"$0\" \"$@\"", "true")]).status();
        let (Ok(socket), true) = (UdpSocket::bind((address, 53)).await, tried.is_ok_and(|status| status.success()))
        else {
            return None;
        };
        let (asked, mut serving) = (Asked::default(), JoinSet::new());
        serving.spawn(serve(socket, Arc::clone(&asked)));
        Some(Self { folder, asked, _serving: serving })
    }

    /// A shell's words that run the program of its arguments where this name server is the system's.
    pub fn shell_first(&self) -> String {
        shell_first(&self.folder)
    }

    /// How often each name was asked for its IPv4 addresses.
    pub fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().expect("the names").clone()
    }
}

/// A shell's words that run what follows them where its file is the system's.
fn shell_first(folder: &TempDir) -> String {
    let file = folder.path().join("resolv.conf");
    let mount = format!("mount --bind {} /etc/resolv.conf", file.display());
    format!("exec unshare -m sh -c '{mount} && exec \"$0\" \"$@\"' \"$0\" \"$@\"")
}

async fn serve(socket: UdpSocket, asked: Asked) {
    let mut query = [0; 512];
    while let Ok((len, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = query.get(..len).and_then(|query| answer(query, &asked)) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a query, if it gets one.
fn answer(query: &[u8], asked: &Asked) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + len)?).to_lowercase());
        at += len;
    }
    let (name, is_ipv4) = (labels.join("."), query.get(at..at + 2)? == [0, 1]);
    if is_ipv4 {
        *asked.lock().expect("the names").entry(name.clone()).or_default() += 1;
    }
    if name.ends_with("hang.test") {
        return None;
    }
    let (is_missing, has_address) = (!name.ends_with("here.test"), is_ipv4 && name.ends_with("here.test"));
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, if is_missing { 0x83 } else { 0x80 }, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(query.get(12..at + 4)?);
    if has_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
