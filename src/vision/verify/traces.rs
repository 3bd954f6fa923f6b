//! Which of two aligned images was altered: plain borders around what both show, and graphics where they differ.
//!
//! An overlay, a caption or a mosaic is drawn: flat fills and hard edges. A photograph under it is neither. A border is
//! plain, and its tone ends where the picture begins; the plain ground of a studio photograph goes on inside.

use super::Features;
use super::plane::Plane;
use crate::types::{Region, Transform};

/// What betrays an altered image, on either side of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traces {
    /// Of the first image.
    pub a: Trace,
    /// Of the second.
    pub b: Trace,
}

/// What betrays one image as altered.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Trace {
    /// What the other image does not show of this one is plain.
    pub plain: bool,
    /// It is plain, or a ground of one tone that something is written or shown on.
    pub ground: bool,
    /// It is plain, or a plain ground that something is written on, and ends where the shared part begins: a border or a caption
    /// that was added.
    pub bordered: bool,
    /// Where the images differ this one looks drawn and the other does not.
    pub drawn: bool,
}

impl Traces {
    /// The same with the images in the other order.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self { a: self.b, b: self.a }
    }
}

/// Neighbouring pixels that differ by no more are flat, grey levels.
const FLAT: u8 = 2;
/// Neighbouring pixels that differ by as much stand on a hard edge, grey levels.
const HARD: u8 = 48;
/// Share of flat pixels that makes a border.
const PLAIN: f32 = 0.9;
/// Share of pixels of one tone that makes a ground which something is written on: a caption.
const GROUND: f32 = 0.6;
/// Samples along the longer side of an image.
const SAMPLES: usize = 160;
/// Pixels that are enough to judge by.
const ENOUGH: u32 = 24;
/// A side of a picture has a surrounding from this share of its width or height on.
const MARGIN: f64 = 0.03;
/// Pixels on either side of a seam that are compared, so far away that its blur does not reach them.
const SEAM: f64 = 2.5;
/// Levels that differ by no more than this are one tone.
const SAME: u8 = 6;
/// Share of a seam with one tone on both sides from which the ground of the picture goes on. Of plain borders added to
/// 600 photographs and pages 98 % had less, of crops that cut off plain ground 3 %.
const CONTINUOUS: f32 = 0.5;

/// Scale from which on edges are not compared.
const OTHER_SIZE: f64 = 1.5;

/// Looks for traces of editing in a pair that `transform` aligns and that differs in the boxes `changed` of the first.
#[must_use]
pub fn traces(a: &Features, b: &Features, transform: &Transform, changed: &[Region]) -> Traces {
    let Some(back) = transform.inverse() else {
        return Traces::default();
    };
    let (Some(luma_a), Some(luma_b)) = (a.luma.first(), b.luma.first()) else {
        return Traces::default();
    };
    let rest_a = rest(luma_a, transform);
    let rest_b = rest(luma_b, &back);
    let boxes: Vec<Bounds> = changed.iter().map(bounds).collect();
    let here = Grain::of(luma_a, &Part::inside(&Transform::IDENTITY, &boxes));
    let there = Grain::of(luma_b, &Part::inside(&back, &boxes));
    // Smaller, the same picture has more and harder edges.
    let area = |plane: &Plane| (plane.width * plane.height) as f64;
    let scale = transform.scale_between(area(luma_a), area(luma_b));
    let alike = (1.0 / OTHER_SIZE..OTHER_SIZE).contains(&scale);
    Traces {
        a: Trace {
            drawn: alike && here.is_drawn_beside(&there),
            ..rest_a
        },
        b: Trace {
            drawn: alike && there.is_drawn_beside(&here),
            ..rest_b
        },
    }
}

/// Left, right, top, bottom in relative units, edges included.
type Bounds = [f64; 4];

fn bounds(region: &Region) -> Bounds {
    let Region { x, y, width, height } = *region;
    [x, x + width, y, y + height].map(f64::from)
}

/// The points of an image that a map carries into boxes, or past all of them.
struct Part<'a> {
    map: &'a Transform,
    boxes: &'a [Bounds],
    inside: bool,
}

impl<'a> Part<'a> {
    const fn inside(map: &'a Transform, boxes: &'a [Bounds]) -> Self {
        Self {
            map,
            boxes,
            inside: true,
        }
    }

    const fn outside(map: &'a Transform, boxes: &'a [Bounds]) -> Self {
        Self {
            map,
            boxes,
            inside: false,
        }
    }

    /// Which of the points of a row are meant: those at `x` of ascending `columns`, at the height `y`, relative units.
    fn mark(&self, columns: &[f64], y: f64, marks: &mut [bool]) {
        marks.fill(!self.inside);
        for &[left, right, top, bottom] in self.boxes {
            let [first, end] = [(0, left, right), (1, top, bottom)]
                .map(|(axis, low, high)| run(columns, low, high, |x| self.map.apply([x, y])[axis]))
                .into_iter()
                .fold([0, columns.len()], |[first, end], [from, to]| {
                    [first.max(from), end.min(to)]
                });
            if first < end {
                marks[first..end].fill(self.inside);
            }
        }
    }
}

/// From where to where along ascending `columns` a value that only rises, or only falls, lies between `low` and `high`.
fn run(columns: &[f64], low: f64, high: f64, value: impl Fn(f64) -> f64) -> [usize; 2] {
    let (Some(&first), Some(&last)) = (columns.first(), columns.last()) else {
        return [0, 0];
    };
    if value(first) <= value(last) {
        [
            columns.partition_point(|&x| value(x) < low),
            columns.partition_point(|&x| value(x) <= high),
        ]
    } else {
        [
            columns.partition_point(|&x| value(x) > high),
            columns.partition_point(|&x| value(x) >= low),
        ]
    }
}

/// What the rest of an image, which `map` carries out of the other one, looks like.
fn rest(plane: &Plane, map: &Transform) -> Trace {
    // A little away from the seam, which resampling blurs.
    let shared: Bounds = [-0.02, 1.02, -0.02, 1.02];
    let corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
    let is_shown = |corner| {
        let [x, y] = map.apply(corner);
        shared[0] <= x && x <= shared[1] && shared[2] <= y && y <= shared[3]
    };
    if corners.into_iter().all(is_shown) {
        return Trace::default();
    }
    let rest = Grain::of(plane, &Part::outside(map, &[shared]));
    let plain = rest.flat() >= PLAIN;
    let ground = plain || rest.ground() >= GROUND;
    if rest.count < ENOUGH || !ground {
        return Trace::default();
    }
    let continuous = map.inverse().and_then(|frame| continuity(plane, &frame));
    Trace {
        plain,
        ground,
        bordered: continuous.is_some_and(|share| share < CONTINUOUS),
        drawn: false,
    }
}

/// Share of the seam between the picture that `frame` carries into `plane` and what is around it across which the tone goes
/// on; nothing where the picture reaches the edges of the plane.
fn continuity(plane: &Plane, frame: &Transform) -> Option<f32> {
    let (width, height) = (plane.width as f64, plane.height as f64);
    let pixel = |[x, y]: [f64; 2]| [x * width, y * height];
    let level = |[x, y]: [f64; 2]| {
        let inside = x >= 0.0 && y >= 0.0 && x < width && y < height;
        inside.then(|| plane.row(y as usize)[x as usize])
    };
    let (mut met, mut count) = (0u32, 0u32);
    for step in 0..SAMPLES {
        let t = (step as f64 + 0.5) / SAMPLES as f64;
        // A point of each side, and its neighbour a little further out.
        let sides = [
            ([0.0, t], [-MARGIN, t]),
            ([1.0, t], [1.0 + MARGIN, t]),
            ([t, 0.0], [t, -MARGIN]),
            ([t, 1.0], [t, 1.0 + MARGIN]),
        ];
        for (on, beyond) in sides {
            let (on, beyond) = (pixel(frame.apply(on)), pixel(frame.apply(beyond)));
            let (dx, dy) = (beyond[0] - on[0], beyond[1] - on[1]);
            let length = dx.hypot(dy);
            if level(beyond).is_none() || length < 1e-9 {
                continue;
            }
            let at = |pixels: f64| level([on[0] + dx / length * pixels, on[1] + dy / length * pixels]);
            if let (Some(inner), Some(outer)) = (at(-SEAM), at(SEAM)) {
                count += 1;
                met += u32::from(inner.abs_diff(outer) <= SAME);
            }
        }
    }
    (count >= ENOUGH).then(|| met as f32 / count as f32)
}

/// Steps of brightness over a part of an image.
struct Grain {
    count: u32,
    flat: u32,
    hard: u32,
    /// How many pixels have each level of brightness.
    levels: [u32; 256],
}

impl Grain {
    /// Over the points of a part of the image.
    fn of(plane: &Plane, part: &Part<'_>) -> Self {
        let mut grain = Self {
            count: 0,
            flat: 0,
            hard: 0,
            levels: [0; 256],
        };
        let stride = (plane.width.max(plane.height) / SAMPLES).max(1);
        let (width, height) = (plane.width as f64, plane.height as f64);
        let columns: Vec<usize> = (0..plane.width.saturating_sub(1)).step_by(stride).collect();
        let places: Vec<f64> = columns.iter().map(|&x| (x as f64 + 0.5) / width).collect();
        let mut marks = vec![false; columns.len()];
        for y in (0..plane.height.saturating_sub(1)).step_by(stride) {
            part.mark(&places, (y as f64 + 0.5) / height, &mut marks);
            let (row, below) = (plane.row(y), plane.row(y + 1));
            for (&x, _) in columns.iter().zip(&marks).filter(|(_, is_meant)| **is_meant) {
                let step = row[x].abs_diff(row[x + 1]).max(row[x].abs_diff(below[x]));
                grain.count += 1;
                grain.levels[usize::from(row[x])] += 1;
                grain.flat += u32::from(step <= FLAT);
                grain.hard += u32::from(step >= HARD);
            }
        }
        grain
    }

    fn flat(&self) -> f32 {
        self.flat as f32 / self.count.max(1) as f32
    }

    /// Share of the pixels whose tone is the commonest, give or take what recompression leaves.
    fn ground(&self) -> f32 {
        let most = self
            .levels
            .windows(usize::from(SAME))
            .map(|tone| tone.iter().sum::<u32>());
        most.max().unwrap_or(0) as f32 / self.count.max(1) as f32
    }

    fn hard(&self) -> f32 {
        self.hard as f32 / self.count.max(1) as f32
    }

    fn is_drawn_beside(&self, other: &Self) -> bool {
        let enough = self.count >= ENOUGH && other.count >= ENOUGH;
        let has_letters_beside = |a: &Self, b: &Self| a.hard() >= 3.0 * b.hard() + 0.02;
        // A fill over letters and letters on a plain ground look alike.
        let filled = self.flat() >= other.flat() + 0.25 && !has_letters_beside(other, self);
        let lettered = has_letters_beside(self, other) && self.flat() + 0.1 >= other.flat();
        enough && (filled || lettered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Transform;

    /// 200 x 200 pixels: what `picture` draws in the middle half, and `ground` around it.
    fn framed(ground: u8, picture: impl Fn(usize, usize) -> u8) -> Plane {
        let inside = |v: usize| (50..150).contains(&v);
        let data = (0..200 * 200)
            .map(|i| (i % 200, i / 200))
            .map(|(x, y)| {
                if inside(x) && inside(y) {
                    picture(x, y)
                } else {
                    ground
                }
            })
            .collect();
        Plane::new(200, 200, data)
    }

    /// Whether the rest is plain, and whether it is a border.
    fn border(plane: &Plane, map: &Transform) -> (bool, bool) {
        let found = rest(plane, map);
        assert!(found.ground || !(found.plain || found.bordered));
        (found.plain, found.bordered)
    }

    #[test]
    fn a_border_ends_where_the_picture_begins_and_a_ground_goes_on() {
        // From the whole plane to the picture in its middle.
        let middle = Transform {
            matrix: [2.0, 0.0, -0.5, 0.0, 2.0, -0.5],
            ..Transform::IDENTITY
        };
        let textured = |x: usize, y: usize| ((x * 37 + y * 91) % 200) as u8;
        let object = |x: usize, y: usize| {
            if x.abs_diff(100).max(y.abs_diff(100)) < 40 {
                30
            } else {
                240
            }
        };
        assert_eq!(
            border(&framed(240, textured), &middle),
            (true, true),
            "a photograph on white"
        );
        assert_eq!(
            border(&framed(240, object), &middle),
            (true, false),
            "an object on its ground"
        );
        // A third of the picture has the tone of the ground: sky over a grey border, for one.
        let sky = |x: usize, y: usize| if y < 85 { 90 } else { textured(x, y) };
        assert_eq!(
            border(&framed(90, sky), &middle),
            (true, true),
            "a sky of the border's tone"
        );
        let mut captioned = framed(240, textured);
        let lettered = |y: usize| (15..35).contains(&y) || (165..185).contains(&y);
        for (i, pixel) in captioned.data.iter_mut().enumerate() {
            if lettered(i / 200) && i % 9 < 4 {
                *pixel = 20;
            }
        }
        assert_eq!(
            border(&captioned, &middle),
            (false, true),
            "a caption: added, and not to be lost unasked"
        );
        let mut written = framed(240, object);
        for (i, pixel) in written.data.iter_mut().enumerate() {
            if lettered(i / 200) && i % 9 < 4 {
                *pixel = 20;
            }
        }
        let found = rest(&written, &middle);
        assert!(
            found.ground && !found.plain && !found.bordered,
            "letters on a ground that goes on in the picture: {found:?}"
        );
        let busy = framed(0, textured);
        let all_busy = Plane::new(
            200,
            200,
            (0..200 * 200).map(|i| textured(i % 200, i / 200)).collect(),
        );
        assert_eq!(
            border(&all_busy, &middle),
            (false, false),
            "what was cut off is no plain ground"
        );
        assert_eq!(
            border(&busy, &Transform::IDENTITY),
            (false, false),
            "nothing is around it"
        );
    }
}
