//! `doppel search`: what matches an image, in a running service or in a data folder.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::Value;

use super::client::Client;
use super::{Context, Exit, StoreFlags, print, read, serve, warn};
use crate::types::{CollectionName, MatchClass};

/// Find the images of a collection that match an image
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel search photo.jpg                                   in the data folder (no service may be running on it)
  doppel search photo.jpg --server http://127.0.0.1:8080    in a running service
  doppel search photo.jpg -k 5 --level edited -f json

Exit code 11 when a match is more than similar.")]
pub(super) struct Args {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Address of a running service; without it, the data folder is opened
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Collection to search
    #[arg(long, value_name = "NAME", default_value = "default")]
    collection: CollectionName,
    /// Most answers
    #[arg(short, default_value = "10", value_name = "N")]
    k: usize,
    /// Weakest class to answer: identical, same-pixels, near-identical, edited or similar
    #[arg(long, value_name = "CLASS", default_value = "similar")]
    level: MatchClass,
    /// Search for nine parts of the image too: finds pictures that it contains
    #[arg(long)]
    deep: bool,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    pub(super) store: StoreFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// As the service answers
    Json,
}

pub(super) fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    if args.server.is_none() {
        context.expect_data()?;
    }
    let file = read(&args.image, context.config.limits.max_file_bytes)
        .map_err(|reason| anyhow::anyhow!("{}: {reason}", args.image.display()))?;
    let name = args
        .image
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let answer = context.runtime()?.block_on(async {
        let options = (args.k, args.level.as_str(), args.deep);
        match &args.server {
            Some(server) => {
                Client::new(server)?
                    .search(&args.collection, options, &name, file)
                    .await
            }
            None => {
                // The data folder's own service, for the time of one question.
                let service = serve::Embedded::start(&context.config).await?;
                let answer = Client::new(service.address())?
                    .search(&args.collection, options, &name, file)
                    .await;
                service.stop().await?;
                answer
            }
        }
    })?;
    if answer["partial"].as_bool() == Some(true) {
        warn(format_args!(
            "a part of the collection did not answer: matches may be missing"
        ));
    }
    let matches = answer["matches"].as_array().map_or(&[][..], Vec::as_slice);
    match args.format {
        Format::Json => print(&format!("{answer:#}\n"))?,
        Format::Table => print(&table(matches))?,
    }
    Ok(if matches.iter().any(is_duplicate) {
        Exit::Found
    } else {
        Exit::Done
    })
}

fn is_duplicate(found: &Value) -> bool {
    found["class"]
        .as_str()
        .and_then(|class| class.parse().ok())
        .is_some_and(|class: MatchClass| class > MatchClass::Similar)
}

fn table(matches: &[Value]) -> String {
    if matches.is_empty() {
        return "nothing matches\n".to_owned();
    }
    let mut out = format!(
        "{:<15} {:>11} {:>10}  {:<32}  name\n",
        "class", "probability", "similarity", "id"
    );
    for one in matches {
        let text = |key: &str| one[key].as_str().unwrap_or("?").to_owned();
        let number = |key: &str| one[key].as_f64().unwrap_or(f64::NAN);
        let extra = |key: &str, words| {
            one["image"]["beyond"][key]
                .as_bool()
                .unwrap_or(false)
                .then_some(words)
        };
        let notes: Vec<&str> = [
            extra("frames", "more frames or pages"),
            extra("transparency", "transparent in places"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let notes = if notes.is_empty() {
            String::new()
        } else {
            format!("  ({})", notes.join(", "))
        };
        // Names come from uploads: nothing in them may steer a terminal.
        let name: String = text("name").chars().filter(|c| !c.is_control()).collect();
        writeln!(
            out,
            "{:<15} {:>11.3} {:>10.3}  {:<32}  {name}{notes}",
            text("class"),
            number("probability"),
            number("similarity"),
            text("id")
        )
        .expect("writing to a String cannot fail");
    }
    out
}
