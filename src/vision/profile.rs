//! Where the processor's time goes while images are analysed: one process-wide counter a part.
//!
//! Counted is CPU time of the thread that does the work, so that waiting for other work on the machine does not count.
//! Reading the clock twice a part costs under a thousandth of an image.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cpu_time::ThreadTime;

/// A part of the work on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// EXIF, then compressed bytes to oriented pixels.
    Decode,
    /// Preview and input of the network.
    Resize,
    /// BLAKE3 of bytes and of pixels.
    Hash,
    /// PDQ and its dihedral variants.
    Pdq,
    /// The preview as JPEG.
    Thumbnail,
    /// The network.
    Network,
}

impl Part {
    /// All stages in the order of the work.
    pub const ALL: [Self; 6] = [
        Self::Decode,
        Self::Resize,
        Self::Hash,
        Self::Pdq,
        Self::Thumbnail,
        Self::Network,
    ];

    /// Name for people and for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Resize => "resize",
            Self::Hash => "hash",
            Self::Pdq => "pdq",
            Self::Thumbnail => "thumbnail",
            Self::Network => "network",
        }
    }

    /// Does `work` and counts its CPU time; it must not wait for other threads of the pool, whose work would count too.
    pub(super) fn count<T>(self, work: impl FnOnce() -> T) -> T {
        let started = ThreadTime::now();
        let done = work();
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        NANOS[self as usize].fetch_add(nanos, Ordering::Relaxed);
        done
    }

    /// CPU time of this part since the process started.
    #[must_use]
    pub fn total(self) -> Duration {
        Duration::from_nanos(NANOS[self as usize].load(Ordering::Relaxed))
    }
}

static NANOS: [AtomicU64; Part::ALL.len()] = [const { AtomicU64::new(0) }; Part::ALL.len()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_and_its_answer_returned() {
        let before = Part::Pdq.total();
        let sum = Part::Pdq.count(|| (0..3_000_000_u64).fold(0, |a, b| std::hint::black_box(a ^ b)));
        assert!(Part::Pdq.total() > before);
        assert_eq!(sum, (0..3_000_000).fold(0, |a, b| a ^ b));
    }
}
