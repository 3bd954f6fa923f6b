//! `doppel import`: folders into a collection of a running service.

use std::path::PathBuf;

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use futures::{StreamExt as _, stream};
use serde_json::Value;

use super::client::Client;
use super::files::{self, Named};
use super::{Context, Exit, progress, read, warn};
use crate::types::{CollectionName, ImageId};
use crate::vision::{self, fingerprint};

/// Upload files and folders to a collection of a running service
///
/// May be stopped and repeated: files that the collection holds already are recognised by their hash and not sent again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel import ~/Pictures
  doppel import a.jpg photos/ --server http://nas:8080 --collection family
  doppel import photos/ --on-duplicate link -j 16")]
pub(super) struct Args {
    /// Files and folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Address of the service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// Collection to fill; made if it is missing
    #[arg(long, value_name = "NAME", default_value = "default")]
    collection: CollectionName,
    /// What to do with files that match an image of the collection without being identical to it
    #[arg(long, value_name = "WHAT", value_enum, default_value = "store")]
    on_duplicate: OnDuplicate,
    /// Files sent at the same time
    #[arg(short = 'j', long, value_name = "N", default_value = "8", value_parser = super::workers())]
    jobs: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnDuplicate {
    /// Store them too
    Store,
    /// Do not store them
    Reject,
    /// Do not store them; count them as linked
    Link,
}

impl OnDuplicate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Reject => "reject",
            Self::Link => "link",
        }
    }
}

/// What became of one file.
enum Sent {
    /// The status that the service gave it.
    Status(String),
    /// Found in a folder, and no image.
    Skipped(String),
    Failed(String),
}

pub(super) fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.runtime()?.block_on(import(args, context))
}

async fn import(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let client = Client::new(&args.server)?;
    client
        .ensure_collection(&args.collection)
        .await
        .context("the collection cannot be used")?;
    let (found, unreadable) = files::find(&args.paths);
    let bar = progress(found.len() as u64, "images");
    let mut tally = Tally::default();
    for one in &unreadable {
        bar.suspend(|| warn(format_args!("{}: {}", one.path.display(), one.reason)));
        tally.failed += 1;
    }
    let max_bytes = context.config.limits.max_file_bytes;
    let mut sending = stream::iter(found)
        .map(|file| {
            let (client, collection) = (client.clone(), args.collection.clone());
            let on_duplicate = args.on_duplicate.as_str();
            async move {
                let sent = send(&client, &collection, on_duplicate, &file, max_bytes).await;
                (file, sent)
            }
        })
        .buffer_unordered(args.jobs.max(1));
    while let Some((file, sent)) = sending.next().await {
        bar.inc(1);
        if let Some(reason) = tally.count(sent) {
            bar.suspend(|| warn(format_args!("{}: {reason}", file.path.display())));
        }
    }
    bar.finish_and_clear();
    super::print(&tally.to_string())?;
    Ok(if tally.failed > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

async fn send(
    client: &Client,
    collection: &CollectionName,
    on_duplicate: &str,
    file: &Named,
    max_bytes: u64,
) -> Sent {
    let path = file.path.clone();
    // Reading and hashing block: not on the threads that drive the connections.
    let prepared = tokio::task::spawn_blocking(move || {
        let bytes = read(&path, max_bytes)?;
        let image = vision::sniff(&bytes).map_err(|error| error.to_string());
        Ok::<_, String>((
            image.map(|_| ImageId::from(fingerprint::content_hash(&bytes))),
            bytes,
        ))
    });
    let (id, bytes): (_, Bytes) = match prepared.await {
        Ok(Ok((Ok(id), bytes))) => (id, bytes),
        Ok(Ok((Err(no_image), _))) if !file.explicit => return Sent::Skipped(no_image),
        Ok(Ok((Err(reason), _)) | Err(reason)) => return Sent::Failed(reason),
        Err(broken) => return Sent::Failed(broken.to_string()),
    };
    match client.holds(collection, id).await {
        Ok(false) => {}
        Ok(true) => return Sent::Status("duplicate".to_owned()),
        Err(error) => return Sent::Failed(format!("{error:#}")),
    }
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    match client.upload(collection, on_duplicate, &name, bytes).await {
        Ok(answer) => from_answer(&answer),
        Err(error) => Sent::Failed(format!("{error:#}")),
    }
}

fn from_answer(answer: &Value) -> Sent {
    match answer["status"].as_str() {
        Some("failed") => Sent::Failed(
            answer["error"]["detail"]
                .as_str()
                .unwrap_or("no reason given")
                .to_owned(),
        ),
        Some(status) => Sent::Status(status.to_owned()),
        None => Sent::Failed("the service's answer has no status".to_owned()),
    }
}

/// How many files came to which end.
#[derive(Debug, Default)]
struct Tally {
    created: u64,
    duplicate: u64,
    linked: u64,
    rejected: u64,
    skipped: u64,
    failed: u64,
}

impl Tally {
    /// Counts one file; answers what is to be told about it.
    fn count(&mut self, sent: Sent) -> Option<String> {
        match sent {
            Sent::Status(status) => {
                match status.as_str() {
                    "created" => self.created += 1,
                    "duplicate" => self.duplicate += 1,
                    "linked" => self.linked += 1,
                    "rejected" => self.rejected += 1,
                    _ => {
                        self.failed += 1;
                        return Some(format!("the service answered an unknown status {status:?}"));
                    }
                }
                None
            }
            Sent::Skipped(reason) => {
                self.skipped += 1;
                Some(format!("skipped: {reason}"))
            }
            Sent::Failed(reason) => {
                self.failed += 1;
                Some(reason)
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            created,
            duplicate,
            linked,
            rejected,
            skipped,
            failed,
        } = self;
        writeln!(
            f,
            "{created} created, {duplicate} there already, {linked} linked, {rejected} rejected, {skipped} skipped, \
             {failed} failed"
        )
    }
}
