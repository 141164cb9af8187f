//! The messages of `proto/ledgerway/v1`. Do not edit `generated/`, nor the clients in `tests/clients/`: `query/grpc/codegen` makes both.

#![allow(clippy::all, reason = "generated")]

include!("generated/ledgerway.v1.rs");

/// The descriptors of the files and of all that they import.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use events::hex;
    use ring::digest::{SHA256, digest};

    /// SHA-256 of the generated code and of its sources, as `sha256sum` writes them.
    const SUMS: &str = include_str!("generated/SHA256SUMS");

    fn files_below(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn the_generated_code_is_that_of_the_proto_files() {
        let grpc = Path::new(env!("CARGO_MANIFEST_DIR"));
        let present =
            ["proto", "src/generated", "tests/clients"].map(|folder| files_below(&grpc.join(folder))).concat();
        let name = |path: &PathBuf| path.strip_prefix(grpc).unwrap().to_str().unwrap().to_owned();
        let present: BTreeSet<_> = present.iter().map(name).filter(|file| !file.ends_with("SHA256SUMS")).collect();
        let sum = |file: &String| hex::lower(digest(&SHA256, &fs::read(grpc.join(file)).unwrap()).as_ref());
        let sums: BTreeSet<_> = present.iter().map(|file| format!("{}  {file}", sum(file))).collect();
        let recorded = SUMS.lines().map(str::to_owned).collect();
        assert_eq!(sums, recorded, "run `cargo run --manifest-path query/grpc/codegen/Cargo.toml`");
    }
}
