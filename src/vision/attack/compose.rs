//! Edits that put the image together with others, or onto a screen.

use image::{Rgb, RgbImage, imageops};

use super::overlay::letters;
use super::{Dice, scaled};
use crate::vision::resize;

fn pick<'a>(others: &'a [RgbImage], dice: &mut Dice) -> &'a RgbImage {
    &others[dice.index(others.len())]
}

/// Scaled and cut so that it fills the frame without distortion.
fn cover(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (w, h) = image.dimensions();
    let factor = (width as f32 / w as f32).max(height as f32 / h as f32);
    let (sw, sh) = (scaled(w, factor).max(width), scaled(h, factor).max(height));
    let large = resize::squash(image, sw, sh);
    imageops::crop_imm(&large, (sw - width) / 2, (sh - height) / 2, width, height).to_image()
}

/// That share of the area, along one side, is another picture.
pub(super) fn half_replaced(image: &RgbImage, others: &[RgbImage], share: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let (upright, first) = (dice.below(2) == 0, dice.below(2) == 0);
    let (pw, ph) = if upright {
        (scaled(w, share).min(w), h)
    } else {
        (w, scaled(h, share).min(h))
    };
    let part = cover(pick(others, dice), pw, ph);
    let (x, y) = if first { (0, 0) } else { (w - pw, h - ph) };
    let mut out = image.clone();
    imageops::replace(&mut out, &part, i64::from(x), i64::from(y));
    out
}

/// Another picture shines through.
pub(super) fn blend(image: &RgbImage, others: &[RgbImage], share: f32, dice: &mut Dice) -> RgbImage {
    let other = cover(pick(others, dice), image.width(), image.height());
    let mut out = image.clone();
    for (value, o) in out.iter_mut().zip(other.iter()) {
        *value = (f32::from(*value) * (1.0 - share) + f32::from(*o) * share + 0.5) as u8;
    }
    out
}

/// The image covers that share of another picture, somewhere.
pub(super) fn paste(image: &RgbImage, others: &[RgbImage], share: f32, dice: &mut Dice) -> RgbImage {
    let (width, height) = ([360, 480, 640, 768][dice.index(4)], 480);
    let mut out = cover(pick(others, dice), width, height);
    let area = share * (width * height) as f32;
    let ratio = (image.width() as f32 / image.height() as f32).sqrt();
    let (w, h) = (
        scaled(1, area.sqrt() * ratio).min(width),
        scaled(1, area.sqrt() / ratio).min(height),
    );
    let small = resize::squash(image, w, h);
    let (x, y) = (dice.below(width - w + 1), dice.below(height - h + 1));
    imageops::replace(&mut out, &small, i64::from(x), i64::from(y));
    out
}

/// A browser or phone that shows the image on that share of its screen.
pub(super) fn screenshot(image: &RgbImage, share: f32, dice: &mut Dice) -> RgbImage {
    let phone = dice.below(2) == 0;
    let ratio = if phone {
        dice.between(1.3, 2.0)
    } else {
        dice.between(0.55, 0.8)
    };
    // The picture is 300 pixels wide, or 1200 high.
    let factor = (300.0 / image.width() as f32).min(1200.0 / image.height() as f32);
    let (w, h) = (
        scaled(image.width(), factor),
        scaled(image.height(), factor).max(20),
    );
    let area = (w * h) as f32 / share;
    let width = scaled(1, (area / ratio).sqrt()).max(w).max(120);
    let height = scaled(1, area / width as f32).max(h).max(80);
    let dark = dice.below(10) < 4;
    let ground = if dark {
        10 + dice.below(40)
    } else {
        235 + dice.below(21)
    };
    let ink = Rgb([if dark { 215 } else { 60 }; 3]);
    let mut out = RgbImage::from_pixel(width, height, Rgb([ground as u8; 3]));
    let bar = (height / 20).max(10);
    let accent = dice.colour();
    rectangle(&mut out, [0, 0, width, bar], accent);
    let size = ((width as f32 * dice.between(0.022, 0.035)) as u32).max(9);
    let mut y = bar + 6;
    while y + size < height {
        let left = 4 + dice.below(16);
        let line = (width / 4 + dice.below(width * 3 / 4 + 1)).min(width - left);
        letters(&mut out, (left, y), size, line, ink, dice);
        y += size * (1 + dice.below(3));
        if dice.below(5) == 0 {
            let button = dice.colour();
            rectangle(&mut out, [8, y, 8 + width * 3 / 10, y + 2 * size], button);
            y += 3 * size;
        }
    }
    let x = dice.below(width - w + 1);
    let y = (dice.between(0.2, 0.8) * (height - h) as f32) as u32;
    imageops::replace(&mut out, &resize::squash(image, w, h), i64::from(x), i64::from(y));
    out
}

/// Fills `[left, top, right, bottom]`, as far as it is inside.
fn rectangle(image: &mut RgbImage, [left, top, right, bottom]: [u32; 4], colour: Rgb<u8>) {
    let (w, h) = image.dimensions();
    for y in top..bottom.min(h) {
        for x in left..right.min(w) {
            image.put_pixel(x, y, colour);
        }
    }
}

/// One of `rows` × `columns` pictures, or `columns` × `rows`.
pub(super) fn collage(
    image: &RgbImage,
    others: &[RgbImage],
    (rows, columns): (u32, u32),
    dice: &mut Dice,
) -> RgbImage {
    let (rows, columns) = if dice.below(2) == 0 {
        (columns, rows)
    } else {
        (rows, columns)
    };
    let (width, height, gap) = (240, 170 + dice.below(90), dice.below(9));
    let mut out = RgbImage::from_pixel(columns * width, rows * height, Rgb([255; 3]));
    let mine = dice.below(rows * columns);
    for cell in 0..rows * columns {
        let source = if cell == mine { image } else { pick(others, dice) };
        let tile = cover(source, width - gap, height - gap);
        let (x, y) = (cell % columns * width, cell / columns * height);
        imageops::replace(&mut out, &tile, i64::from(x), i64::from(y));
    }
    out
}
