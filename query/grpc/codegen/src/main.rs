//! Makes the messages of the gRPC services from their .proto files, without `protoc`, the clients that tests call them with, and
//! the descriptors that reflection serves. Run it after each change of a .proto file:
//!
//! ```sh
//! cargo run --manifest-path query/grpc/codegen/Cargo.toml
//! ```
//!
//! `SHA256SUMS` says what was made of what, and a test of the crate `grpc` compares it with the files.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use prost::Message;
use sha2::{Digest, Sha256};

const PROTO_FILES: [&str; 2] = ["ledgerway/v1/events.proto", "ledgerway/v1/usage.proto"];
const PROTOS: &str = "proto";
const GENERATED: &str = "src/generated";
/// Beside the product, which calls nobody.
const CLIENTS: &str = "tests/clients";
const CODE: &str = "ledgerway.v1.rs";
const DESCRIPTORS: &str = "descriptors.bin";
const SUMS: &str = "SHA256SUMS";

fn main() -> Result<(), Box<dyn Error>> {
    let grpc = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("a folder above")?;
    let [protos, generated, clients] = [PROTOS, GENERATED, CLIENTS].map(|folder| grpc.join(folder));
    let mut descriptors = protox::compile(PROTO_FILES, [&protos])?;
    let code = || tonic_prost_build::configure().build_transport(false);
    code().build_client(false).build_server(false).out_dir(&generated).compile_fds(descriptors.clone())?;
    let of_tests = code().build_server(false).extern_path(".ledgerway.v1", "::grpc::proto");
    of_tests.out_dir(&clients).compile_fds(descriptors.clone())?;
    let made = [&generated, &clients].map(|folder| folder.join(CODE));
    if !Command::new("rustfmt").args(["--edition", "2024"]).args(made).status()?.success() {
        return Err("rustfmt failed".into());
    }
    // Comments and the places in the files are of no use to a client, and more than the rest.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    fs::write(generated.join(DESCRIPTORS), descriptors.encode_to_vec())?;
    let mut sums = String::new();
    let files = PROTO_FILES.map(|file| (PROTOS, file)).into_iter();
    for (folder, file) in files.chain([(GENERATED, CODE), (GENERATED, DESCRIPTORS), (CLIENTS, CODE)]) {
        let file = format!("{folder}/{file}");
        for byte in Sha256::digest(fs::read(grpc.join(&file))?) {
            write!(sums, "{byte:02x}")?;
        }
        writeln!(sums, "  {file}")?;
    }
    fs::write(generated.join(SUMS), sums)?;
    Ok(())
}
