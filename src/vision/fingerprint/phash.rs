//! pHash of 256 bits, the perceptual hash that most tools use: doppel measures itself beside it.

use image::RgbImage;

use crate::types::PdqHash;
use crate::vision::resize;

/// Side of the down-sampled image.
const GRID: usize = 64;
/// Frequencies kept along each axis, the constant one included.
const FREQUENCIES: usize = 16;

/// One bit for each of the 16 × 16 lowest frequencies of a 64 × 64 grey image: whether it is above their median.
///
/// Source: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with 16 × 16
/// frequencies in place of 8 × 8.
#[must_use]
pub fn phash(image: &RgbImage) -> PdqHash {
    let small = resize::squash(image, GRID as u32, GRID as u32);
    let mut grey = [[0.0_f64; GRID]; GRID];
    for (x, y, pixel) in small.enumerate_pixels() {
        let [r, g, b] = pixel.0.map(f64::from);
        grey[y as usize][x as usize] = 0.299 * r + 0.587 * g + 0.114 * b;
    }
    let basis: [[f64; GRID]; FREQUENCIES] = std::array::from_fn(|k| {
        let scale = if k == 0 { 0.5_f64.sqrt() } else { 1.0 };
        std::array::from_fn(|x| {
            scale * (std::f64::consts::PI * k as f64 * (2 * x + 1) as f64 / (2 * GRID) as f64).cos()
        })
    });
    let dot = |a: &[f64; GRID], b: &[f64; GRID]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let rows: [[f64; FREQUENCIES]; GRID] =
        std::array::from_fn(|y| std::array::from_fn(|k| dot(&grey[y], &basis[k])));
    let mut spectrum = [0.0; FREQUENCIES * FREQUENCIES];
    for (i, value) in spectrum.iter_mut().enumerate() {
        let (v, u) = (i / FREQUENCIES, i % FREQUENCIES);
        *value = (0..GRID).map(|y| basis[v][y] * rows[y][u]).sum();
    }
    let mut sorted = spectrum;
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[127], sorted[128]);
    let mut bytes = [0; 32];
    for (i, value) in spectrum.iter().enumerate() {
        bytes[i / 8] |= u8::from(*value > median) << (i % 8);
    }
    PdqHash::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, seed: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let mut cell = (x * 8 / width + y * 8 / height * 8 + 64 * seed).wrapping_mul(2_654_435_761);
            cell = (cell ^ (cell >> 15)).wrapping_mul(2_246_822_519) >> 24;
            image::Rgb([cell as u8, (255 - cell) as u8, 80])
        })
    }

    #[test]
    fn a_smaller_copy_is_near_and_half_the_bits_are_set() {
        let hash = phash(&picture(600, 480, 1));
        assert!(hash.hamming(&phash(&picture(200, 160, 1))) < 20);
        assert!(hash.hamming(&phash(&picture(600, 480, 77))) > 80);
        assert_eq!(hash.hamming(&PdqHash::from_bytes([0; 32])), 128);
    }
}
