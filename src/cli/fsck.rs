//! `doppel fsck`: checks what is stored, and repairs what can be.

use std::fmt::Write as _;

use super::{Context, Exit, StoreFlags, print};
use crate::cluster::catalogue::{Catalogue, CollectionSpec};
use crate::cluster::registry::Registry;
use crate::engine::network;
use crate::segment::SegmentSpec;
use crate::shard::fsck::{Finding, Repair, Report, Severity, Target, fsck};
use crate::shard::rebuild::rebuild;
use crate::shard::{StoreLocation, Stores};
use crate::vision::Embedder as _;

/// Checks the stores: metadata, segments, write-ahead log, thumbnails and originals
///
/// Run it while no doppel serves from the stores. Exits with 1 when something is wrong that was not repaired; objects that
/// nothing needs are reported and are no fault.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  doppel fsck                                     check the default data folder
  doppel fsck --data-dir /srv/doppel --repair     and mend what can be mended
  doppel fsck --rebuild-metadata                  the metadata is lost, the objects are there")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) store: StoreFlags,
    /// Remove orphans, and withdraw lost segments so that their images can be stored again
    #[arg(long)]
    repair: bool,
    /// First make the metadata anew from the objects; refused where there is any
    #[arg(long)]
    rebuild_metadata: bool,
}

/// Checks, prints, and fails when something is lost.
///
/// # Errors
/// When the stores cannot be opened or fail.
pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    context.expect_data()?;
    let repair = if args.repair { Repair::Yes } else { Repair::No };
    let report = context
        .runtime()?
        .block_on(check(context, repair, args.rebuild_metadata))?;
    print(&text(&report))?;
    Ok(if report.is_clean() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

async fn check(context: &Context, repair: Repair, rebuild: bool) -> anyhow::Result<Report> {
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
    let catalogue = Catalogue::new(stores.metadata.clone(), &config.cluster);
    if rebuild {
        rebuild_metadata(context, &stores, &catalogue).await?;
    }
    let targets: Vec<Target> = catalogue
        .list()
        .await?
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

/// Publishes and lists what the objects hold. The collections are listed last: what was cut short can be done again.
async fn rebuild_metadata(context: &Context, stores: &Stores, catalogue: &Catalogue) -> anyhow::Result<()> {
    let config = &context.config;
    if let Some(listed) = catalogue.list().await?.first() {
        anyhow::bail!("the metadata is there: it lists collection {}", listed.spec.name);
    }
    let network = network(config)?;
    let fallback = SegmentSpec {
        dim: network.dim(),
        model: network.model_hash(),
    };
    for found in rebuild(stores, &config.cluster, fallback).await? {
        let target = found.target;
        let originals = if target.keep_originals {
            "originals kept"
        } else {
            "no originals"
        };
        print(&format!(
            "rebuilt  collection {}: {} shards, {} segments, {} WAL objects, {originals}\n",
            target.collection, target.shards, found.segments, found.wal_objects
        ))?;
        for object in found.damaged {
            print(&format!("LOSS     {object}: it cannot be read\n"))?;
        }
        let spec = CollectionSpec {
            name: target.collection,
            dim: target.spec.dim,
            shards: target.shards,
            model_hash: target.spec.model,
            keep_originals: target.keep_originals,
        };
        catalogue.create(spec).await?;
    }
    Ok(())
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
