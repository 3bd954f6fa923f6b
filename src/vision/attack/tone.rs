//! Edits that change values and leave pixels where they are.

use image::{Rgb, RgbImage, imageops};

use super::{Dice, Strength};

/// The JPEG that an edited image is stored as, decoded again.
pub(super) fn jpeg(image: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
    match image.write_with_encoder(encoder) {
        Ok(()) => image::load_from_memory(&bytes).map_or_else(|_| image.clone(), |decoded| decoded.to_rgb8()),
        Err(_) => image.clone(),
    }
}

pub(super) fn blur(image: &RgbImage, sigma: f32) -> RgbImage {
    imageops::blur(image, sigma.max(0.3))
}

pub(super) fn noise(image: &RgbImage, sigma: f32, dice: &mut Dice) -> RgbImage {
    let mut out = image.clone();
    for value in out.iter_mut() {
        *value = (f32::from(*value) + dice.normal() * sigma).clamp(0.0, 255.0) as u8;
    }
    out
}

/// Gamma, contrast and brightness together.
pub(super) fn tone(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let gain = 1.0 + dice.sign() * k.of([0.15, 0.35, 0.6]);
    let gamma = k.of([1.2_f32, 1.6, 2.2]).powf(dice.sign());
    let offset = dice.sign() * k.of([0.03, 0.08, 0.14]);
    let table: [u8; 256] = std::array::from_fn(|v| {
        let x = (v as f32 / 255.0).powf(gamma);
        (((x - 0.5) * gain + 0.5 + offset).clamp(0.0, 1.0) * 255.0) as u8
    });
    let mut out = image.clone();
    for value in out.iter_mut() {
        *value = table[usize::from(*value)];
    }
    out
}

/// Hue turned and saturation scaled.
pub(super) fn colour(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let turn = k.of([16.0, 40.0, 90.0]) * dice.sign();
    let saturation = k.of([1.3_f32, 1.7, 2.4]).powf(dice.sign());
    let mut out = image.clone();
    for pixel in out.pixels_mut() {
        let [h, s, v] = hsv(pixel.0);
        pixel.0 = rgb([(h + turn).rem_euclid(360.0), (s * saturation).min(1.0), v]);
    }
    out
}

/// Hue in degrees, saturation and value 0 to 1.
fn hsv(pixel: [u8; 3]) -> [f32; 3] {
    let [r, g, b] = pixel.map(|v| f32::from(v) / 255.0);
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let span = high - low;
    let hue = if span <= 0.0 {
        0.0
    } else if high <= r {
        60.0 * ((g - b) / span).rem_euclid(6.0)
    } else if high <= g {
        60.0 * ((b - r) / span + 2.0)
    } else {
        60.0 * ((r - g) / span + 4.0)
    };
    [hue, if high > 0.0 { span / high } else { 0.0 }, high]
}

fn rgb([h, s, v]: [f32; 3]) -> [u8; 3] {
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + h / 60.0).rem_euclid(6.0);
        let value = v - v * s * k.min(4.0 - k).clamp(0.0, 1.0);
        (value * 255.0 + 0.5) as u8
    })
}

fn luma(pixel: Rgb<u8>) -> f32 {
    let [r, g, b] = pixel.0.map(f32::from);
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Grey, sepia, or two steps a channel.
pub(super) fn grey(image: &RgbImage, k: Strength) -> RgbImage {
    let mut out = image.clone();
    for pixel in out.pixels_mut() {
        let grey = luma(*pixel);
        pixel.0 = match k {
            Strength::Mild => [grey as u8; 3],
            Strength::Medium => [1.0, 225.0 / 255.0, 180.0 / 255.0].map(|tint| (grey * tint) as u8),
            Strength::Strong => pixel.0.map(|v| (u32::from(v) / 85 * 127).min(255) as u8),
        };
    }
    out
}

/// Ordered dither to 8, 4 or 2 levels a channel.
pub(super) fn halftone(image: &RgbImage, k: Strength) -> RgbImage {
    const BAYER: [[u8; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];
    let levels = k.of([7.0, 3.0, 1.0]);
    let cell = k.of([1, 2, 3]);
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let threshold = f32::from(BAYER[(y / cell % 4) as usize][(x / cell % 4) as usize]) / 16.0;
        pixel.0 = pixel.0.map(|v| {
            let level = (f32::from(v) / 255.0 * levels + threshold).floor().min(levels);
            (level * 255.0 / levels) as u8
        });
    }
    out
}

/// Smoothed between edges, few tones, dark edges.
pub(super) fn cartoon(image: &RgbImage, k: Strength) -> RgbImage {
    let mut smooth = image.clone();
    for _ in 0..k.of([1, 2, 3]) {
        smooth = bilateral(&smooth, k.of([40.0, 70.0, 100.0]));
    }
    let tones = k.of([12.0, 7.0, 4.0]);
    let edges = edges(image, k.of([9, 6, 4]));
    for (pixel, is_edge) in smooth.pixels_mut().zip(edges) {
        pixel.0 = pixel.0.map(|v| {
            let level = (f32::from(v) / 255.0 * tones).round();
            if is_edge { 0 } else { (level * 255.0 / tones) as u8 }
        });
    }
    smooth
}

/// Mean over a window of 7 × 7, of pixels of a like colour.
fn bilateral(image: &RgbImage, sigma: f32) -> RgbImage {
    let (w, h) = image.dimensions();
    // The weight falls with the sum of the channels' differences, 0 to 765.
    let weights: Vec<f32> = (0..=765)
        .map(|d| (-(d as f32).powi(2) / (2.0 * sigma * sigma)).exp())
        .collect();
    let near: [f32; 7] = std::array::from_fn(|d| (-(d as f32 - 3.0).powi(2) / 98.0).exp());
    RgbImage::from_fn(w, h, |x, y| {
        let centre = image.get_pixel(x, y).0;
        let (mut sum, mut total) = ([0.0; 3], 0.0);
        for (dy, wy) in near.iter().enumerate() {
            let sy = (y + dy as u32).saturating_sub(3).min(h - 1);
            for (dx, wx) in near.iter().enumerate() {
                let sx = (x + dx as u32).saturating_sub(3).min(w - 1);
                let p = image.get_pixel(sx, sy).0;
                let apart: u16 = p.iter().zip(centre).map(|(a, b)| u16::from(a.abs_diff(b))).sum();
                let weight = wy * wx * weights[usize::from(apart)];
                total += weight;
                for (s, v) in sum.iter_mut().zip(p) {
                    *s += weight * f32::from(v);
                }
            }
        }
        Rgb(sum.map(|s| (s / total + 0.5) as u8))
    })
}

/// Pixels darker by `step` levels than the mean of 9 × 9 around them, after a slight blur; row by row.
fn edges(image: &RgbImage, step: u32) -> Vec<bool> {
    let soft = imageops::blur(image, 1.2);
    let (w, h) = (soft.width() as usize, soft.height() as usize);
    let grey: Vec<u32> = soft.pixels().map(|p| luma(*p) as u32).collect();
    // Sums over everything above and to the left.
    let mut sums = vec![0; (w + 1) * (h + 1)];
    for y in 0..h {
        for x in 0..w {
            sums[(y + 1) * (w + 1) + x + 1] =
                grey[y * w + x] + sums[y * (w + 1) + x + 1] + sums[(y + 1) * (w + 1) + x]
                    - sums[y * (w + 1) + x];
        }
    }
    let mut out = Vec::with_capacity(w * h);
    for y in 0..h {
        let (top, bottom) = (y.saturating_sub(4), (y + 5).min(h));
        for x in 0..w {
            let (left, right) = (x.saturating_sub(4), (x + 5).min(w));
            let at = |y: usize, x: usize| sums[y * (w + 1) + x];
            let sum = at(bottom, right) + at(top, left) - at(top, right) - at(bottom, left);
            let count = u32::try_from((bottom - top) * (right - left)).unwrap_or(1);
            out.push((grey[y * w + x] + step) * count < sum);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_the_way_to_hsv_and_back() {
        for pixel in [
            [0, 0, 0],
            [255; 3],
            [255, 0, 0],
            [12, 200, 90],
            [90, 30, 250],
            [77, 77, 78],
        ] {
            let back = rgb(hsv(pixel));
            assert!(
                pixel.iter().zip(back).all(|(a, b)| a.abs_diff(b) <= 1),
                "{pixel:?} {back:?}"
            );
        }
    }
}
