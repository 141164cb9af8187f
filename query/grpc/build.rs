//! Makes the code of the services from `proto/`, without `protoc`, and the descriptors that reflection serves.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const FILES: [&str; 2] = ["ledgerway/v1/events.proto", "ledgerway/v1/usage.proto"];
const FOLDER: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut descriptors = protox::compile(FILES, [FOLDER])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    tonic_prost_build::configure().build_transport(false).out_dir(&out).compile_fds(descriptors.clone())?;
    // Comments and the places in the files are of no use to a client, and more than the rest.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    Ok(())
}
