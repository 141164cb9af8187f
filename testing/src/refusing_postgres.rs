//! A server that refuses its clients before their sessions begin, as a PostgreSQL does, or what stands before one.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::ServerConnection;

use crate::upstream::mock::tls;

#[derive(Clone, Copy)]
pub enum Refusal {
    /// The server speaks no TLS.
    NoTls,
    /// The server shows the certificate of the mocks, which is for `localhost` and 127.0.0.1.
    Certificate,
    /// An error of the server.
    Error { sqlstate: &'static str, message: &'static str },
}

/// Refuses all clients of a new port. Its thread ends with the process. Returns the port.
///
/// # Panics
///
/// If there is no free port.
pub fn start(host: Ipv4Addr, refusal: Refusal) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // The client may leave first.
            let _ = refuse(client, refusal);
        }
    });
    port
}

fn refuse(mut client: TcpStream, refusal: Refusal) -> io::Result<()> {
    // The first message begins with its length: it asks for TLS, or has the settings of the session.
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    io::copy(&mut (&client).take(u64::from(u32::from_be_bytes(length).saturating_sub(4))), &mut io::sink())?;
    match refusal {
        Refusal::NoTls => client.write_all(b"N"),
        Refusal::Certificate => {
            client.write_all(b"S")?;
            let mut session = ServerConnection::new(Arc::new(tls::config())).map_err(io::Error::other)?;
            while session.is_handshaking() {
                session.complete_io(&mut client)?;
            }
            Ok(())
        }
        Refusal::Error { sqlstate, message } => {
            let fields = format!("SFATAL\0VFATAL\0C{sqlstate}\0M{message}\0\0");
            let length = u32::try_from(fields.len() + 4).map_err(io::Error::other)?;
            client.write_all(&[b"E", length.to_be_bytes().as_slice(), fields.as_bytes()].concat())
        }
    }
}
