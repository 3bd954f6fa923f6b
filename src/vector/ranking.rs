//! Keeping the best few of many hits.

use std::collections::BinaryHeap;

use super::Hit;

/// The `k` best hits offered so far.
pub(super) struct Best {
    k: usize,
    /// The worst kept hit is on top.
    heap: BinaryHeap<Hit>,
}

impl Best {
    pub(super) fn new(k: usize) -> Self {
        Self::reusing(k, Vec::with_capacity(k.min(1024)))
    }

    /// Keeps hits in the memory of a vector, which [`Self::into_sorted`] gives back; what it holds is forgotten.
    pub(super) fn reusing(k: usize, mut memory: Vec<Hit>) -> Self {
        memory.clear();
        Self {
            k,
            heap: memory.into(),
        }
    }

    /// Keeps `hit` if it is among the best `k`.
    pub(super) fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.k {
            self.heap.push(hit);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    /// The worst hit kept, once there are `k`.
    pub(super) fn worst(&self) -> Option<Hit> {
        if self.heap.len() < self.k {
            return None;
        }
        self.heap.peek().copied()
    }

    /// The hits kept, best first.
    pub(super) fn into_sorted(self) -> Vec<Hit> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Similarity;

    #[test]
    fn keeps_the_best_and_breaks_ties_by_row() {
        let hit = |row, similarity| Hit {
            row,
            similarity: Similarity::clamped(similarity),
        };
        let mut best = Best::new(3);
        for h in [hit(9, 0.5), hit(1, 0.1), hit(4, 0.5), hit(2, 0.9), hit(3, 0.5)] {
            best.offer(h);
        }
        assert_eq!(best.into_sorted(), [hit(2, 0.9), hit(3, 0.5), hit(4, 0.5)]);
        let mut none = Best::new(0);
        none.offer(hit(1, 1.0));
        assert_eq!(none.into_sorted(), []);
    }
}
