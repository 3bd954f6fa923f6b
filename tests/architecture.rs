//! The invariants of ARCHITECTURE.md, checked on the source text.
//!
//! Reading text rather than the compiler's view is enough: what is checked are names of modules and crates in `use`
//! lines and paths, and every file of the crate is read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors of the crate: a module may name modules of lower floors, and of its own module.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["types", "error", "memory", "config", "telemetry"]),
    (1, &["vision", "vector", "store"]),
    (2, &["segment", "shard"]),
    (3, &["cluster", "dedup"]),
    (4, &["engine"]),
    (5, &["http", "cli"]),
];

/// Neighbours on one floor that may be imported: (importer, imported). `segment` stands under `shard`, and the
/// command line starts the HTTP door.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("shard", "segment"),
    ("cli", "http"),
    ("config", "error"),
    ("types", "error"),
    ("telemetry", "config"),
];

/// Crates that only the named files and folders of `src/` may name.
const CRATE_HOMES: &[(&str, &[&str])] = &[
    ("hnsw_rs", &["vector/growing.rs", "vector/growing/"]),
    ("etcd_client", &["store/metadata/etcd.rs", "store/metadata/etcd/"]),
    (
        "redb",
        &[
            "store/metadata/embedded.rs",
            "store/metadata/embedded/",
            "engine/scan/cache.rs",
        ],
    ),
    ("object_store", &["store/blob.rs", "store/blob/"]),
    ("candle_core", &["vision/"]),
    ("candle_nn", &["vision/"]),
    ("gemm", &["vision/"]),
    ("image", &["vision/"]),
    ("turbojpeg", &["vision/"]),
    ("fast_image_resize", &["vision/"]),
    ("axum", &["http/", "cli/serve.rs"]),
    ("hyper", &["http/"]),
    ("hyper_util", &["http/"]),
    ("clap", &["cli/", "main.rs"]),
    ("indicatif", &["cli/"]),
    ("utoipa", &["http/"]),
    ("trash", &["dedup/apply.rs", "dedup/apply/"]),
];

/// Where `unsafe` may be written.
const UNSAFE_HOMES: &[&str] = &[
    "vector/distance/",
    "vision/network/",
    "vector/frozen/",
    "segment/mapping.rs",
    "shard/background.rs",
];

/// Longest source file, in lines.
const MAX_LINES: usize = 500;

struct Source {
    /// Path below `src/`, with `/` between the parts.
    path: String,
    /// The text without comments and string contents, so that prose does not count as code.
    code: String,
    lines: usize,
}

impl Source {
    /// First part of the path: the top-level module.
    fn module(&self) -> &str {
        self.path
            .split(['/', '.'])
            .next()
            .expect("a path has a first part")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(
        files.len() > 20,
        "the sources were not found under {}",
        root.display()
    );
    files
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a source file is readable text");
            let path = file.strip_prefix(&root).expect("collected below the root");
            Source {
                path: path.to_str().expect("source paths are UTF-8").replace('\\', "/"),
                code: strip_comments_and_strings(&text),
                lines: text.lines().count(),
            }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder is readable") {
        let path = entry.expect("a folder entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
}

/// Blanks `//` and `/* */` comments and the contents of string literals; keeps line breaks.
fn strip_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|&c| c != '\n') {
                    chars.next();
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                let mut previous = ' ';
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push('\n');
                    }
                    if previous == '*' && c == '/' {
                        break;
                    }
                    previous = c;
                }
            }
            '"' => {
                out.push('"');
                let mut escaped = false;
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push('\n');
                    }
                    if c == '"' && !escaped {
                        break;
                    }
                    escaped = c == '\\' && !escaped;
                }
                out.push('"');
            }
            // A quote character literal must not open a string.
            '\'' if chars.peek() == Some(&'"') => {
                chars.next();
                out.push_str("' ");
            }
            _ => out.push(c),
        }
    }
    out
}

/// Identifiers that follow `prefix::` anywhere in the code, groups in braces included (`use crate::{a, b::c}`).
fn named_after(code: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let needle = format!("{prefix}::");
    for (at, _) in code.match_indices(&needle) {
        let word_before = code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_');
        if word_before {
            continue;
        }
        let rest = &code[at + needle.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0_usize;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(identifier(&std::mem::take(&mut item))),
                    _ if depth == 0 => item.push(c),
                    _ => {}
                }
            }
            names.push(identifier(&item));
        } else {
            names.push(identifier(rest));
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn identifier(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn lives_in(path: &str, homes: &[&str]) -> bool {
    homes.iter().any(|home| {
        if home.ends_with('/') {
            path.starts_with(home)
        } else {
            path == *home
        }
    })
}

fn report(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn a_module_imports_only_lower_floors() {
    let floor: BTreeMap<&str, u8> = FLOORS
        .iter()
        .flat_map(|(n, names)| names.iter().map(|name| (*name, *n)))
        .collect();
    let mut broken = Vec::new();
    for source in sources() {
        let module = source.module();
        if matches!(module, "lib" | "main" | "compute") {
            continue;
        }
        let Some(own) = floor.get(module) else {
            broken.push(format!("{}: module `{module}` stands on no floor", source.path));
            continue;
        };
        for name in named_after(&source.code, "crate") {
            let Some(other) = floor.get(name.as_str()) else {
                continue;
            };
            let neighbour = NEIGHBOURS.contains(&(module, name.as_str()));
            if name != module && other >= own && !neighbour {
                broken.push(format!(
                    "{} (floor {own}) names crate::{name} (floor {other})",
                    source.path
                ));
            }
        }
    }
    report(&broken, "a module imports only lower floors");
}

#[test]
fn a_crate_is_named_only_at_home() {
    let mut broken = Vec::new();
    for source in sources() {
        for (name, homes) in CRATE_HOMES {
            let named =
                !named_after(&source.code, name).is_empty() || source.code.contains(&format!("use {name};"));
            // A module of ours can bear a crate's name: `crate::image` or `self::image` is not the crate.
            if named && names_the_crate(&source.code, name) && !lives_in(&source.path, homes) {
                broken.push(format!(
                    "{} names {name}, whose home is {}",
                    source.path,
                    homes.join(", ")
                ));
            }
        }
    }
    report(&broken, "a crate is named only at home");
}

fn names_the_crate(code: &str, name: &str) -> bool {
    let needle = format!("{name}::");
    code.match_indices(&needle).any(|(at, _)| {
        let before = &code[..at];
        !before.ends_with("::")
            && !before
                .chars()
                .next_back()
                .is_some_and(|c| c.is_alphanumeric() || c == '_')
    }) || code.contains(&format!("use {name};"))
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let mut broken = Vec::new();
    for source in sources() {
        let words = source.code.split(|c: char| !c.is_alphanumeric() && c != '_');
        if words.into_iter().any(|word| word == "unsafe") && !lives_in(&source.path, UNSAFE_HOMES) {
            broken.push(source.path);
        }
    }
    report(&broken, "unsafe code outside its rooms");
}

#[test]
fn the_pure_floors_do_no_io() {
    let pure = ["vector/", "types/"];
    let io = ["std::fs", "std::net", "tokio::", "reqwest::"];
    let mut broken = Vec::new();
    for source in sources().into_iter().filter(|s| lives_in(&s.path, &pure)) {
        for name in io {
            // The one memory map is handed an open file.
            let exempt = source.path.ends_with("tests.rs") || source.path == "vector/frozen/map.rs";
            if source.code.contains(name) && !exempt {
                broken.push(format!("{} names {name}", source.path));
            }
        }
    }
    report(&broken, "`vector` and `types` do no I/O");
}

#[test]
fn files_stay_small() {
    let broken: Vec<_> = sources()
        .into_iter()
        .filter(|s| s.lines > MAX_LINES)
        .map(|s| format!("{} has {} lines", s.path, s.lines))
        .collect();
    report(&broken, &format!("a file has at most {MAX_LINES} lines"));
}

/// Relative links of the documents lead to files that exist.
#[test]
fn documents_link_to_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    for folder in ["docs", "docs/adr", "models"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder exists") {
            let path = entry.expect("a folder entry is readable").path();
            if path.extension().is_some_and(|e| e == "md") {
                documents.push(path);
            }
        }
    }
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|e| panic!("{}: {e}", document.display()));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().expect("split yields at least one part");
            let external = target.is_empty() || target.contains("://") || target.starts_with('/');
            let folder = document.parent().expect("a document has a folder");
            if !external && !folder.join(target).exists() {
                broken.push(format!("{} links to {target}", document.display()));
            }
        }
    }
    report(&broken, "links of the documents lead somewhere");
}

#[test]
fn the_reader_of_sources_sees_what_it_should() {
    let code = strip_comments_and_strings(
        "use crate::{a, b::{c, d}}; // crate::no\nlet s = \"crate::no\"; crate::e::f();",
    );
    assert_eq!(named_after(&code, "crate"), ["a", "b", "e"]);
    assert!(names_the_crate("use image::RgbImage;", "image"));
    assert!(!names_the_crate(
        "use crate::image::Thing; let my_image::x",
        "image"
    ));
}
