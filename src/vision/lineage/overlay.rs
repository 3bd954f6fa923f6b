//! What was drawn over a picture: letters, stickers, logos.
//!
//! Where two aligned images differ, the one that was drawn on has an edge around it; in the other the picture goes on. So has the one
//! from which something was taken away: only what does not look like part of a picture counts, by a score that was
//! fitted to overlays and to parts of other photographs (`benches/overlays.py`).

use image::RgbImage;

use super::{Later, Side, Sign};

/// Channels that differ by more are another thing, levels.
const OTHER: f32 = 28.0;
/// Pixels of nine that have to differ, for the one in their middle to count.
const OF_NINE: u8 = 5;
/// Differing pixels that make a verdict, and the share of the image beyond which it is another picture, or another tone.
const FEWEST: usize = 40;
const MOST: f32 = 0.5;
/// Pixels from one side of the rim to the other.
const ACROSS: usize = 3;
/// Difference of the steps across the rim that tells one image from the other, by their sum.
const EDGED: f32 = 0.1;
/// Share of the two commonest colours from which the undrawn image is plain there: something may have been wiped out.
const PLAIN: f32 = 0.8;
/// Levels of a channel that are one colour.
const SHADES: u8 = 24;
/// Levels at which a channel is off or full.
const ENDS: [u8; 2] = [10, 245];
/// Weights of the score: rim, colourfulness, what a veil leaves, share of the two commonest colours, share of the rim, of values
/// off or full; and its constant.
const WEIGHTS: [f32; 6] = [5.28, 3.81, -7.2, 5.3, 8.35, -0.01];
const CONSTANT: f32 = -10.85;
/// Score from which something was drawn: of 1,181 patches of other photographs one in twenty has more, of letters and faces 98 of
/// 100, of half-transparent logos 76.
const DRAWN: f32 = 0.0;

/// The image that was drawn on; both of one size.
pub(super) fn later(a: &RgbImage, b: &RgbImage) -> Option<Later> {
    let mask = Mask::of(a, b)?;
    let (rim_a, rim_b) = (mask.rim(a)?, mask.rim(b)?);
    let rim = (rim_a - rim_b) / (rim_a + rim_b + 8.0);
    let (side, drawn, clean) = if rim > 0.0 {
        (Side::First, a, b)
    } else {
        (Side::Second, b, a)
    };
    let is_drawn =
        rim.abs() >= EDGED && mask.two_colours(clean) < PLAIN && mask.score(drawn, clean, rim.abs()) >= DRAWN;
    is_drawn.then_some(Later {
        side,
        sign: Sign::LaidOver,
    })
}

/// The pixels in which two images differ.
struct Mask {
    width: usize,
    height: usize,
    /// Row by row.
    differs: Vec<bool>,
    count: usize,
    /// Share of the differing pixels beside one that does not.
    thin: f32,
}

fn pixels(image: &RgbImage) -> &[[u8; 3]] {
    image.as_raw().as_chunks().0
}

fn luma([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

impl Mask {
    fn of(a: &RgbImage, b: &RgbImage) -> Option<Self> {
        let (width, height) = (a.width() as usize, a.height() as usize);
        let [gain, offset] = tone(pixels(a), pixels(b));
        let raw: Vec<bool> = pixels(a)
            .iter()
            .zip(pixels(b))
            .map(|(p, q)| {
                p.iter()
                    .zip(q)
                    .any(|(&v, &w)| (f32::from(w) - gain * f32::from(v) - offset).abs() > OTHER)
            })
            .collect();
        let around = |marks: &[bool]| neighbours(marks, width, height);
        let differs: Vec<bool> = raw
            .iter()
            .zip(around(&raw))
            .map(|(&differs, count)| differs && count >= OF_NINE)
            .collect();
        let count = differs.iter().filter(|d| **d).count();
        if count < FEWEST || count as f32 > MOST * differs.len() as f32 {
            return None;
        }
        let beside = differs.iter().zip(around(&differs));
        let thin = beside.filter(|&(&differs, count)| differs && count < 9).count() as f32 / count as f32;
        Some(Self {
            width,
            height,
            differs,
            count,
            thin,
        })
    }

    /// Mean step of an image across the rim, levels of the channel that steps most.
    fn rim(&self, image: &RgbImage) -> Option<f32> {
        let pixels = pixels(image);
        let (mut sum, mut count) = (0u32, 0u32);
        let mut look = |place: usize, next: usize, outer: usize| {
            if self.differs[place] && !self.differs[next] && !self.differs[outer] {
                let steps = pixels[place]
                    .iter()
                    .zip(pixels[outer])
                    .map(|(v, w)| v.abs_diff(w));
                sum += u32::from(steps.max().unwrap_or(0));
                count += 1;
            }
        };
        for y in 0..self.height {
            for x in 0..self.width {
                let place = y * self.width + x;
                for (has_room, step) in [
                    (x + ACROSS < self.width, 1),
                    (y + ACROSS < self.height, self.width),
                ] {
                    if has_room {
                        let outer = place + ACROSS * step;
                        look(place, place + (ACROSS - 1) * step, outer);
                        look(outer, place + step, place);
                    }
                }
            }
        }
        (count > 10).then(|| sum as f32 / count as f32)
    }

    /// Share of the two commonest colours of the differing pixels.
    fn two_colours(&self, image: &RgbImage) -> f32 {
        let mut shades = std::collections::BTreeMap::<[u8; 3], u32>::new();
        for (pixel, _) in pixels(image)
            .iter()
            .zip(&self.differs)
            .filter(|(_, differs)| **differs)
        {
            *shades.entry(pixel.map(|v| v / SHADES)).or_default() += 1;
        }
        let mut commonest: Vec<u32> = shades.into_values().collect();
        commonest.sort_unstable_by(|p, q| q.cmp(p));
        commonest.iter().take(2).sum::<u32>() as f32 / self.count as f32
    }

    /// How much the differing pixels of `drawn` look laid over `clean`, and not like part of a picture.
    fn score(&self, drawn: &RgbImage, clean: &RgbImage, rim: f32) -> f32 {
        let count = self.count as f32;
        let inside = || {
            let both = pixels(drawn).iter().zip(pixels(clean)).zip(&self.differs);
            both.filter(|(_, differs)| **differs).map(|(pair, _)| pair)
        };
        let (mut colour, mut at_end) = (0u32, 0u32);
        for (pixel, _) in inside() {
            let (low, high) = pixel
                .iter()
                .fold((u8::MAX, 0), |(low, high), &v| (v.min(low), v.max(high)));
            colour += u32::from(high - low);
            at_end += pixel.iter().filter(|v| **v <= ENDS[0] || **v >= ENDS[1]).count() as u32;
        }
        let features = [
            rim,
            colour as f32 / count / 100.0,
            veil(inside(), count),
            self.two_colours(drawn),
            self.thin,
            at_end as f32 / (3.0 * count),
        ];
        features.iter().zip(WEIGHTS).map(|(v, w)| v * w).sum::<f32>() + CONSTANT
    }
}

/// How many pixels of the nine around each one, itself included, are marked.
fn neighbours(marks: &[bool], width: usize, height: usize) -> Vec<u8> {
    let across = |y: usize| {
        let row = &marks[y * width..(y + 1) * width];
        (0..width).map(move |x| {
            row[x.saturating_sub(1)..(x + 2).min(width)]
                .iter()
                .map(|m| u8::from(*m))
                .sum::<u8>()
        })
    };
    let mut counts = vec![0; marks.len()];
    for y in 0..height {
        let sums: Vec<u8> = across(y).collect();
        for row in y.saturating_sub(1)..(y + 2).min(height) {
            counts[row * width..(row + 1) * width]
                .iter_mut()
                .zip(&sums)
                .for_each(|(count, sum)| *count += sum);
        }
    }
    counts
}

/// Gain and offset from the brightness of A to that of B, fitted to the pixels that fit best.
fn tone(a: &[[u8; 3]], b: &[[u8; 3]]) -> [f32; 2] {
    let levels: Vec<(f32, f32)> = a
        .iter()
        .zip(b)
        .map(|(p, q)| (luma(p.map(f32::from)), luma(q.map(f32::from))))
        .collect();
    let [mut gain, mut offset] = [1.0, 0.0];
    let mut most = f32::MAX;
    for _ in 0..3 {
        let fitting = || {
            levels
                .iter()
                .filter(|(v, w)| (w - gain * v - offset).abs() <= most)
        };
        let count = fitting().count().max(1) as f64;
        let (sum_v, sum_w) = fitting().fold((0.0, 0.0), |(s, t), (v, w)| {
            (s + f64::from(*v), t + f64::from(*w))
        });
        let (mean_v, mean_w) = (sum_v / count, sum_w / count);
        let (shared, spread) = fitting().fold((0.0, 0.0), |(s, t), (v, w)| {
            let (v, w) = (f64::from(*v) - mean_v, f64::from(*w) - mean_w);
            (s + v * w, t + v * v)
        });
        let slope = shared / spread.max(1e-6);
        gain = slope as f32;
        offset = (mean_w - slope * mean_v) as f32;
        let mut left: Vec<f32> = levels
            .iter()
            .map(|(v, w)| (w - gain * v - offset).abs())
            .collect();
        let place = left.len() * 6 / 10;
        most = left.select_nth_unstable_by(place, f32::total_cmp).1.max(6.0);
    }
    [gain, offset]
}

/// How little of the drawn pixels' spread a veil of one colour leaves unexplained: the logarithm of the share, 0 where a veil explains
/// nothing.
fn veil<'a>(inside: impl Iterator<Item = (&'a [u8; 3], &'a [u8; 3])>, count: f32) -> f32 {
    let count = f64::from(count);
    // Of each channel: sums of the drawn, the clean, their squares, their product. Whole numbers add up to the same in any order.
    let mut sums = [[0u64; 5]; 3];
    for (drawn, clean) in inside {
        for ((sums, &v), &w) in sums.iter_mut().zip(drawn).zip(clean) {
            let (v, w) = (u64::from(v), u64::from(w));
            for (sum, term) in sums.iter_mut().zip([v, w, v * v, w * w, v * w]) {
                *sum += term;
            }
        }
    }
    let (mut left, mut all) = (20.0, 20.0);
    for [v, w, vv, ww, vw] in sums.map(|sums| sums.map(|sum| sum as f64 / count)) {
        let (spread_v, spread_w, shared) = (vv - v * v, ww - w * w, vw - v * w);
        let gain = (shared / spread_w.max(1e-6)).clamp(0.0, 1.0);
        left += spread_v - 2.0 * gain * shared + gain * gain * spread_w;
        all += spread_v;
    }
    (left / all).ln() as f32
}
