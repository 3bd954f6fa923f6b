//! Edits that lay something over the image or around it.

use image::{Rgb, RgbImage, imageops};

use super::{Dice, Strength, framed, scaled, tone};
use crate::vision::resize;

/// A border of that share of each side, flat or a blur of the image.
pub(super) fn padding(image: &RgbImage, share: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let (px, py) = (scaled(w, share), scaled(h, share));
    if dice.below(10) < 3 {
        // Blurred at an eighth of the size: nobody sees the difference.
        let small = resize::squash(image, scaled(w, 0.125), scaled(h, 0.125));
        let soft = tone::blur(&small, 0.05 * small.width() as f32);
        let mut out = imageops::resize(&soft, w + 2 * px, h + 2 * py, imageops::FilterType::Triangle);
        imageops::replace(&mut out, image, i64::from(px), i64::from(py));
        out
    } else {
        framed(image, [px, px, py, py], dice.ground())
    }
}

/// Lines of text until they cover the share of the area that the strength says.
pub(super) fn text(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let wanted = k.of([0.06, 0.15, 0.3]) * (w * h) as f32;
    let size = scaled(h, k.of([0.07, 0.09, 0.12])).max(10);
    let mut out = image.clone();
    let mut covered = 0.0;
    // A picture smaller than its letters is covered by few of them.
    for _ in 0..200 {
        if covered >= wanted {
            break;
        }
        let left = (dice.between(0.0, 0.4) * w as f32) as u32;
        let top = (dice.between(0.0, 0.92) * h as f32) as u32;
        let width = (size * 2 / 3 * (10 + dice.below(20))).min(w - left);
        let colour = dice.colour();
        letters(&mut out, (left, top), size, width, colour, dice);
        covered += (width * size) as f32 * 0.7;
    }
    out
}

/// A translucent or solid disc or box over that share of the area.
pub(super) fn logo(image: &RgbImage, share: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let half = ((w * h) as f32 * share).sqrt() / 2.0;
    let (cx, cy) = (
        dice.between(half, w as f32 - half),
        dice.between(half, h as f32 - half),
    );
    let (colour, inner) = (dice.colour(), dice.colour());
    let (round, strength) = (dice.below(2) == 0, dice.between(0.7, 1.0));
    // A disc of the same area is a little wider than the box.
    let half = if round { half * 1.128 } else { half };
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (dx, dy) = ((x as f32 - cx) / half, (y as f32 - cy) / half);
        let distance = if round {
            dx.hypot(dy)
        } else {
            dx.abs().max(dy.abs())
        };
        if distance < 1.0 {
            let ink = if distance < 0.5 { inner } else { colour };
            mix(pixel, ink, strength);
        }
    }
    out
}

fn mix(pixel: &mut Rgb<u8>, ink: Rgb<u8>, strength: f32) {
    for (value, ink) in pixel.0.iter_mut().zip(ink.0) {
        *value = (f32::from(*value) * (1.0 - strength) + f32::from(ink) * strength) as u8;
    }
}

/// Faces and diamonds of 7 to 14 % of the short side.
pub(super) fn stickers(image: &RgbImage, count: u32, dice: &mut Dice) -> RgbImage {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let mut out = image.clone();
    for _ in 0..count {
        let r = dice.between(0.07, 0.14) * w.min(h);
        let (cx, cy) = (dice.between(0.1, 0.9) * w, dice.between(0.1, 0.9) * h);
        let (colour, is_face) = (dice.colour(), dice.below(2) == 0);
        for (x, y, pixel) in out.enumerate_pixels_mut() {
            let (dx, dy) = ((x as f32 + 0.5 - cx) / r, (y as f32 + 0.5 - cy) / r);
            let ink = if is_face {
                face(dx, dy)
            } else if dx.abs() + dy.abs() < 1.1 {
                Some(if dx.abs() + dy.abs() > 0.95 {
                    Rgb([255; 3])
                } else {
                    colour
                })
            } else {
                None
            };
            if let Some(ink) = ink {
                *pixel = ink;
            }
        }
    }
    out
}

fn face(dx: f32, dy: f32) -> Option<Rgb<u8>> {
    let distance = dx.hypot(dy);
    let eye = (dx.abs() - 0.4).hypot(dy + 0.35) < 0.14;
    let mouth = dy > 0.15 && dx.hypot(dy - 0.15) < 0.5;
    Some(match () {
        () if distance >= 1.0 => return None,
        () if distance > 0.93 => Rgb([90, 60, 0]),
        () if eye => Rgb([50, 30, 0]),
        () if mouth => Rgb([150, 30, 30]),
        () => Rgb([250, 210, 50]),
    })
}

/// White or black bands with captions, above, below or both.
pub(super) fn meme_band(image: &RgbImage, share: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let band = scaled(h, share);
    let both = dice.below(10) < 4;
    let above = both || dice.below(2) == 0;
    let below = both || !above;
    let (ground, ink) = if dice.below(10) < 6 { (255, 0) } else { (0, 255) };
    let sides = [0, 0, if above { band } else { 0 }, if below { band } else { 0 }];
    let mut out = framed(image, sides, Rgb([ground; 3]));
    let height = out.height();
    for top in [above.then_some(0), below.then_some(height - band)]
        .into_iter()
        .flatten()
    {
        let at = (w / 20, top + band / 5);
        letters(&mut out, at, band / 2, w * 9 / 10, Rgb([ink; 3]), dice);
    }
    out
}

/// Opaque stripes over that share.
pub(super) fn stripes(image: &RgbImage, share: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let (count, direction, colour) = ((4 + dice.below(8)) as f32, dice.below(3), dice.ground());
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (x, y) = (x as f32, y as f32);
        let along = match direction {
            0 => x / w,
            1 => y / h,
            _ => (x + y) / (w + h),
        };
        if (along * count).fract() < share {
            *pixel = colour;
        }
    }
    out
}

/// One line of text again and again, aslant and translucent.
pub(super) fn watermark(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let size = (w.min(h) as f32 * k.of([0.06, 0.09, 0.12])).max(10.0);
    let unit = size / 6.0;
    let strength = k.of([0.3, 0.5, 0.75]);
    let ink = Rgb([if dice.below(10) < 7 { 255 } else { 30 }; 3]);
    let line: Vec<u32> = (0..12).map(|_| letter(dice)).collect();
    // Twelve letters, then a gap of two heights.
    let step = 48.0 * unit + 2.0 * size;
    let (sin, cos) = dice.between(20.0, 40.0).to_radians().sin_cos();
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (x, y) = (x as f32, y as f32);
        let (u, v) = (cos * x - sin * y, sin * x + cos * y);
        let row = (v / (2.4 * size)).floor();
        let within = v - row * 2.4 * size;
        let shift = if row.rem_euclid(2.0) < 1.0 {
            0.0
        } else {
            step / 2.0
        };
        let at = (u + shift).rem_euclid(step);
        let (column, line_y) = ((at / unit) as usize, (within / unit) as usize);
        if line_y < 5 && column < 48 && column % 4 < 3 {
            let cell = line_y * 3 + column % 4;
            if line[column / 4] >> cell & 1 == 1 {
                mix(pixel, ink, strength);
            }
        }
    }
    out
}

/// Rain or snow, and haze.
pub(super) fn weather(image: &RgbImage, k: Strength, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let drops = k.of([150, 400, 900]) * (w * h) / (320 * 480);
    let rain = dice.below(2) == 0;
    let slope = dice.between(-0.4, 0.4);
    let mut layer = vec![0.0_f32; (w * h) as usize];
    let mut spot = |x: f32, y: f32, light: f32| {
        if (0.0..w as f32).contains(&x) && (0.0..h as f32).contains(&y) {
            let at = &mut layer[(y as u32 * w + x as u32) as usize];
            *at = at.max(light);
        }
    };
    for _ in 0..drops {
        let (x, y) = (dice.between(0.0, w as f32), dice.between(0.0, h as f32));
        let light = dice.between(0.4, 1.0);
        if rain {
            let length = 0.06 * h as f32 * light;
            for step in 0..=(length as u32) {
                spot(x + slope * step as f32, y + step as f32, light);
            }
        } else {
            let r = (0.009 * h as f32 * light).max(1.0) as i32;
            for dy in -r..=r {
                for dx in -r..=r {
                    if dx * dx + dy * dy <= r * r {
                        spot(x + dx as f32, y + dy as f32, light);
                    }
                }
            }
        }
    }
    let (haze, cover) = (k.of([0.1, 0.25, 0.4]), if rain { 0.6 } else { 0.9 });
    let mut out = image.clone();
    for (pixel, light) in out.pixels_mut().zip(layer) {
        mix(pixel, Rgb([200; 3]), haze);
        mix(pixel, Rgb([235; 3]), light * cover);
    }
    out
}

/// A letter of a made-up alphabet: 15 cells of a grid of 3 × 5, row by row; now and then a space.
fn letter(dice: &mut Dice) -> u32 {
    let cells = dice.next();
    if cells >> 20 & 7 == 0 { 0 } else { cells & 0x7fff }
}

/// A line of such letters, as wide and as dense as real ones.
pub(super) fn letters(
    image: &mut RgbImage,
    (left, top): (u32, u32),
    size: u32,
    width: u32,
    colour: Rgb<u8>,
    dice: &mut Dice,
) {
    let unit = (size / 6).max(1);
    let (image_width, image_height) = image.dimensions();
    let mut x = left;
    while x + 4 * unit < left + width {
        let letter = letter(dice);
        for cell in (0..15).filter(|cell| letter >> cell & 1 == 1) {
            let (cx, cy) = (x + cell % 3 * unit, top + cell / 3 * unit);
            for py in cy..(cy + unit).min(image_height) {
                for px in cx..(cx + unit).min(image_width) {
                    image.put_pixel(px, py, colour);
                }
            }
        }
        x += 4 * unit;
    }
}
