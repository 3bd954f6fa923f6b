//! Which segments to merge. A decision only: no I/O.

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

    fn worn(self) -> bool {
        self.dead > 0 && self.dead * 100 >= self.rows * DEAD_PERCENT
    }

    /// Segments of one tier differ in size by less than a factor of [`FAN_IN`].
    fn tier(self) -> u32 {
        let units = self.living() / SMALLEST_TIER;
        units.checked_ilog(FAN_IN).map_or(0, |log| log + 1)
    }
}

/// A segment with this share of dead rows is rewritten.
const DEAD_PERCENT: usize = 20;
/// So many segments of one tier are merged into one of the next: each row is rewritten once a tier. With fewer, rows that
/// are sealed 32,768 at a time would be written six times over by the time they stand among millions; with more, a search
/// asks more segments.
const FAN_IN: usize = 6;
/// Living rows below which all segments are of the lowest tier.
const SMALLEST_TIER: usize = 2048;

/// Positions of the segments to merge into one of at most `max_rows`; `None` when all is well.
#[must_use]
pub fn choose(segments: &[Weight], max_rows: usize) -> Option<Vec<usize>> {
    let worn = segments.iter().position(|segment| segment.worn());
    let mut by_tier: std::collections::BTreeMap<u32, Vec<usize>> = std::collections::BTreeMap::new();
    for (place, segment) in segments.iter().enumerate() {
        by_tier.entry(segment.tier()).or_default().push(place);
    }
    let crowded = by_tier.into_values().find_map(|mut places| {
        places.sort_unstable_by_key(|&place| segments[place].living());
        let mut sum = 0;
        places.retain(|&place| {
            sum += segments[place].living();
            sum <= max_rows
        });
        (places.len() >= FAN_IN).then_some(places)
    });
    crowded.or_else(|| worn.map(|place| vec![place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(rows: usize) -> Weight {
        Weight { rows, dead: 0 }
    }

    #[test]
    fn worn_segments_are_rewritten_and_small_ones_merged() {
        assert_eq!(choose(&[], 1000), None);
        assert_eq!(
            choose(
                &[live(100_000), live(5), live(5), live(5), live(5), live(5)],
                1_000_000
            ),
            None
        );
        let small = [5, 5, 5, 5, 5, 0].map(live);
        assert_eq!(
            choose(&[&[live(100_000)], &small[..]].concat(), 1_000_000),
            Some(vec![6, 1, 2, 3, 4, 5])
        );
        let worn = Weight { rows: 100, dead: 20 };
        assert_eq!(choose(&[live(100), worn], 1000), Some(vec![1]));
        assert_eq!(choose(&[Weight { rows: 100, dead: 19 }], 1000), None);
        assert_eq!(choose(&[live(0)], 1000), None, "judgements alone");
    }

    #[test]
    fn nothing_grows_beyond_the_limit_and_merging_ends() {
        assert_eq!(choose(&[live(30_000); 6], 100_000), None);
        let mut segments: Vec<Weight> = Vec::new();
        let (mut rewritten, mut sealed) = (0, 0);
        for _ in 0..200 {
            segments.push(live(5000));
            sealed += 5000;
            while let Some(mut places) = choose(&segments, 200_000) {
                places.sort_unstable();
                let rows = places
                    .iter()
                    .rev()
                    .map(|&place| segments.remove(place).living())
                    .sum();
                assert!(rows <= 200_000);
                segments.push(live(rows));
                rewritten += rows;
            }
        }
        assert_eq!(segments.iter().map(|s| s.rows).sum::<usize>(), sealed);
        assert!(segments.len() <= 20, "{} segments", segments.len());
        assert!(rewritten <= 3 * sealed, "each row rewritten at most three times");
    }
}
