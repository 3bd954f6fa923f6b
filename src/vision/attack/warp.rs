//! Edits that move pixels: rotation, perspective, waves, lenses, a photograph of a screen.

use std::f32::consts::TAU;

use image::{Rgb, RgbImage};

use super::{Dice, Strength};

/// What lies outside the picture.
#[derive(Clone, Copy)]
enum Outside {
    Colour(Rgb<u8>),
    /// The picture again, mirrored at its edge.
    Mirrored,
}

/// Draws `width` × `height` pixels; `from` says where in the image each pixel (centres at .5) comes from.
fn warped(
    image: &RgbImage,
    (width, height): (u32, u32),
    outside: Outside,
    from: impl Fn(f32, f32) -> (f32, f32),
) -> RgbImage {
    let (w, h) = image.dimensions();
    let reflect = |v: f32, side: u32| {
        let side = side as f32;
        let v = v.rem_euclid(2.0 * side);
        if v > side { 2.0 * side - v } else { v }
    };
    RgbImage::from_fn(width, height, |x, y| {
        let (mut sx, mut sy) = from(x as f32 + 0.5, y as f32 + 0.5);
        match outside {
            Outside::Colour(colour) => {
                if !(0.0..=w as f32).contains(&sx) || !(0.0..=h as f32).contains(&sy) {
                    return colour;
                }
            }
            Outside::Mirrored => (sx, sy) = (reflect(sx, w), reflect(sy, h)),
        }
        bilinear(image, sx - 0.5, sy - 0.5)
    })
}

/// The picture between its pixels; edges go on for ever.
fn bilinear(image: &RgbImage, x: f32, y: f32) -> Rgb<u8> {
    let (w, h) = image.dimensions();
    let (x, y) = (x.clamp(0.0, (w - 1) as f32), y.clamp(0.0, (h - 1) as f32));
    let (x0, y0) = (x as u32, y as u32);
    let (x1, y1) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
    let (fx, fy) = (x - x0 as f32, y - y0 as f32);
    let [a, b, c, d] = [(x0, y0), (x1, y0), (x0, y1), (x1, y1)].map(|(x, y)| image.get_pixel(x, y).0);
    Rgb([0, 1, 2].map(|i| {
        let mix = |p: u8, q: u8, f: f32| f32::from(p) * (1.0 - f) + f32::from(q) * f;
        let (top, bottom) = (mix(a[i], b[i], fx), mix(c[i], d[i], fx));
        (top * (1.0 - fy) + bottom * fy + 0.5) as u8
    }))
}

/// Turned, in a frame that holds all of it.
pub(super) fn turned(image: &RgbImage, degrees: f32, ground: Rgb<u8>) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (w, h) = (image.width() as f32, image.height() as f32);
    let (width, height) = (w * cos.abs() + h * sin.abs(), w * sin.abs() + h * cos.abs());
    let size = ((width as u32).max(1), (height as u32).max(1));
    let (cx, cy) = (size.0 as f32 / 2.0, size.1 as f32 / 2.0);
    warped(image, size, Outside::Colour(ground), |x, y| {
        let (dx, dy) = (x - cx, y - cy);
        (cos * dx - sin * dy + w / 2.0, sin * dx + cos * dy + h / 2.0)
    })
}

/// Corners moved inwards by up to `reach` of the sides.
pub(super) fn perspective(image: &RgbImage, reach: f32, dice: &mut Dice) -> RgbImage {
    let corners = corners(
        image,
        |sx, sy, dice| (-sx * dice.between(0.0, reach), -sy * dice.between(0.0, reach)),
        dice,
    );
    let ground = dice.ground();
    onto(image, corners, Outside::Colour(ground))
}

/// The corners of the image in order, each moved by what `shift` says, in shares of the sides. Its arguments are −1 or
/// 1: which corner it is.
fn corners(
    image: &RgbImage,
    shift: impl Fn(f32, f32, &mut Dice) -> (f32, f32),
    dice: &mut Dice,
) -> [[f64; 2]; 4] {
    let (w, h) = (image.width() as f32, image.height() as f32);
    [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)].map(|(sx, sy): (f32, f32)| {
        let (dx, dy) = shift(sx, sy, dice);
        let at = |s: f32, d: f32, side: f32| f64::from(((s + 1.0) / 2.0 + d) * side);
        [at(sx, dx, w), at(sy, dy, h)]
    })
}

/// The image drawn into a quadrilateral of its own frame.
fn onto(image: &RgbImage, corners: [[f64; 2]; 4], outside: Outside) -> RgbImage {
    let (w, h) = (f64::from(image.width()), f64::from(image.height()));
    let flat = [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]];
    let m = homography(corners, flat);
    warped(image, image.dimensions(), outside, |x, y| {
        let (x, y) = (f64::from(x), f64::from(y));
        let scale = m[6] * x + m[7] * y + 1.0;
        (
            ((m[0] * x + m[1] * y + m[2]) / scale) as f32,
            ((m[3] * x + m[4] * y + m[5]) / scale) as f32,
        )
    })
}

/// The projective map that carries four points onto four others; its ninth entry is 1.
fn homography(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> [f64; 8] {
    let mut rows = [[0.0; 9]; 8];
    for (i, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
        rows[2 * i] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
        rows[2 * i + 1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
    }
    for column in 0..8 {
        let pivot = (column..8)
            .max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        let head = rows[column];
        for (r, row) in rows.iter_mut().enumerate().filter(|(r, _)| *r != column) {
            debug_assert_ne!(r, column);
            let factor = row[column] / head[column];
            for (value, h) in row.iter_mut().zip(head) {
                *value -= factor * h;
            }
        }
    }
    std::array::from_fn(|i| rows[i][8] / rows[i][i])
}

/// Waves along both axes, of that share of the sides.
pub(super) fn wave(image: &RgbImage, reach: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let [fx, fy] = [0, 1].map(|_| dice.between(2.0, 5.0));
    let [px, py] = [0, 1].map(|_| dice.between(0.0, TAU));
    warped(image, image.dimensions(), Outside::Mirrored, |x, y| {
        (
            x + reach * w * (TAU * fy * y / h + py).sin(),
            y + reach * h * (TAU * fx * x / w + px).sin(),
        )
    })
}

/// A lens that bulges.
pub(super) fn fisheye(image: &RgbImage, bulge: f32) -> RgbImage {
    let (w, h) = (image.width() as f32, image.height() as f32);
    warped(image, image.dimensions(), Outside::Mirrored, |x, y| {
        let (u, v) = (2.0 * x / w - 1.0, 2.0 * y / h - 1.0);
        let s = (1.0 + bulge * (u * u + v * v)) / (1.0 + bulge);
        ((u * s + 1.0) * w / 2.0, (v * s + 1.0) * h / 2.0)
    })
}

/// A photograph of a screen: tilted, grids that beat with the pixels, a cast, glare.
pub(super) fn moire(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let reach = k.of([0.03, 0.06, 0.1]);
    let corners = corners(
        image,
        |_, _, dice| (dice.between(-reach, reach), dice.between(-reach, reach)),
        dice,
    );
    let tilted = onto(image, corners, Outside::Colour(Rgb([15, 15, 18])));
    let (w, h) = (image.width() as f32, image.height() as f32);
    let depth = k.of([0.12, 0.25, 0.4]);
    let grids = [0, 1].map(|_| {
        let (sin, cos) = dice.between(0.0, TAU / 2.0).sin_cos();
        (cos, sin, dice.between(0.3, 0.48), dice.between(0.5, 2.0))
    });
    let gain = k.of([1.35, 1.45, 1.6]);
    let cast = [0, 1, 2].map(|_| gain * dice.between(0.85, 1.1));
    let (gx, gy) = (dice.between(0.0, w), dice.between(0.0, h));
    let glare = k.of([20.0, 45.0, 90.0]);
    let mut out = tilted;
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (x, y) = (x as f32, y as f32);
        let mut light = 1.0;
        for (cos, sin, frequency, curl) in grids {
            let bend = 1.0 + 0.02 * (TAU * (x / w + y / h) * curl).sin();
            let wave = (TAU * frequency * (x * cos + y * sin) * bend).sin();
            light *= 1.0 - depth * (0.5 + 0.5 * wave);
        }
        let near = (-((x - gx).powi(2) + (y - gy).powi(2)) / (0.15 * w * h)).exp();
        for (value, cast) in pixel.0.iter_mut().zip(cast) {
            *value = (f32::from(*value) * light * cast + glare * near).clamp(0.0, 255.0) as u8;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homographies_carry_the_points() {
        let from = [[1.0, 2.0], [90.0, 5.0], [80.0, 70.0], [4.0, 66.0]];
        let to = [[0.0, 0.0], [100.0, 0.0], [100.0, 80.0], [0.0, 80.0]];
        let m = homography(from, to);
        for ([x, y], [u, v]) in from.into_iter().zip(to) {
            let scale = m[6] * x + m[7] * y + 1.0;
            assert!(((m[0] * x + m[1] * y + m[2]) / scale - u).abs() < 1e-9);
            assert!(((m[3] * x + m[4] * y + m[5]) / scale - v).abs() < 1e-9);
        }
    }

    #[test]
    fn a_right_angle_moves_corners_where_they_belong() {
        let image = RgbImage::from_fn(40, 20, |x, y| Rgb([(x * 6) as u8, (y * 12) as u8, 7]));
        let out = turned(&image, 180.0, Rgb([0; 3]));
        assert_eq!(out.dimensions(), (40, 20));
        assert_eq!(out.get_pixel(5, 5), image.get_pixel(34, 14));
    }
}
