//! Which colours a picture shows and how much of each: what a part of it shows as well, wherever it was cut and however it was
//! turned or scaled.
//!
//! A histogram of the blue and red difference, brightness left out, with bins that are finer near grey, where most colours lie
//! (the square root of the distance), and each colour shared between the four bins around it, so that the noise of a
//! compression moves little. Swain and Ballard, *Color Indexing*, 1991, compare histograms by their intersection; here one may be part of the other.

use image::RgbImage;

/// Bins of each axis.
const SIDE: usize = 16;
/// Bytes of a palette.
pub const PALETTE_BYTES: usize = SIDE * SIDE;
/// Every so many rows and columns a pixel is looked at.
const STEP: usize = 4;
/// Parts of the way from one bin to the next.
const PARTS: usize = 64;
/// A picture that is part of another one is taken for at most this share of it.
const LEAST_SHARE: f32 = 0.2;

/// The colours of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette([u8; PALETTE_BYTES]);

/// What two palettes have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shared {
    /// Share of one picture whose colours the other has room for, 0 to 1, where one may be a fifth of the other; of the picture
    /// that fits better into the other.
    pub held: f32,
    /// How many colours that picture has, as many equal shares would be as unequal: 1 for one colour, up to 256.
    pub colours: f32,
}

impl Palette {
    /// The colours of a preview; without pixels, none.
    #[must_use]
    pub fn of(preview: &RgbImage) -> Self {
        let (width, height) = (preview.width() as usize, preview.height() as usize);
        let place = places();
        let mut sums = [0u32; PALETTE_BYTES];
        let mut count = 0u32;
        let first = |side: usize| (STEP / 2).min(side.saturating_sub(1));
        for row in preview
            .as_raw()
            .chunks_exact(width.max(1) * 3)
            .skip(first(height))
            .step_by(STEP)
        {
            for [red, green, blue] in row.as_chunks::<3>().0.iter().skip(first(width)).step_by(STEP) {
                let [red, green, blue] = [red, green, blue].map(|&v| i32::from(v));
                let blueness = (-43 * red - 85 * green + 128 * blue) >> 8;
                let redness = (128 * red - 107 * green - 21 * blue) >> 8;
                let [u, v] = [blueness, redness].map(|c| place[usize::from(c.wrapping_add(128) as u8)]);
                let ((x, right), (y, below)) = ((u / PARTS, u % PARTS), (v / PARTS, v % PARTS));
                let (left, above) = (PARTS - right, PARTS - below);
                let at = y * SIDE + x;
                sums[at] += (left * above) as u32;
                sums[at + 1] += (right * above) as u32;
                sums[at + SIDE] += (left * below) as u32;
                sums[at + SIDE + 1] += (right * below) as u32;
                count += 1;
            }
        }
        let whole = f64::from(count.max(1)) * (PARTS * PARTS) as f64;
        Self(sums.map(|sum| ((f64::from(sum) / whole).sqrt() * 255.0).round() as u8))
    }

    /// A palette as [`Self::as_bytes`] gave it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; PALETTE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The square root of the share of each colour, 255 for the whole, row by row of the red difference.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; PALETTE_BYTES] {
        &self.0
    }

    /// What it has in common with another one; the same whichever is asked.
    #[must_use]
    pub fn shared(&self, other: &Self) -> Shared {
        let [mine, others] = [self.area(), other.area()];
        let scale = mine / others;
        let (mut here, mut there) = (0.0, 0.0);
        for (&a, &b) in self.0.iter().zip(&other.0) {
            let (a, b) = (f32::from(a).powi(2), f32::from(b).powi(2) * scale);
            here += a.min(b / LEAST_SHARE);
            there += b.min(a / LEAST_SHARE);
        }
        let (inner, held) = if here >= there {
            (self, here)
        } else {
            (other, there)
        };
        Shared {
            held: (held / mine).min(1.0),
            colours: inner.colours(),
        }
    }

    /// Sum of the shares, which rounding moves a little.
    fn area(&self) -> f32 {
        let sum: u32 = self.0.iter().map(|&v| u32::from(v) * u32::from(v)).sum();
        sum.max(1) as f32
    }

    fn colours(&self) -> f32 {
        let squares: f32 = self.0.iter().map(|&v| f32::from(v).powi(4)).sum();
        self.area().powi(2) / squares.max(1.0)
    }
}

/// Where a difference from grey, −128 to 127, falls on an axis, in parts of a bin; never in the last bin.
fn places() -> [usize; 256] {
    std::array::from_fn(|at| {
        let difference = at as f64 - 128.0;
        let bent = difference.abs().sqrt().copysign(difference) * 0.9375;
        let place = (bent + (SIDE - 1) as f64 / 2.0).max(0.0) * PARTS as f64;
        (place as usize).min((SIDE - 1) * PARTS - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::imageops;

    /// Blobs of some colours, which no part shows all of.
    fn picture(seed: u32) -> RgbImage {
        RgbImage::from_fn(320, 240, |x, y| {
            let cell = ((x / 40) + 8 * (y / 40) + 64 * seed).wrapping_mul(2_654_435_761);
            let cell = (cell ^ (cell >> 15)).wrapping_mul(2_246_822_519);
            image::Rgb([24, 16, 8].map(|shift| (cell >> shift) as u8))
        })
    }

    #[test]
    fn a_part_is_held_by_its_whole_turned_and_scaled() {
        let whole = picture(1);
        let part = imageops::crop_imm(&whole, 80, 40, 160, 120).to_image();
        let part = imageops::rotate90(&imageops::resize(&part, 320, 240, imageops::FilterType::Triangle));
        let [whole, part, other] = [&whole, &part, &picture(2)].map(Palette::of);
        let shared = whole.shared(&part);
        assert!(shared.held > 0.97, "{shared:?}");
        assert_eq!(shared, part.shared(&whole));
        assert!(part.shared(&other).held < 0.9, "{:?}", part.shared(&other));
        assert!(shared.colours > 8.0, "{shared:?}");
        assert!(whole.shared(&whole).held > 0.999);
    }

    #[test]
    fn brightness_and_compression_leave_it_nearly_as_it_is() {
        let image = picture(3);
        let darker = RgbImage::from_fn(320, 240, |x, y| {
            image::Rgb(image.get_pixel(x, y).0.map(|v| (f32::from(v) * 0.9) as u8))
        });
        let coded = crate::vision::thumbnail::encode(&image).expect("encodes");
        let coded = crate::vision::thumbnail::decode(&coded).expect("decodes");
        let [image, darker, coded] = [&image, &darker, &coded].map(Palette::of);
        let held = [darker, coded].map(|other| image.shared(&other).held);
        assert!(held.iter().all(|&held| held > 0.95), "{held:?}");
    }

    #[test]
    fn grey_is_one_colour_and_no_size_is_too_small() {
        let grey = Palette::of(&RgbImage::from_fn(64, 64, |x, y| {
            image::Rgb([(x * 3 + y) as u8; 3])
        }));
        let red = Palette::of(&RgbImage::from_pixel(1, 1, image::Rgb([250, 10, 10])));
        assert!(grey.colours() < 5.0, "{}", grey.colours());
        assert_eq!(grey.shared(&red).held, 0.0);
        assert_eq!(Palette::of(&RgbImage::new(0, 0)).area(), 1.0);
        for (width, height) in [(1, 90), (90, 1), (2, 2), (3, 5)] {
            let image = RgbImage::from_pixel(width, height, image::Rgb([9, 200, 70]));
            assert!(Palette::of(&image).area() > 60_000.0, "{width} × {height}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let palette = Palette::of(&picture(4));
        assert_eq!(Palette::from_bytes(*palette.as_bytes()), palette);
    }
}
