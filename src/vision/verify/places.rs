//! Where a tile lies in both previews, and what brightness and colour it has there.

use super::Features;
use super::affine::Affine;
use super::plane::Plane;
use super::tiles::Tile;
use crate::vision::polygon::clip;

/// Side of a chroma plane's pixel, pixels of the preview.
const CHROMA: f32 = 4.0;
/// Difference of the ground's brightness from which it is another, grey levels.
const OTHER_BRIGHTNESS: f32 = 20.0;
/// The same of colour, levels of 0 to 255: its planes are coarse, and dense ink colours the paper between the letters.
const OTHER_COLOUR: f32 = 40.0;

/// A pair of images, and the map that carries pixels of A's preview to pixels of B's.
pub(super) struct Places<'f> {
    pub(super) a: &'f Features,
    pub(super) b: &'f Features,
    pub(super) map: Affine,
    /// Pixels of A's preview per pixel of the plane the tiles were measured on.
    pub(super) unit: f64,
}

impl Places<'_> {
    /// Mean blue and red difference of a tile, in A and in B.
    fn chroma(&self, tile: &Tile) -> [[f32; 2]; 2] {
        let [here, there] = self.boxes(tile).map(|bounds| bounds.map(|v| v / CHROMA));
        [0, 1].map(|c| [self.a.chroma[c].mean(here), self.b.chroma[c].mean(there)])
    }

    /// Slope and residual of the mean chroma of tiles, A to B.
    pub(super) fn colour<'t>(&self, tiles: impl Iterator<Item = &'t Tile>) -> (f32, f32) {
        let points: Vec<[[f32; 2]; 2]> = tiles.map(|tile| self.chroma(tile)).collect();
        if points.len() < 4 {
            return (1.0, 0.0);
        }
        let n = points.len() as f32;
        let mut sums = [[0.0f32; 3]; 2];
        for c in 0..2 {
            let mean = |side: usize| points.iter().map(|p| p[c][side]).sum::<f32>() / n;
            let (ma, mb) = (mean(0), mean(1));
            for p in &points {
                let (x, y) = (p[c][0] - ma, p[c][1] - mb);
                sums[c][0] += x * x;
                sums[c][1] += x * y;
                sums[c][2] += y * y;
            }
        }
        let [xx, xy, yy] = [0, 1, 2].map(|i| (sums[0][i] + sums[1][i]) / n);
        if xx < 4.0 {
            // A has next to no colour: all colour of B is unexplained.
            return (1.0, yy.sqrt());
        }
        let slope = xy / xx;
        (slope, (yy - slope * xy).max(0.0).sqrt())
    }

    /// Whether most of a tile has another brightness or colour: ink covers less, what is laid over an image covers all of it.
    /// `tone` is gain and offset of brightness.
    pub(super) fn has_other_ground(&self, tile: &Tile, (gain, offset): (f32, f32)) -> bool {
        let [[x, u, v], [y, p, q]] = self.ground(tile);
        (y - gain * x - offset).abs() > OTHER_BRIGHTNESS || (p - u).hypot(q - v) > OTHER_COLOUR
    }

    /// The ground of a tile in A and in B: median brightness, blue and red difference.
    pub(super) fn ground(&self, tile: &Tile) -> [Ground; 2] {
        let boxes = self.boxes(tile);
        [(self.a, boxes[0]), (self.b, boxes[1])].map(|(image, bounds)| {
            let median = |plane: &Plane, scale: f32| f32::from(plane.median(bounds.map(|v| v / scale)));
            [
                median(&image.luma[0], 1.0),
                median(&image.chroma[0], CHROMA),
                median(&image.chroma[1], CHROMA),
            ]
        })
    }

    /// The tile in A, and the box around it in B: left, right, top, bottom, pixels of the previews.
    pub(super) fn boxes(&self, tile: &Tile) -> [[f32; 4]; 2] {
        let here = tile.bounds.map(|v| v * self.unit as f32);
        let [left, right, top, bottom] = here.map(f64::from);
        let (p, q) = (self.map.apply([left, top]), self.map.apply([right, bottom]));
        let there = [p[0].min(q[0]), p[0].max(q[0]), p[1].min(q[1]), p[1].max(q[1])].map(|v| v as f32);
        [here, there]
    }
}

/// Brightness, blue and red difference of what most of a tile is painted with, levels of 0 to 255.
pub(super) type Ground = [f32; 3];

/// The parts of A and of B that the other shows, at least: left, right, top, bottom, pixels of the previews. `None` where these
/// have no room for a texture.
pub(super) fn shared(map: &Affine, a: &Features, b: &Features) -> Option<[[usize; 4]; 2]> {
    let back = map.inverse()?;
    let seen = |image: &Features, other: &Features, map: &Affine| {
        let corners = other.corners().map(|p| map.apply(p));
        let range = |axis: usize, side: u32| {
            let along = corners.map(|corner| corner[axis].round().clamp(0.0, f64::from(side)) as usize);
            [
                along.iter().copied().fold(usize::MAX, usize::min),
                along.into_iter().fold(0, usize::max),
            ]
        };
        let ([left, right], [top, bottom]) = (range(0, image.width), range(1, image.height));
        (right > left + 1 && bottom > top + 1).then_some([left, right, top, bottom])
    };
    Some([seen(a, b, &back)?, seen(b, a, map)?])
}

/// Shares of the area of A and of B that the other shows.
pub(super) fn overlap(map: &Affine, a: &Features, b: &Features) -> (f32, f32) {
    let Some(back) = map.inverse() else {
        return (0.0, 0.0);
    };
    let (wa, ha) = (f64::from(a.width), f64::from(a.height));
    let (wb, hb) = (f64::from(b.width), f64::from(b.height));
    let shown = b.corners().map(|p| back.apply(p));
    let polygon = clip(&shown, [wa, ha]);
    let area = polygon
        .iter()
        .zip(polygon.iter().cycle().skip(1))
        .map(|(p, q)| p[0] * q[1] - p[1] * q[0])
        .sum::<f64>()
        .abs()
        / 2.0;
    let share = |part: f64, whole: f64| (part / whole).clamp(0.0, 1.0) as f32;
    (
        share(area, wa * ha),
        share(area * map.determinant().abs(), wb * hb),
    )
}
