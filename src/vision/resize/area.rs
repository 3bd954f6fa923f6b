//! Shrinking by area: every size that is wanted of an image in one pass over its lines.
//!
//! The sums run in f32 in a fixed order without fused multiplication, so that the answer is the same on every processor.

use image::RgbImage;

use crate::vision::wide::{Kernel, whole, wide};

/// Channels of a pixel, and of the register that sums it up.
const CHANNELS: usize = 3;
const LANES: usize = 4;

/// Shrinks `image` to each of `sizes` (width, height), none larger than the image on either side.
pub(super) fn shrink<const N: usize>(image: &RgbImage, sizes: [(u32, u32); N]) -> [RgbImage; N] {
    let mut targets = sizes.map(|size| Target::new(image.dimensions(), size));
    wide(Pass {
        image,
        targets: &mut targets,
    });
    targets.map(|target| target.out)
}

/// One output position of the filter along an axis: `weights` apply to the inputs from `start` on and sum to 1.
struct Span {
    start: usize,
    weights: Vec<f32>,
}

/// Coverage of `input` cells by each of `output` ≤ `input` cells.
fn spans(input: u32, output: u32) -> Vec<Span> {
    let ratio = f64::from(input) / f64::from(output);
    (0..output)
        .map(|i| {
            let from = f64::from(i) * ratio;
            let to = (f64::from(i + 1) * ratio).min(f64::from(input));
            let mut weights = Vec::new();
            let mut cell = from.floor();
            let start = cell;
            while cell < to {
                let covered = (cell + 1.0).min(to) - cell.max(from);
                // rounding leaves slivers at exact ratios
                if covered > 1e-9 || weights.is_empty() {
                    weights.push(covered);
                }
                cell += 1.0;
            }
            let sum: f64 = weights.iter().sum();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a pixel position, and weights within 0..=1"
            )]
            Span {
                start: start as usize,
                weights: weights.iter().map(|w| (w / sum) as f32).collect(),
            }
        })
        .collect()
}

/// The filter along the lines: the same number of weights for every output, so that the loop over them is predictable.
struct Columns {
    starts: Vec<usize>,
    /// `[outputs][count]`.
    weights: Vec<f32>,
    count: usize,
}

impl Columns {
    fn new(input: u32, output: u32) -> Self {
        let spans = spans(input, output);
        let count = spans.iter().map(|span| span.weights.len()).max().unwrap_or(1);
        let mut columns = Self {
            starts: Vec::with_capacity(spans.len()),
            weights: Vec::with_capacity(spans.len() * count),
            count,
        };
        for span in spans {
            // filled up with zeros behind, and in front where the line ends
            let start = span.start.min(input as usize - count);
            columns.starts.push(start);
            columns
                .weights
                .extend(std::iter::repeat_n(0.0, span.start - start));
            columns.weights.extend(&span.weights);
            columns.weights.resize(columns.starts.len() * count, 0.0);
        }
        columns
    }
}

/// One size that is wanted, with the row that is being added up.
struct Target {
    columns: Columns,
    rows: Vec<Span>,
    /// Rows that are complete.
    done: usize,
    /// The lines of a row added up, weighted, and one float more: pixels are read by four.
    sums: Vec<f32>,
    /// The row that is complete, and one float more: pixels are written by four.
    means: Vec<f32>,
    out: RgbImage,
}

impl Target {
    fn new(input: (u32, u32), (width, height): (u32, u32)) -> Self {
        Self {
            columns: Columns::new(input.0, width),
            rows: spans(input.1, height),
            done: 0,
            sums: vec![0.0; input.0 as usize * CHANNELS + LANES - CHANNELS],
            means: vec![0.0; width as usize * CHANNELS + LANES - CHANNELS],
            out: RgbImage::new(width, height),
        }
    }

    /// Finishes the rows that need no line of the image after line `y`. A row's lines are added up when the last of them has
    /// come: the others are still near.
    #[inline(always)]
    fn take(&mut self, y: usize, lines: &[u8]) {
        let stride = lines.len() / (y + 1);
        while let Some(row) = self.rows.get(self.done) {
            if y + 1 < row.start + row.weights.len() {
                return;
            }
            let lines = &lines[row.start * stride..];
            let sums = &mut self.sums[..stride];
            // loops of known length, unrolled
            match row.weights.len() {
                1 => add_up::<1>(lines, &row.weights, sums),
                2 => add_up::<2>(lines, &row.weights, sums),
                3 => add_up::<3>(lines, &row.weights, sums),
                4 => add_up::<4>(lines, &row.weights, sums),
                5 => add_up::<5>(lines, &row.weights, sums),
                _ => add_up::<6>(lines, &row.weights, sums),
            }
            self.finish_row();
        }
    }

    #[inline(always)]
    fn finish_row(&mut self) {
        let (columns, sums, means) = (&self.columns, &self.sums, &mut self.means);
        // loops of known length, unrolled
        match columns.count {
            2 => average::<2>(columns, sums, means),
            3 => average::<3>(columns, sums, means),
            4 => average::<4>(columns, sums, means),
            5 => average::<5>(columns, sums, means),
            6 => average::<6>(columns, sums, means),
            _ => average_of_any(columns, sums, means),
        }
        let means = &means[..means.len() + CHANNELS - LANES];
        let row = &mut self.out.as_flat_samples_mut().samples[self.done * means.len()..][..means.len()];
        for (value, mean) in row.iter_mut().zip(means) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a mean of bytes"
            )]
            let byte = whole(*mean) as u8;
            *value = byte;
        }
        self.done += 1;
    }
}

/// The weighted sum of the lines that begin `lines`, as many as there are weights, the first `COUNT` of them in one pass.
#[inline(always)]
fn add_up<const COUNT: usize>(lines: &[u8], weights: &[f32], sums: &mut [f32]) {
    let stride = sums.len();
    let line = |k: usize| &lines[k * stride..][..stride];
    let first: [&[u8]; COUNT] = std::array::from_fn(line);
    let leading: [f32; COUNT] = std::array::from_fn(|k| weights[k]);
    for (i, sum) in sums.iter_mut().enumerate() {
        let mut total = leading[0] * f32::from(first[0][i]);
        for k in 1..COUNT {
            total += leading[k] * f32::from(first[k][i]);
        }
        *sum = total;
    }
    for (k, &weight) in weights.iter().enumerate().skip(COUNT) {
        for (sum, &value) in sums.iter_mut().zip(line(k)) {
            *sum += weight * f32::from(value);
        }
    }
}

/// The weighted means of a row whose outputs have `COUNT` weights each, and a half.
#[inline(always)]
fn average<const COUNT: usize>(columns: &Columns, sums: &[f32], means: &mut [f32]) {
    let (weights, _) = columns.weights.as_chunks::<COUNT>();
    for (i, (&start, weights)) in columns.starts.iter().zip(weights).enumerate() {
        average_one(weights, &sums[start * CHANNELS..], &mut means[i * CHANNELS..]);
    }
}

/// The same for any number of weights.
#[inline(always)]
fn average_of_any(columns: &Columns, sums: &[f32], means: &mut [f32]) {
    let weights = columns.weights.chunks_exact(columns.count);
    for (i, (&start, weights)) in columns.starts.iter().zip(weights).enumerate() {
        average_one(weights, &sums[start * CHANNELS..], &mut means[i * CHANNELS..]);
    }
}

/// The fourth lane is the next pixel's first channel: it costs nothing and is written over.
#[inline(always)]
fn average_one(weights: &[f32], inputs: &[f32], means: &mut [f32]) {
    let inputs = &inputs[..weights.len() * CHANNELS + LANES - CHANNELS];
    let mut mean = [0.5_f32; LANES];
    for (k, &weight) in weights.iter().enumerate() {
        for lane in 0..LANES {
            mean[lane] += weight * inputs[k * CHANNELS + lane];
        }
    }
    means[..LANES].copy_from_slice(&mean);
}

/// The pass over all lines.
struct Pass<'a, const N: usize> {
    image: &'a RgbImage,
    targets: &'a mut [Target; N],
}

impl<const N: usize> Kernel for Pass<'_, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let stride = self.image.width() as usize * CHANNELS;
        for y in 0..self.image.height() as usize {
            let lines = &self.image.as_raw()[..(y + 1) * stride];
            for target in &mut *self.targets {
                target.take(y, lines);
            }
        }
    }
}
