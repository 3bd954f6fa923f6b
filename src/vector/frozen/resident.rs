//! What every search touches: searched where it was mapped at first, then from a copy in large pages.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::FrozenIndex;
use super::map::{LARGE, large_pages};

/// Bytes that move to large pages in the background.
///
/// Where free memory lies scattered, finding large pages for a million vectors takes the system up to two seconds:
/// opening does not wait for it. The bytes are the same before and after.
#[derive(Debug)]
pub(super) struct Resident {
    first: Bytes,
    /// The copy, or `first` where there is no better place.
    settled: Arc<OnceLock<Bytes>>,
}

/// One copy at a time: they compete for the same memory.
static ONE: Mutex<()> = Mutex::new(());

impl Resident {
    /// `bytes` can be read at once, at the address they have.
    pub(super) fn new(bytes: Bytes) -> Self {
        let settled = Arc::new(OnceLock::new());
        let (first, place) = (bytes.clone(), settled.clone());
        let work = move || {
            let _one = ONE.lock();
            // An index that was closed meanwhile needs no copy.
            let copy = (Arc::strong_count(&place) > 1).then(|| large_pages(&first));
            let _ = place.set(copy.flatten().unwrap_or(first));
        };
        if bytes.len() < LARGE
            || std::thread::Builder::new()
                .name("large-pages".into())
                .spawn(work)
                .is_err()
        {
            let _ = settled.set(bytes.clone());
        }
        Self {
            first: bytes,
            settled,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.settled.get().unwrap_or(&self.first)
    }
}

impl FrozenIndex {
    /// Waits until searches run at full speed: opening leaves the move to large pages of memory to the background.
    pub fn settle(&self) {
        self.block.hot.settled.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_same_before_and_after_the_move() {
        let bytes: Vec<u8> = (0..LARGE + 12_345).map(|i| (i * 31 % 251) as u8).collect();
        let resident = Resident::new(bytes.clone().into());
        let mapped = resident.first.as_ptr();
        assert!(resident.bytes() == bytes);
        resident.settled.wait();
        assert!(resident.bytes() == bytes && resident.bytes().as_ptr() != mapped);
        let few = Resident::new(Bytes::from_static(b"few"));
        assert_eq!(few.settled.get(), Some(&few.first), "not worth a thread");
    }
}
