//! What is written, and how fast the disk is by itself.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::error::ErrorKind;
use crate::shard::Shard;
use crate::types::{
    Beyond, ContentHash, Embedding, ExifSummary, Fingerprint, ImageFormat, ImageId, ImageRecord, PdqHash,
    PixelHash,
};

fn id(n: u64) -> ImageId {
    ContentHash::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes()).into()
}

/// A record that differs from those of other numbers in everything; its embedding points anywhere.
pub(super) fn record(n: u64, dim: usize) -> ImageRecord {
    let hash = blake3::hash(&n.to_le_bytes());
    let again = *blake3::hash(hash.as_bytes()).as_bytes();
    let content_hash = ContentHash::from_bytes(*hash.as_bytes());
    let mut state = n;
    let components: Vec<f32> = (0..dim).map(|_| direction(&mut state)).collect();
    let second = i64::try_from(n).unwrap_or(i64::MAX) / 1000;
    ImageRecord {
        id: ImageId::from(content_hash),
        name: format!("IMG_{n:08}.jpg"),
        size: 3 << 20,
        format: ImageFormat::Jpeg,
        beyond: Beyond::NOTHING,
        created: chrono::DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap_or_default(),
        tags: Vec::new(),
        fingerprint: Fingerprint {
            content_hash,
            pixel_hash: PixelHash::from_bytes(again),
            pdq: PdqHash::from_bytes(again),
            pdq_quality: 100,
            embedding: Embedding::normalised(&components).expect("some component is not zero"),
            width: 4000,
            height: 3000,
            exif: ExifSummary {
                camera: Some("Maker Model".to_owned()),
                ..ExifSummary::default()
            },
        },
    }
}

/// splitmix64, as a number in −0.5 to 0.5.
fn direction(state: &mut u64) -> f32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
}

/// Times of many equal operations, in seconds.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64());
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The value that this share of all is not above; 0 when there are none.
    pub(super) fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable_by(f64::total_cmp);
        let place = (self.0.len() as f64 * share) as usize;
        self.0
            .get(place.min(self.0.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    }

    /// The same of so many in a row, as they came: call it before [`Self::quantile`].
    pub(super) fn quantile_in_a_row(&self, count: usize, share: f64) -> f64 {
        Self(self.0.windows(count).map(|times| times.iter().sum()).collect()).quantile(share)
    }

    /// How many a second one after the other.
    pub(super) fn rate(&self) -> f64 {
        self.0.len() as f64 / self.0.iter().sum::<f64>().max(f64::MIN_POSITIVE)
    }
}

/// Appends so many bytes to a file and syncs it, again and again.
pub(super) fn fsyncs(folder: &Path, bytes: usize, duration: Duration) -> anyhow::Result<Times> {
    let mut file = tempfile::tempfile_in(folder)?;
    let bytes = vec![7; bytes];
    let begin = Instant::now();
    let mut times = Times::default();
    while begin.elapsed() < duration {
        let start = Instant::now();
        file.write_all(&bytes)?;
        file.sync_all()?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// When writers stop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Time(Duration),
    /// So many records were stored, counted from the first.
    Records(u64),
}

/// Writers that each store a record, wait for the answer, and go on; each record once. Like a client, they have the next one
/// ready when the answer comes.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) writers: u16,
    pub(super) dim: usize,
    /// Percentage of the records that are deleted again, somewhat later.
    pub(super) deletes: u8,
    next: Arc<AtomicU64>,
}

/// Records between one that is stored and the one that is deleted then.
const LATER: u64 = 5000;

impl Load {
    pub(super) fn new(writers: u16, dim: usize, deletes: u8) -> Self {
        Self {
            writers,
            dim,
            deletes,
            next: Arc::default(),
        }
    }

    /// How many of the first `count` records are deleted by the time that they are stored.
    pub(super) fn deleted(&self, count: u64) -> u64 {
        (0..count.saturating_sub(LATER))
            .filter(|&n| goes(n, self.deletes))
            .count() as u64
    }

    /// Goes on until the end given. Returns the time of each acknowledgement of a record and the wall time of all. While the
    /// shard is overloaded the writers wait as a client would.
    pub(super) async fn write(
        &self,
        shard: &Arc<Shard>,
        until: Until,
        tick: impl Fn() + Clone + Send + 'static,
    ) -> anyhow::Result<(Times, f64)> {
        let begin = Instant::now();
        let tasks: Vec<_> = (0..self.writers)
            .map(|_| {
                let (shard, next, tick) = (Arc::clone(shard), Arc::clone(&self.next), tick.clone());
                let (dim, deletes) = (self.dim, self.deletes);
                tokio::spawn(async move {
                    let make = || {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        (n, record(n, dim))
                    };
                    let mut times = Times::default();
                    let mut made = make();
                    loop {
                        let (n, record) = made;
                        if match until {
                            Until::Time(duration) => begin.elapsed() >= duration,
                            Until::Records(count) => n >= count,
                        } {
                            return anyhow::Ok(times);
                        }
                        let following = async {
                            // When all writers have sent theirs.
                            tokio::task::yield_now().await;
                            make()
                        };
                        let (time, following) = futures::join!(append(&shard, n, record), following);
                        times.0.push(time?);
                        made = following;
                        if let Some(earlier) = n.checked_sub(LATER).filter(|&n| goes(n, deletes)) {
                            ensure!(shard.delete(id(earlier)).await?, "record {earlier} was not there");
                        }
                        tick();
                    }
                })
            })
            .collect();
        let mut all = Times::default();
        for task in tasks {
            all.merge(task.await??);
        }
        ensure!(all.count() > 0, "nothing was acknowledged in that time");
        Ok((all, begin.elapsed().as_secs_f64()))
    }
}

/// Whether a record is one of those that are deleted again.
fn goes(n: u64, percent: u8) -> bool {
    let mut state = n;
    direction(&mut state) + 0.5 < f32::from(percent) / 100.0
}

/// Stores record `n`, however often it takes; returns how long the call took that did it.
async fn append(shard: &Shard, n: u64, first: ImageRecord) -> anyhow::Result<f64> {
    let dim = first.fingerprint.embedding.dim();
    let mut made = Some(first);
    loop {
        let next = made.take().unwrap_or_else(|| record(n, dim));
        let start = Instant::now();
        match shard.append(next).await {
            Ok(_) => return Ok(start.elapsed().as_secs_f64()),
            Err(error) if error.kind() == ErrorKind::Overloaded => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
