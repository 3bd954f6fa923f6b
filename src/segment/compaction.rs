//! Which segments to merge. A decision only: no I/O.

use std::collections::BTreeMap;

use super::vectors::INDEXED_FROM;

/// What the policy needs to know of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Rows, dead ones included.
    pub rows: usize,
    /// Dead rows.
    pub dead: usize,
}

impl Weight {
    fn living(self) -> usize {
        self.rows.saturating_sub(self.dead)
    }
}

/// Most segments that are merged at once: their keys change in one transaction, which has its limit.
const MOST_INPUTS: usize = 100;

/// When segments are merged.
///
/// A segment whose dead rows reach their share is rewritten. Segments with a graph are merged when so many are of one tier,
/// that is, of sizes within a factor of [`Self::fan_in`]: each row is rewritten at most once a tier. Segments too small for
/// a graph are scanned, which costs by their rows and not by their number: they wait until together they are worth a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Most rows of a merged segment.
    pub max_rows: usize,
    /// Percentage of dead rows from which a segment is rewritten.
    pub dead_percent: usize,
    /// Segments of one tier that are merged into one of the next.
    pub fan_in: usize,
    /// Rows from which segments without a graph are merged.
    pub most_scanned: usize,
    /// Their number from which they are merged, however small they are.
    pub most_small: usize,
}

impl Default for Policy {
    /// Two tiers between the smallest graph and a million rows. With six to a merge instead of sixteen, 6 to 9 bytes would be
    /// written for each byte of a record instead of 4 to 6; with more than sixteen, a search would ask more segments.
    fn default() -> Self {
        Self {
            max_rows: 1_000_000,
            dead_percent: 20,
            fan_in: 16,
            most_scanned: 4 * INDEXED_FROM,
            most_small: 64,
        }
    }
}

impl Policy {
    fn is_worn(&self, segment: Weight) -> bool {
        segment.dead > 0 && segment.dead * 100 >= segment.rows * self.dead_percent
    }

    /// 0 for segments without a graph.
    fn tier(&self, segment: Weight) -> u32 {
        let units = segment.living() / INDEXED_FROM;
        units.checked_ilog(self.fan_in.max(2)).map_or(0, |log| log + 1)
    }

    /// Positions of the segments to merge into one; `None` when all is well.
    #[must_use]
    pub fn choose(&self, segments: &[Weight]) -> Option<Vec<usize>> {
        let mut by_tier: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, segment) in segments.iter().enumerate() {
            by_tier.entry(self.tier(*segment)).or_default().push(place);
        }
        let crowded = by_tier.into_iter().find_map(|(tier, mut places)| {
            places.sort_unstable_by_key(|&place| segments[place].living());
            let mut rows = 0;
            places.retain(|&place| {
                let fits = rows + segments[place].living() <= self.max_rows;
                rows += if fits { segments[place].living() } else { 0 };
                fits
            });
            places.truncate(MOST_INPUTS);
            let crowded = match tier {
                0 => places.len() > 1 && (rows >= self.most_scanned || places.len() >= self.most_small),
                _ => places.len() >= self.fan_in,
            };
            crowded.then_some(places)
        });
        crowded.or_else(|| {
            let worn = segments.iter().position(|segment| self.is_worn(*segment));
            worn.map(|place| vec![place])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(rows: usize) -> Weight {
        Weight { rows, dead: 0 }
    }

    #[test]
    fn worn_segments_are_rewritten_and_crowded_tiers_merged() {
        let policy = Policy::default();
        assert_eq!(policy.choose(&[]), None);
        // Small ones wait until they are worth a graph, or are too many.
        assert_eq!(policy.choose(&[live(5); 63]), None);
        assert_eq!(policy.choose(&[live(5); 64]), Some((0..64).collect()));
        assert_eq!(policy.choose(&[live(4000); 4]), None);
        assert_eq!(policy.choose(&[live(4000); 5]), Some(vec![0, 1, 2, 3, 4]));
        // Of one tier only, however many larger ones there are.
        let mixed = [[live(100_000); 15], [live(5000); 15]].concat();
        assert_eq!(policy.choose(&mixed), None);
        let more = [&mixed[..], &[live(5000)]].concat();
        assert_eq!(policy.choose(&more), Some((15..31).collect()));

        let worn = Weight { rows: 100, dead: 20 };
        assert_eq!(policy.choose(&[live(100), worn]), Some(vec![1]));
        assert_eq!(policy.choose(&[Weight { rows: 100, dead: 19 }]), None);
        assert_eq!(policy.choose(&[live(0)]), None, "judgements alone");
        // Nothing grows beyond the limit, so what is near it stays.
        let low = Policy {
            max_rows: 100_000,
            ..policy
        };
        assert_eq!(low.choose(&[live(60_000); 20]), None);
    }

    /// Seals of one size until there are `total` rows, merged as the policy says: how often a row is rewritten on average, and
    /// the most segments at any time.
    fn rewrites(seal: usize, total: usize) -> (f64, usize) {
        let policy = Policy::default();
        let mut segments: Vec<Weight> = Vec::new();
        let (mut rewritten, mut most) = (0, 0);
        for _ in 0..total / seal {
            segments.push(live(seal));
            while let Some(mut places) = policy.choose(&segments) {
                places.sort_unstable();
                let taken = places.iter().rev().map(|&place| segments.remove(place).rows);
                let rows = taken.sum();
                assert!(rows <= policy.max_rows);
                segments.push(live(rows));
                rewritten += rows;
            }
            most = most.max(segments.len());
        }
        let kept: usize = segments.iter().map(|s| s.rows).sum();
        assert_eq!(kept, total / seal * seal, "no row is lost or doubled");
        (rewritten as f64 / kept as f64, most)
    }

    #[test]
    fn rows_are_rewritten_seldom_and_segments_stay_few() {
        for seal in [5000, 10_000, 32_768, 100_000] {
            let (rewritten, most) = rewrites(seal, 1_000_000);
            assert!(rewritten <= 2.0, "{seal}: {rewritten}");
            assert!(most <= 32, "{seal}: {most} segments");
        }
        for seal in [100, 600, 2400] {
            let (rewritten, most) = rewrites(seal, 1_000_000);
            assert!(rewritten <= 3.0, "{seal}: {rewritten}");
            assert!(most <= 64 + 32, "{seal}: {most} segments");
        }
    }
}
