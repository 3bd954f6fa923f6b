//! The refinement of a warp from what the tiles say about their own displacement.

use super::affine::{Affine, solve};
use super::tiles::Tile;

/// How freely a refinement may change the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freedom {
    /// Six parameters.
    Affine,
    /// Shift and scale per axis: for the first steps, where few tiles carry weight.
    ShiftAndScale,
}

/// One step of Gauss–Newton: tiles vote with their displacement, weighted by texture and agreement; outliers are
/// down-weighted (Tukey). Returns the improved map, or `None` when too little texture agrees.
pub(super) fn refine(map: &Affine, tiles: &[Tile], size: [usize; 2], freedom: Freedom) -> Option<Affine> {
    let (w, h) = (size[0] as f64, size[1] as f64);
    let limit = 3.0;
    let mut votes: Vec<(&Tile, f64)> = tiles
        .iter()
        .filter(|t| t.correlation > 0.25 && t.spread_target > 2.0 && t.spread_source > 1.0)
        .map(|t| (t, f64::from(t.correlation * t.correlation)))
        .collect();
    if votes.len() < 4 {
        return None;
    }
    // Normalised coordinates keep the system well conditioned.
    let place = |tile: &Tile| {
        let [x, y] = tile.centre();
        [x / w - 0.5, y / h - 0.5]
    };
    let mut step = [0.0; 6];
    for round in 0..3 {
        let mut normal = [[0.0; 6]; 6];
        let mut right = [0.0; 6];
        for (tile, weight) in &votes {
            let [x, y] = place(tile);
            let [xx, xy, yy] = tile.structure.map(|v| v * weight);
            let [px, py] = tile.pull.map(|v| v * weight);
            let basis = [x, y, 1.0];
            for i in 0..3 {
                for j in 0..3 {
                    let product = basis[i] * basis[j];
                    normal[i][j] += xx * product;
                    normal[i][j + 3] += xy * product;
                    normal[i + 3][j] += xy * product;
                    normal[i + 3][j + 3] += yy * product;
                }
                right[i] += px * basis[i];
                right[i + 3] += py * basis[i];
            }
        }
        let trace: f64 = (0..6).map(|i| normal[i][i]).sum();
        if trace <= 0.0 {
            return None;
        }
        for (i, row) in normal.iter_mut().enumerate() {
            // A little damping; rotation and shear are held still in the first steps.
            row[i] += 1e-4 * trace;
            if freedom == Freedom::ShiftAndScale && (i == 1 || i == 3) {
                row[i] += 1e3 * trace;
            }
        }
        step = solve(normal, right)?;
        if round == 2 {
            break;
        }
        let misfit = |tile: &Tile| {
            let [x, y] = place(tile);
            let predicted = [
                step[0] * x + step[1] * y + step[2],
                step[3] * x + step[4] * y + step[5],
            ];
            let [xx, xy, yy] = tile.structure;
            let (rx, ry) = (
                tile.pull[0] - xx * predicted[0] - xy * predicted[1],
                tile.pull[1] - xy * predicted[0] - yy * predicted[1],
            );
            (rx * rx + ry * ry).sqrt() / (xx + yy).max(1e-9)
        };
        let mut misfits: Vec<f64> = votes.iter().map(|(tile, _)| misfit(tile)).collect();
        misfits.sort_by(f64::total_cmp);
        let cut = (4.0 * misfits[misfits.len() / 2]).clamp(0.2, limit);
        for (tile, weight) in &mut votes {
            let ratio = misfit(tile) / cut;
            let tukey = if ratio < 1.0 {
                (1.0 - ratio * ratio).powi(2)
            } else {
                0.0
            };
            *weight = f64::from(tile.correlation * tile.correlation) * tukey;
        }
    }
    if step.iter().any(|s| !s.is_finite() || s.abs() > limit * 4.0) {
        return None;
    }
    // The target point x matches the source under x + step(x): apply the step first, then the old map.
    let shift = Affine([
        1.0 + step[0] / w,
        step[1] / h,
        step[2] - 0.5 * (step[0] + step[1]),
        step[3] / w,
        1.0 + step[4] / h,
        step[5] - 0.5 * (step[3] + step[4]),
    ]);
    Some(shift.then(map))
}
