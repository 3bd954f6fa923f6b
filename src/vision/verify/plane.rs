//! Single-channel 8-bit images and their pyramids.
//!
//! Coordinates are continuous: pixel `i` spans `i..i + 1`, its centre is `i + 0.5`. Halving an image therefore
//! halves every coordinate exactly, without an offset.

use std::ops::Range;

use image::RgbImage;

use crate::vision::wide::{Kernel, roomy};

/// Side of the blocks that chroma is averaged over, in pixels.
pub(super) const BLOCK: usize = 4;

/// One channel of an image, 0 to 255, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) data: Vec<u8>,
}

impl Plane {
    pub(super) fn new(width: usize, height: usize, data: Vec<u8>) -> Self {
        debug_assert_eq!(width * height, data.len(), "a plane has one byte a pixel");
        Self { width, height, data }
    }

    #[inline(always)]
    pub(super) fn row(&self, y: usize) -> &[u8] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// Luma of an RGB image, BT.601 weights.
    pub(super) fn luma(image: &RgbImage) -> Self {
        let data = roomy(Luma(image.as_raw().as_chunks().0));
        Self::new(image.width() as usize, image.height() as usize, data)
    }

    /// Blue and red difference, BT.601, centred on 128, at a quarter of the size: means of 4×4 pixels, of fewer where the image
    /// has fewer. What is left over at the right and at the bottom is dropped.
    #[inline(always)]
    pub(super) fn chroma(image: &RgbImage) -> [Self; 2] {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let (block_width, block_height) = (BLOCK.min(width), BLOCK.min(height));
        let (columns, rows) = (width / block_width, height / block_height);
        let [mut blue, mut red] = [0; 2].map(|_| Vec::with_capacity(columns * rows));
        let mut sums = vec![[0i32; 3]; columns];
        // Rows are added up first, side by side: at most four, so sixteen bits hold them.
        let mut added = vec![0u16; width * 3];
        for lines in image.as_raw().chunks_exact(block_height * width * 3) {
            added.fill(0);
            for line in lines.chunks_exact(width * 3) {
                for (sum, &channel) in added.iter_mut().zip(line) {
                    *sum += u16::from(channel);
                }
            }
            for (sum, block) in sums.iter_mut().zip(added.chunks_exact(block_width * 3)) {
                *sum = [0; 3];
                for rgb in block.as_chunks::<3>().0 {
                    for (sum, &channel) in sum.iter_mut().zip(rgb) {
                        *sum += i32::from(channel);
                    }
                }
            }
            let count = (block_width * block_height) as i32;
            let level = |weighted: i32| to_u8(128 + (weighted + 128 * count).div_euclid(256 * count));
            blue.extend(sums.iter().map(|[r, g, b]| level(128 * b - 43 * r - 85 * g)));
            red.extend(sums.iter().map(|[r, g, b]| level(128 * r - 107 * g - 21 * b)));
        }
        [blue, red].map(|data| Self::new(columns, rows, data))
    }

    /// A quarter of the size of a picture of `width` × `height` pixels, from a plane of half of it, rounded up: means of 2×2 of
    /// its pixels. What is left over at the right and at the bottom is dropped.
    #[inline(always)]
    pub(super) fn quarter(halves: &[u8], (width, height): (usize, usize)) -> Self {
        let (columns, rows, stride) = (width / BLOCK, height / BLOCK, width.div_ceil(2));
        let mut data = vec![0; columns * rows];
        for (out, lines) in data
            .chunks_exact_mut(columns)
            .zip(halves.chunks_exact(2 * stride))
        {
            let (top, bottom) = lines.split_at(stride);
            let pairs = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
            for (out, (t, b)) in out.iter_mut().zip(pairs) {
                let sum = u16::from(t[0]) + u16::from(t[1]) + u16::from(b[0]) + u16::from(b[1]);
                *out = ((sum + 2) >> 2) as u8;
            }
        }
        Self::new(columns, rows, data)
    }

    /// Half the size by averaging 2×2 pixels; an odd last row or column is dropped. A single row or column is left
    /// as it is.
    #[inline(always)]
    pub(super) fn halved(&self) -> Self {
        if self.width < 2 || self.height < 2 {
            return self.clone();
        }
        let (width, height) = (self.width / 2, self.height / 2);
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            let (top, bottom) = (self.row(2 * y), self.row(2 * y + 1));
            data.extend(
                top.as_chunks::<2>()
                    .0
                    .iter()
                    .zip(bottom.as_chunks::<2>().0)
                    .map(|(t, b)| {
                        let sum = u16::from(t[0]) + u16::from(t[1]) + u16::from(b[0]) + u16::from(b[1]);
                        ((sum + 2) >> 2) as u8
                    }),
            );
        }
        Self::new(width, height, data)
    }

    /// Resampled to another size by bilinear interpolation; meant for factors of 0.7 to 1.4.
    #[inline(always)]
    pub(super) fn resampled(&self, width: usize, height: usize) -> Self {
        let sx = self.width as f32 / width as f32;
        let sy = self.height as f32 / height as f32;
        // At the border the second neighbour weighs nothing: whatever follows will do.
        let (firsts, across): (Vec<u32>, Vec<i32>) = (0..width)
            .map(|x| weights((x as f32 + 0.5) * sx - 0.5, self.width))
            .map(|(first, _, weight)| (first as u32, i32::from(weight)))
            .unzip();
        let mut data = vec![0; width * height];
        let mut blended = vec![0u16; self.width + 1];
        let mut pairs = vec![0u32; width];
        for (y, out) in data.chunks_exact_mut(width).enumerate() {
            let (y0, y1, fy) = weights((y as f32 + 0.5) * sy - 0.5, self.height);
            let (top, bottom) = (self.row(y0), self.row(y1));
            for ((out, &t), &b) in blended.iter_mut().zip(top).zip(bottom) {
                *out = u16::from(t) * (256 - fy) + u16::from(b) * fy;
            }
            // Only the reading is one by one.
            for (pair, &first) in pairs.iter_mut().zip(&firsts) {
                let two = &blended[first as usize..first as usize + 2];
                *pair = u32::from(two[0]) | u32::from(two[1]) << 16;
            }
            for ((out, &pair), &weight) in out.iter_mut().zip(&pairs).zip(&across) {
                let (left, right) = ((pair & 0xffff) as i32, (pair >> 16) as i32);
                *out = ((256 * left + (right - left) * weight + (1 << 15)) >> 16) as u8;
            }
        }
        Self::new(width, height, data)
    }

    /// Smoothed by the binomial kernel 1-4-6-4-1 (standard deviation 1) in both directions.
    #[inline(always)]
    pub(super) fn smoothed(&self) -> Self {
        let (w, h) = (self.width, self.height);
        if w < 5 || h < 5 {
            return self.clone();
        }
        let mut data = vec![0u8; w * h];
        let mut down = vec![0u16; w];
        for (y, out) in data.chunks_exact_mut(w).enumerate() {
            let line = |k: usize| self.row((y + k).saturating_sub(2).min(h - 1));
            let (a, b, c, d, e) = (line(0), line(1), line(2), line(3), line(4));
            for (((((o, &a), &b), &c), &d), &e) in down.iter_mut().zip(a).zip(b).zip(c).zip(d).zip(e) {
                *o = binomial([a, b, c, d, e].map(u16::from));
            }
            // At most 16 · 16 · 255 + 128: sixteen bits hold it.
            let level = |sum: u16| ((sum + 128) >> 8) as u8;
            for x in 0..w - 4 {
                out[x + 2] = level(binomial([
                    down[x],
                    down[x + 1],
                    down[x + 2],
                    down[x + 3],
                    down[x + 4],
                ]));
            }
            for x in [0, 1, w - 2, w - 1] {
                out[x] = level(16 * down[x]);
            }
        }
        Self::new(w, h, data)
    }

    /// Mean over the rectangle `x0..x1 × y0..y1` of the plane, in pixels, cut to whole pixels (at least one).
    pub(super) fn mean(&self, bounds: [f32; 4]) -> f32 {
        let (mut sum, mut count) = (0u32, 0u32);
        for row in self.cut(bounds) {
            sum += row.iter().map(|&v| u32::from(v)).sum::<u32>();
            count += row.len() as u32;
        }
        sum as f32 / count as f32
    }

    /// The means over a grid of `side` × `side` such rectangles that together are the rectangle `bounds`, rows from the top.
    #[inline(always)]
    pub(super) fn means(&self, [left, right, top, bottom]: [f32; 4], side: usize) -> Vec<f32> {
        let (dx, dy) = ((right - left) / side as f32, (bottom - top) / side as f32);
        let edges = |from: f32, step: f32, len: usize| -> Vec<Range<usize>> {
            (0..side)
                .map(|i| from + i as f32 * step)
                .map(|from| span(from, from + step, len))
                .collect()
        };
        let (columns, rows) = (edges(left, dx, self.width), edges(top, dy, self.height));
        let mut means = Vec::with_capacity(side * side);
        // Rows are added up first, side by side.
        let mut added = vec![0u32; self.width];
        for rows in rows {
            added.fill(0);
            for y in rows.clone() {
                for (sum, &v) in added.iter_mut().zip(self.row(y)) {
                    *sum += u32::from(v);
                }
            }
            for columns in &columns {
                let sum: u32 = added[columns.clone()].iter().sum();
                means.push(sum as f32 / (columns.len() * rows.len()) as f32);
            }
        }
        means
    }

    /// Median over such a rectangle, the upper one of an even number.
    pub(super) fn median(&self, bounds: [f32; 4]) -> u8 {
        let (mut levels, mut count) = ([0u32; 256], 0);
        for row in self.cut(bounds) {
            for &v in row {
                levels[usize::from(v)] += 1;
            }
            count += row.len() as u32;
        }
        let mut below = 0;
        let median = levels.iter().position(|&of_level| {
            below += of_level;
            below > count / 2
        });
        median.unwrap_or(255) as u8
    }

    /// The rows of a rectangle, cut to whole pixels (at least one).
    fn cut(&self, [x0, x1, y0, y1]: [f32; 4]) -> impl Iterator<Item = &[u8]> {
        let (xs, ys) = (span(x0, x1, self.width), span(y0, y1, self.height));
        ys.map(move |y| &self.row(y)[xs.clone()])
    }
}

/// The whole pixels between two edges, at least one.
fn span(from: f32, to: f32, len: usize) -> Range<usize> {
    let first = (from.max(0.0) as usize).min(len - 1);
    let end = (to.round().max(0.0) as usize).clamp(first + 1, len);
    first..end
}

/// The pixels of an image, to be weighted.
struct Luma<'a>(&'a [[u8; 3]]);

impl Kernel for Luma<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let mut data = vec![0; self.0.len()];
        for (out, &[r, g, b]) in data.iter_mut().zip(self.0) {
            // At most 256 · 255 + 128: sixteen bits hold it.
            *out = ((77 * u16::from(r) + 150 * u16::from(g) + 29 * u16::from(b) + 128) >> 8) as u8;
        }
        data
    }
}

/// Weighted 1-4-6-4-1.
#[inline(always)]
fn binomial([a, b, c, d, e]: [u16; 5]) -> u16 {
    a + e + 4 * (b + d) + 6 * c
}

/// The two neighbours of a position and the weight of the second in 256ths, clamped at the border.
fn weights(position: f32, len: usize) -> (usize, usize, u16) {
    let p = position.clamp(0.0, (len - 1) as f32);
    let first = p as usize;
    let second = (first + 1).min(len - 1);
    (first, second, ((p - first as f32) * 256.0) as u16)
}

fn to_u8(value: i32) -> u8 {
    u8::try_from(value.clamp(0, 255)).expect("clamped to a byte")
}
