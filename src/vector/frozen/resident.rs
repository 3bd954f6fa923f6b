//! What every search touches: searched where it was mapped at first, then from a copy in large pages.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;

use super::FrozenIndex;
use crate::memory::{LARGE, large_pages};

/// Bytes that move to large pages in the background.
///
/// Where free memory lies scattered, finding large pages for a million vectors takes the system up to two seconds:
/// opening does not wait for it. The bytes are the same before and after.
#[derive(Debug)]
pub(super) struct Resident {
    first: Bytes,
    /// The copy, or `first` where there is no better place; empty until that is known.
    settled: Arc<OnceLock<Bytes>>,
}

/// One copy at a time: they compete for the same memory.
static ONE: Mutex<()> = Mutex::new(());

impl Resident {
    /// `bytes` can be read at once, at the address they have.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self {
            first: bytes,
            settled: Arc::default(),
        }
    }

    /// Starts the move. To be called once, when the bytes are known to be good: what is refused is not copied.
    pub(super) fn start_moving(&self) {
        let (first, place) = (self.first.clone(), self.settled.clone());
        let work = move || {
            let _one = ONE.lock();
            // An index that was closed meanwhile needs no copy.
            let copy = (Arc::strong_count(&place) > 1).then(|| large_pages(&first));
            let _ = place.set(copy.flatten().unwrap_or(first));
        };
        if self.first.len() < LARGE
            || std::thread::Builder::new()
                .name("large-pages".into())
                .spawn(work)
                .is_err()
        {
            let _ = self.settled.set(self.first.clone());
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
    use std::sync::Weak;

    use super::super::tests::{block_of, forged};
    use super::super::{FrozenError, format};
    use super::*;
    use crate::vector::tests::random_embeddings;

    #[test]
    fn the_bytes_are_the_same_before_and_after_the_move() {
        let bytes: Vec<u8> = (0..LARGE + 12_345).map(|i| (i * 31 % 251) as u8).collect();
        let resident = Resident::new(bytes.clone().into());
        let mapped = resident.first.as_ptr();
        assert!(resident.bytes() == bytes);
        resident.start_moving();
        resident.settled.wait();
        assert!(resident.bytes() == bytes && resident.bytes().as_ptr() != mapped);
        let few = Resident::new(Bytes::from_static(b"few"));
        few.start_moving();
        assert_eq!(few.settled.get(), Some(&few.first), "not worth a thread");
    }

    /// Bytes that tell whether anybody still has them.
    struct Watched(Arc<format::Lines>);

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            (*self.0).as_ref()
        }
    }

    fn watched(block: &[u8]) -> (Bytes, Weak<format::Lines>) {
        let lines = Arc::new(format::Lines::copy_of(block));
        let watch = Arc::downgrade(&lines);
        (Bytes::from_owner(Watched(lines)), watch)
    }

    #[test]
    fn only_an_index_that_passed_every_check_is_copied() {
        let good = block_of(&random_embeddings(8000, 6, 21));
        let mut flipped = good.clone();
        flipped[format::HEADER_LEN + 77] ^= 4;
        let bad_link = forged(&good, |links| links[5] = 8000);
        // Whoever copies waits here, and keeps the bytes meanwhile.
        let one = ONE.lock();
        for (bad, is_it) in [
            (flipped, FrozenError::Damaged { part: "links" }),
            (bad_link, FrozenError::Malformed { what: "links" }),
        ] {
            let (bytes, watch) = watched(&bad);
            assert_eq!(FrozenIndex::open(bytes).err(), Some(is_it));
            assert!(watch.upgrade().is_none(), "nobody has a refused index");
        }
        let (bytes, watch) = watched(&good);
        let index = FrozenIndex::open(bytes).expect("a block just built");
        assert!(index.block.hot.first.len() >= LARGE, "worth a copy");
        assert!(index.block.hot.settled.get().is_none());
        drop(index);
        assert!(watch.upgrade().is_some(), "the copy was started");
        drop(one);
    }
}
