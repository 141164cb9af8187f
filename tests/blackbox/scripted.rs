//! A server that answers every request as a test says, and remembers what it was sent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub struct ScriptedServer {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stopped: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// `answer` gets the head of a request, and gives the response from its status on: `200 OK\r\nx: y\r\n\r\nbody`, without
    /// the length of the body.
    pub fn start(answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (heads, stopped) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (of_server, is_over) = (Arc::clone(&heads), Arc::clone(&stopped));
        let server = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A caller that leaves is no concern of the server.
                let _ = stream.and_then(|stream| serve(stream, &of_server, &answer));
            }
        });
        Self { address, heads, stopped, server: Some(server) }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of all requests, each beginning with its method and path.
    pub fn heard(&self) -> Vec<String> {
        self.heads.lock().expect("the heads").clone()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn serve(mut stream: TcpStream, heads: &Mutex<Vec<String>>, answer: &impl Fn(&str) -> String) -> std::io::Result<()> {
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
    let response = answer(&head);
    heads.lock().expect("the heads").push(head);
    let (response_head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    let sent = format!("HTTP/1.1 {response_head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(sent.as_bytes())
}
