//! The distribution's nginx as a plain proxy to the same upstream, with its configuration in a temporary folder.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::process::Processes;
use tempfile::TempDir;

/// The program, and Debian's place for it, which is not on every user's path.
const NAMES: [&str; 2] = ["nginx", "/usr/sbin/nginx"];
const READY_MAX: Duration = Duration::from_secs(10);

pub struct Nginx {
    process: Child,
    /// The port that buffers responses, as nginx does by default.
    pub whole: SocketAddr,
    /// The port that passes on bytes as they arrive.
    pub streams: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Errors: nginx is not installed, with the command that installs it; or it did not start.
    pub fn start(upstream: SocketAddr) -> Result<Self, String> {
        let program = installed().ok_or(
            "nginx is not installed: `apt-get install --no-install-recommends nginx-light`, or leave it out with \
             OVERHEAD_NGINX=0",
        )?;
        let folder = tempfile::tempdir().map_err(|error| format!("make a folder for nginx: {error}"))?;
        let ports = [free_port(), free_port()].map(|port| port.map_err(|error| format!("find a port: {error}")));
        let [whole, streams] = ports;
        let (whole, streams) = (whole?, streams?);
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(folder.path(), upstream, whole, streams))
            .map_err(|error| format!("write {}: {error}", file.display()))?;
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.path())
            .args(["-e", "error.log"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("start {program}: {error}"))?;
        let mut nginx = Self { process, whole, streams, folder };
        nginx.wait_until_listening()?;
        Ok(nginx)
    }

    /// The master and its workers.
    pub fn processes(&self) -> Processes {
        Processes::with_children(self.process.id())
    }

    fn wait_until_listening(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < READY_MAX {
            if let Ok(Some(status)) = self.process.try_wait() {
                let log = fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
                return Err(format!("nginx ended with {status}: {log}"));
            }
            // The master listens before its workers accept.
            let has_workers = self.processes().count() > 1;
            if has_workers && [self.whole, self.streams].iter().all(|address| TcpStream::connect(address).is_ok()) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("nginx does not listen within {READY_MAX:?}"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM also ends the workers, which SIGKILL would leave behind.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}

fn installed() -> Option<&'static str> {
    let runs = |name: &&str| {
        Command::new(name)
            .arg("-v")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|ended| ended.success())
    };
    NAMES.into_iter().find(runs)
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Connections on both sides stay open for the whole run, and responses of this size are never written to a file.
fn configuration(folder: &Path, upstream: SocketAddr, whole: SocketAddr, streams: SocketAddr) -> String {
    let folder = folder.display();
    let server = |listen: SocketAddr, buffering: &str| {
        format!(
            "server {{ listen {listen} backlog=1024; location / {{
               proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection \"\";
               proxy_buffering {buffering}; proxy_read_timeout 300s; }} }}"
        )
    };
    format!(
        "daemon off; worker_processes auto; worker_rlimit_nofile 8192; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; tcp_nodelay on; keepalive_timeout 300s; keepalive_requests 1000000000;
           client_body_buffer_size 1m; client_max_body_size 32m;
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
           uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
           upstream upstream {{
             server {upstream}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 300s;
           }}
           {}
           {}
         }}\n",
        server(whole, "on"),
        server(streams, "off"),
    )
}
