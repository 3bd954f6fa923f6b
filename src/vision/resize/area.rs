//! Shrinking by area: every size that is wanted of an image in one pass over its lines.
//!
//! The sums run in f32 in a fixed order without fused multiplication, so that the answer is the same on every processor.

use image::RgbImage;

use crate::vision::wide::{Kernel, wide};

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
    /// The lines of the row added up so far, weighted, and one float more: pixels are read by four.
    sums: Vec<f32>,
    /// The row that is complete, and one byte more: pixels are written by four.
    row: Vec<u8>,
    out: RgbImage,
}

impl Target {
    fn new(input: (u32, u32), (width, height): (u32, u32)) -> Self {
        Self {
            columns: Columns::new(input.0, width),
            rows: spans(input.1, height),
            done: 0,
            sums: vec![0.0; input.0 as usize * CHANNELS + LANES - CHANNELS],
            row: vec![0; width as usize * CHANNELS + LANES - CHANNELS],
            out: RgbImage::new(width, height),
        }
    }

    /// Takes line `y` of the image; lines come in order.
    #[inline(always)]
    fn take(&mut self, y: usize, line: &[u8]) {
        // a line may end one row and begin the next
        while let Some(row) = self.rows.get(self.done) {
            let Some(&weight) = y.checked_sub(row.start).and_then(|i| row.weights.get(i)) else {
                return;
            };
            let sums = self.sums.iter_mut().zip(line);
            if y == row.start {
                sums.for_each(|(sum, &value)| *sum = weight * f32::from(value));
            } else {
                sums.for_each(|(sum, &value)| *sum += weight * f32::from(value));
            }
            if y + 1 < row.start + row.weights.len() {
                return;
            }
            self.finish_row();
        }
    }

    #[inline(always)]
    fn finish_row(&mut self) {
        let Columns {
            starts,
            weights,
            count,
        } = &self.columns;
        for (i, (&start, weights)) in starts.iter().zip(weights.chunks_exact(*count)).enumerate() {
            let inputs = &self.sums[start * CHANNELS..][..count * CHANNELS + LANES - CHANNELS];
            // the fourth lane is the next pixel's first channel: it costs nothing and is written over
            let mut mean = [0.5_f32; LANES];
            for (k, &weight) in weights.iter().enumerate() {
                let input: &[f32; LANES] = inputs[k * CHANNELS..]
                    .first_chunk()
                    .expect("four floats are left");
                for lane in 0..LANES {
                    mean[lane] += weight * input[lane];
                }
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a mean of bytes, and float-to-int casts saturate"
            )]
            let pixel = mean.map(|m| m as u8);
            self.row[i * CHANNELS..][..LANES].copy_from_slice(&pixel);
        }
        let row = &self.row[..self.row.len() + CHANNELS - LANES];
        self.out.as_flat_samples_mut().samples[self.done * row.len()..][..row.len()].copy_from_slice(row);
        self.done += 1;
    }
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
        for (y, line) in self.image.as_raw().chunks_exact(stride).enumerate() {
            for target in &mut *self.targets {
                target.take(y, line);
            }
        }
    }
}
