//! Makes sure that `web/dist` exists, so that a bare `cargo build` works before the gallery was ever built.
//!
//! The gallery itself is built by npm; the binary then embeds what it finds (`src/http/assets.rs`).

use std::path::Path;
use std::{env, fs};

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the package's folder");
    let dist = Path::new(&root).join("web/dist");
    if !dist.is_dir() {
        fs::create_dir_all(&dist).expect("web/dist can be created");
    }
    if !dist.join("index.html").is_file() {
        println!(
            "cargo::warning=the gallery is not built, so this binary serves a page that says so; \
             build it with: npm --prefix web ci && npm --prefix web run build"
        );
    }
    println!("cargo::rerun-if-changed=web/dist");
}
