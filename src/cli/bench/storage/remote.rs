//! Acknowledgements on an object store, beside what that store does by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::load::{Load, Times, Until, record};
use super::{Args, open, options};
use crate::shard::{StoreLocation, record_bytes};
use crate::store::blob::BlobStore;

#[derive(Debug, Serialize)]
pub(super) struct Remote {
    writers: u16,
    dim: usize,
    /// Objects of the size of a group, put one after the other.
    puts_per_second: f64,
    put_median_ms: f64,
    put_p99_ms: f64,
    acknowledged_per_second: f64,
    times_put_rate: f64,
    median_ms: f64,
    p99_ms: f64,
    window_ms: f64,
}

impl Remote {
    pub(super) fn text(&self) -> String {
        format!(
            "object store      {:.1} puts/s, one after the other, of a group each; median {:.1} ms, p99 {:.1} ms\n\
             acknowledgements  {:.0}/s by {} writers of dimension {} = {:.1} × the put rate; median {:.1} ms, p99 {:.1} ms, \
             window {:.0} ms\n",
            self.puts_per_second,
            self.put_median_ms,
            self.put_p99_ms,
            self.acknowledged_per_second,
            self.writers,
            self.dim,
            self.times_put_rate,
            self.median_ms,
            self.p99_ms,
            self.window_ms
        )
    }
}

/// Measures under a prefix of its own, and removes it. The metadata stands in `folder`.
pub(super) async fn measure(args: &Args, url: &str, folder: &Path) -> anyhow::Result<Remote> {
    let prefix = format!("{}/bench-{}", url.trim_end_matches('/'), rand::random::<u64>());
    let location = StoreLocation {
        data_dir: folder.to_owned(),
        storage: Some(prefix),
        ..StoreLocation::default()
    };
    let stores = location.open().await?;
    let options = options(args)?.remote();
    let window = options.group_window;
    let shard = open(&stores, options).await?;
    let half = Duration::from_secs(args.seconds.max(2)) / 2;
    let size = usize::from(args.writers) * record_bytes(&record(0, args.dim));
    let mut puts = puts(&*stores.blobs, size, half).await?;
    let load = Load::new(args.writers, args.dim, 0);
    let (mut times, seconds) = load.write(&shard, Until::Time(half), || {}).await?;
    shard.close().await;
    for object in stores.blobs.list("").await? {
        stores.blobs.delete(&object.name).await?;
    }
    let per_second = times.count() as f64 / seconds;
    Ok(Remote {
        writers: args.writers,
        dim: args.dim,
        puts_per_second: puts.rate(),
        put_median_ms: puts.quantile(0.5) * 1e3,
        put_p99_ms: puts.quantile(0.99) * 1e3,
        acknowledged_per_second: per_second,
        times_put_rate: per_second / puts.rate(),
        median_ms: times.quantile(0.5) * 1e3,
        p99_ms: times.quantile(0.99) * 1e3,
        window_ms: window.as_secs_f64() * 1e3,
    })
}

async fn puts(blobs: &dyn BlobStore, size: usize, duration: Duration) -> anyhow::Result<Times> {
    let object = Bytes::from(vec![7; size]);
    let begin = Instant::now();
    let mut times = Times::default();
    while begin.elapsed() < duration {
        let name = format!("alone/{}", times.count());
        let start = Instant::now();
        blobs.create(&name, object.clone()).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}
