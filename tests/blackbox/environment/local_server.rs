//! A server on this machine that lists its models, as Ollama and as OpenAI-compatible servers do, and answers Ollama's chat.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const ANSWER: &str = r#"{"model":"m","created_at":"2026-11-20T08:00:00Z","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}"#;

pub struct LocalServer {
    address: SocketAddr,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

struct State {
    list: Mutex<String>,
    heads: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl LocalServer {
    /// With this list of its models.
    pub fn start(list: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State {
            list: Mutex::new(list.to_owned()),
            heads: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let of_server = Arc::clone(&state);
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if of_server.stopped.load(Ordering::SeqCst) {
                    return;
                }
                // A caller that leaves is no concern of the server.
                let _ = stream.and_then(|stream| answer(stream, &of_server));
            }
        });
        Self { address, state, server: Some(server) }
    }

    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn lists(&self, list: &str) {
        list.clone_into(&mut self.state.list.lock().expect("the list"));
    }

    /// The heads of all requests.
    pub fn heard(&self) -> Vec<String> {
        self.state.heads.lock().expect("the heads").clone()
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn answer(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let head = loop {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 {
            return Ok(());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8_lossy(&bytes[..end]).into_owned();
        }
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    while bytes.len() < head.len() + 4 + length.unwrap_or_default() {
        let read = stream.read(&mut buffer)?;
        bytes.extend_from_slice(&buffer[..read]);
        if read == 0 {
            break;
        }
    }
    let is_list = head.starts_with("GET /api/tags ") || head.starts_with("GET /v1/models ");
    let body = if is_list { state.list.lock().expect("the list").clone() } else { ANSWER.to_owned() };
    state.heads.lock().expect("the heads").push(head);
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes())
}
