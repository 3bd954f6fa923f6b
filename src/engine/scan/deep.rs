//! Candidates of a deep scan: pairs of which one image may show what a part of the other shows.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::comparing::Comparer;
use super::{Phase, Progress, ScanError};
use crate::dedup::agenda::Promising;
use crate::dedup::cascade::Prospect;
use crate::engine::search::PART_NEIGHBOURS;
use crate::types::Embedding;
use crate::vector::nearest::SealedSet;
use crate::vision::Analyser;

impl Comparer<'_> {
    /// For each part of each image the nearest other images, where they are likely enough to be copies. `embeddings` and
    /// `prospects` are those of the contents. Costs as much as embedding
    /// every image nine more times.
    pub(super) fn by_parts(
        &self,
        analyser: &Analyser,
        embeddings: &[Embedding],
        prospects: &[Prospect<'_>],
    ) -> Result<Vec<Promising>, ScanError> {
        let set = SealedSet::of(embeddings, &|_| ())?;
        let (done, total) = (AtomicU64::new(0), self.contents.len() as u64);
        let found: Vec<Vec<Promising>> = (0u32..)
            .zip(self.contents)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|(whole, content)| {
                // What cannot be embedded in parts has been embedded as a whole.
                let parts = analyser.embed_parts(&self.preview(whole)?).unwrap_or_default();
                let mut promising = Vec::new();
                // The image itself may be among the nearest of its parts.
                for (part, hits) in parts.iter().zip(set.nearest(&parts, PART_NEIGHBOURS + 1)?) {
                    let part = self.cascade.part(part.clone());
                    for other in hits.iter().map(|hit| hit.row).filter(|row| *row != whole) {
                        let [asked, near] = [whole, other].map(|image| prospects[image as usize]);
                        let promise =
                            self.cascade
                                .promise_of_part(asked, &part, &content.known.variants, near);
                        if self.cascade.is_promising(promise) {
                            let (a, b) = (whole.min(other), whole.max(other));
                            promising.push(Promising { a, b, promise });
                        }
                    }
                }
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress {
                    phase: Phase::Parts,
                    done,
                    total,
                });
                Ok(promising)
            })
            .collect::<Result<_, ScanError>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}
