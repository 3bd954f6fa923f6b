//! What one tile of a pair says: it agrees, it shows something else, or nothing at all.

use super::planes::TEXTURED;
use super::tiles::Tile;

/// Correlation from which a tile agrees.
const AGREES: f32 = 0.8;
/// What recompression may leave between two tiles that agree, grey levels.
pub(super) const NOISE: f32 = 4.0;
/// What no recompression leaves: a tile that disagrees by more shows something else, grey levels.
pub(super) const CONTRADICTS: f32 = 12.0;
/// Displacement beyond which a tile no longer obeys the warp, pixels of the finest plane compared.
const MOVED: f64 = 1.25;
/// Difference of tone beyond which flat tiles disagree, grey levels.
pub(super) const TONE: f32 = 24.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Agrees,
    Disagrees,
    Neutral,
}

/// Gain and offset of brightness, fitted to the means of the tiles that correlate, twice, the second time without
/// the outliers of the first.
pub(super) fn tone(tiles: &[Tile]) -> (f32, f32) {
    let mut points: Vec<[f32; 2]> = tiles
        .iter()
        .filter(|t| t.correlation >= 0.6)
        .map(|t| [t.mean_target, t.mean_source])
        .collect();
    let mut fit = (1.0, 0.0);
    for _ in 0..2 {
        let n = points.len() as f32;
        if n < 3.0 {
            return fit;
        }
        let mean = |side: usize| points.iter().map(|p| p[side]).sum::<f32>() / n;
        let (mx, my) = (mean(0), mean(1));
        let xx: f32 = points.iter().map(|p| (p[0] - mx).powi(2)).sum();
        let xy: f32 = points.iter().map(|p| (p[0] - mx) * (p[1] - my)).sum();
        let gain = if xx > 25.0 * n {
            (xy / xx).clamp(-3.0, 3.0)
        } else {
            1.0
        };
        fit = (gain, my - gain * mx);
        points.retain(|p| (p[1] - fit.0 * p[0] - fit.1).abs() < TONE);
    }
    fit
}

/// What a tile says. `tone` is gain and offset of brightness.
pub(super) fn judge(tile: &Tile, (gain, offset): (f32, f32)) -> Verdict {
    let spread_source = tile.spread_source / gain.abs().clamp(0.2, 5.0);
    if tile.spread_target.max(spread_source) < TEXTURED {
        let expected = gain * tile.mean_target + offset;
        return if (tile.mean_source - expected).abs() <= TONE {
            Verdict::Neutral
        } else {
            Verdict::Disagrees
        };
    }
    let left = unexplained(tile, (gain, offset));
    let fits = tile.correlation >= AGREES || (tile.correlation > 0.3 && left <= NOISE);
    let is_still = || {
        tile.displacement()
            .is_none_or(|[x, y]| x * x + y * y <= MOVED * MOVED)
    };
    if fits && is_still() {
        Verdict::Agrees
    } else {
        Verdict::Disagrees
    }
}

/// What the best gain of its own leaves of a tile, grey levels; of flat tiles the difference in tone.
pub(super) fn unexplained(tile: &Tile, (gain, offset): (f32, f32)) -> f32 {
    let spread = tile
        .spread_target
        .max(tile.spread_source / gain.abs().clamp(0.2, 5.0));
    if spread < TEXTURED {
        return (tile.mean_source - gain * tile.mean_target - offset).abs();
    }
    spread * (1.0 - tile.correlation * tile.correlation).max(0.0).sqrt()
}
