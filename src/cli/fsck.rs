//! `doppel fsck`: checks what is stored, and repairs what can be.

use std::fmt::Write as _;

use super::{Context, Exit, StoreFlags, print};
use crate::cluster::catalogue::Catalogue;
use crate::cluster::registry::Registry;
use crate::segment::SegmentSpec;
use crate::shard::StoreLocation;
use crate::shard::fsck::{Finding, Repair, Report, Severity, Target, fsck};

/// Checks the stores: metadata, segments, write-ahead log, thumbnails and originals
///
/// Run it while no doppel serves from the stores. Exits with 1 when something is wrong that was not repaired; objects that
/// nothing needs are reported and are no fault.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel fsck                                     check the default data folder
  doppel fsck --data-dir /srv/doppel --repair     and mend what can be mended")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) store: StoreFlags,
    /// Remove orphans, and withdraw lost segments so that their images can be stored again
    #[arg(long)]
    repair: bool,
}

/// Checks, prints, and fails when something is lost.
///
/// # Errors
/// When the stores cannot be opened or fail.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repair = if args.repair { Repair::Yes } else { Repair::No };
    let report = context.runtime()?.block_on(check(context, repair))?;
    print(&text(&report))?;
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn check(context: &Context, repair: Repair) -> anyhow::Result<Report> {
    let config = &context.config;
    let location = StoreLocation {
        data_dir: config.data_dir.clone(),
        etcd: config.etcd.clone(),
        storage: config.storage.clone(),
    };
    let stores = location.open().await?;
    let nodes = Registry::new(stores.metadata.clone(), &config.cluster)
        .nodes()
        .await?;
    if let Some(node) = nodes.first() {
        anyhow::bail!("node {} is running: stop it first", node.id);
    }
    let collections = Catalogue::new(stores.metadata.clone(), &config.cluster)
        .list()
        .await?;
    let targets: Vec<Target> = collections
        .into_iter()
        .map(|collection| Target {
            collection: collection.spec.name,
            shards: collection.spec.shards,
            spec: SegmentSpec {
                dim: collection.spec.dim,
                model: collection.spec.model_hash,
            },
            keep_originals: collection.spec.keep_originals,
        })
        .collect();
    Ok(fsck(&stores, &config.cluster, &targets, repair).await?)
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for Finding {
        severity,
        object,
        what,
        repaired,
    } in &report.findings
    {
        let severity = match severity {
            Severity::Loss => "LOSS",
            Severity::Degraded => "degraded",
            Severity::Waste => "waste",
        };
        let repaired = if *repaired { " (repaired)" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{severity:8} {object}: {what}{repaired}");
    }
    let wrong = report
        .findings
        .iter()
        .filter(|f| f.severity > Severity::Waste && !f.repaired)
        .count();
    let _ = writeln!(
        out,
        "{} images in {} segments and {} WAL objects: {}",
        report.images,
        report.segments,
        report.wal_objects,
        match wrong {
            0 => "clean".to_owned(),
            1 => "1 fault".to_owned(),
            n => format!("{n} faults"),
        }
    );
    out
}
