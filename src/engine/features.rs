//! Keypoints of images, taken from thumbnails when they are needed and kept for a while.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::types::ContentHash;
use crate::vision::verify::Features;

/// What one entry is counted as; features of a 400-pixel preview are about this large.
const ENTRY_BYTES: u64 = 200_000;

/// Two generations: what was asked for lately is in the young one. When that is full it becomes the old one, and what
/// was only in the old one is forgotten. Every access is constant time, and what is in use stays.
pub(super) struct FeatureCache {
    generations: Mutex<Generations>,
    per_generation: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<ContentHash, Arc<Features>>,
    old: HashMap<ContentHash, Arc<Features>>,
}

impl FeatureCache {
    /// A cache of at most about `bytes`.
    pub(super) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / ENTRY_BYTES / 2).unwrap_or(usize::MAX);
        Self {
            generations: Mutex::default(),
            per_generation: entries.max(1),
        }
    }

    pub(super) fn get(&self, image: &ContentHash) -> Option<Arc<Features>> {
        let mut generations = self.generations.lock();
        if let Some(features) = generations.young.get(image) {
            return Some(Arc::clone(features));
        }
        let features = generations.old.remove(image)?;
        self.put(&mut generations, *image, Arc::clone(&features));
        Some(features)
    }

    pub(super) fn insert(&self, image: ContentHash, features: Arc<Features>) {
        self.put(&mut self.generations.lock(), image, features);
    }

    fn put(&self, generations: &mut Generations, image: ContentHash, features: Arc<Features>) {
        if generations.young.len() >= self.per_generation {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(image, features);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::RgbImage;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let features = Arc::new(Features::extract(&RgbImage::new(32, 32)));
        let hash = |n: u8| ContentHash::from_bytes([n; 32]);
        let cache = FeatureCache::new(4 * ENTRY_BYTES);
        for n in 0..20 {
            cache.insert(hash(n), Arc::clone(&features));
            assert!(
                n == 0 || cache.get(&hash(0)).is_some(),
                "asked for every time, gone at {n}"
            );
        }
        let held = (0..20).filter(|n| cache.get(&hash(*n)).is_some()).count();
        assert!((2..=4).contains(&held), "{held} entries held");
    }
}
