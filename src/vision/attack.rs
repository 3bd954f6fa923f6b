//! Edits that people and platforms make to images, for measuring how well copies are found
//! (`doppel bench accuracy`). Deterministic: family, strength and seed give the same result everywhere.

mod dice;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

pub use dice::Dice;

/// A kind of edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each variant is the edit it names; `describe` says more"
)]
pub enum Family {
    Resize,
    Jpeg,
    RotateRight,
    Mirror,
    Tone,
    CropSlight,
    Crop70,
    Crop50,
    Crop30,
    Text,
    Logo,
    Border,
    Padding,
    MemeBand,
    Paste,
    Screenshot,
    Collage,
    HalfReplaced,
    Rotate,
    Squeeze,
    Grey,
    Blur,
    Noise,
    Posterise,
    Stripes,
    Chain,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 26] = [
        Self::Resize,
        Self::Jpeg,
        Self::RotateRight,
        Self::Mirror,
        Self::Tone,
        Self::CropSlight,
        Self::Crop70,
        Self::Crop50,
        Self::Crop30,
        Self::Text,
        Self::Logo,
        Self::Border,
        Self::Padding,
        Self::MemeBand,
        Self::Paste,
        Self::Screenshot,
        Self::Collage,
        Self::HalfReplaced,
        Self::Rotate,
        Self::Squeeze,
        Self::Grey,
        Self::Blur,
        Self::Noise,
        Self::Posterise,
        Self::Stripes,
        Self::Chain,
    ];

    /// The family in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Resize => "resize to 30-80 %",
            Self::Jpeg => "JPEG quality 30-80",
            Self::RotateRight => "rotate by 90, 180, 270",
            Self::Mirror => "mirror",
            Self::Tone => "brightness, contrast",
            Self::CropSlight => "crop keeping 81-95 %",
            Self::Crop70 => "crop keeping 70 %",
            Self::Crop50 => "crop keeping 50 %",
            Self::Crop30 => "crop keeping 30 %",
            Self::Text => "text over up to 20 %",
            Self::Logo => "logo over up to 20 %",
            Self::Border => "border of 2-8 %",
            Self::Padding => "padding of 10-25 %",
            Self::MemeBand => "band with a caption",
            Self::Paste => "paste on another, 20-60 %",
            Self::Screenshot => "screenshot of an app",
            Self::Collage => "collage of four",
            Self::HalfReplaced => "half replaced",
            Self::Rotate => "turn by 3-45 degrees",
            Self::Squeeze => "aspect changed by 10-30 %",
            Self::Grey => "grey or sepia",
            Self::Blur => "blur",
            Self::Noise => "noise",
            Self::Posterise => "posterise",
            Self::Stripes => "stripes",
            Self::Chain => "two or three of these",
        }
    }

    /// Whether coefficients must not be tuned on this family: what is measured on it is a forecast.
    #[must_use]
    pub const fn is_held_out(self) -> bool {
        matches!(
            self,
            Self::MemeBand | Self::Screenshot | Self::Squeeze | Self::Posterise | Self::Stripes | Self::Chain
        )
    }
}

/// Applies an edit. `other` lends its picture to pastes, collages and replacements.
#[must_use]
pub fn attack(image: &RgbImage, other: &RgbImage, family: Family, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    match family {
        Family::Resize => {
            let factor = dice.between(0.3, 0.8);
            let filter =
                [FilterType::Triangle, FilterType::CatmullRom, FilterType::Lanczos3][dice.below(3) as usize];
            imageops::resize(image, scaled(w, factor), scaled(h, factor), filter)
        }
        Family::Jpeg => jpeg(image, dice.between(30.0, 80.0) as u8),
        Family::RotateRight => match dice.below(3) {
            0 => imageops::rotate90(image),
            1 => imageops::rotate180(image),
            _ => imageops::rotate270(image),
        },
        Family::Mirror => match dice.below(4) {
            0 => imageops::flip_vertical(image),
            _ => imageops::flip_horizontal(image),
        },
        Family::Tone => {
            let (gain, offset) = (dice.between(0.75, 1.3), dice.between(-25.0, 25.0));
            map_values(image, |v| (v - 128.0) * gain + 128.0 + offset)
        }
        Family::CropSlight => {
            let kept = dice.between(0.81, 0.95);
            crop(image, kept, dice)
        }
        Family::Crop70 => crop(image, 0.7, dice),
        Family::Crop50 => crop(image, 0.5, dice),
        Family::Crop30 => crop(image, 0.3, dice),
        Family::Text => {
            let mut out = image.clone();
            let size = (h as f32 * dice.between(0.08, 0.16)) as u32;
            let at = (w / 12, dice.below(h.saturating_sub(size).max(1)));
            let colour = dice.colour();
            write_text(&mut out, at, size, w * 5 / 6, colour, dice);
            out
        }
        Family::Logo => logo(image, dice),
        Family::Border => {
            let side = (w.max(h) as f32 * dice.between(0.02, 0.08)) as u32;
            framed(image, [side; 4], dice.colour())
        }
        Family::Padding => {
            let mut side = || (w.max(h) as f32 * dice.between(0.1, 0.25)) as u32;
            let sides = [side(), side(), side(), side()];
            framed(image, sides, dice.colour())
        }
        Family::MemeBand => {
            let band = (h as f32 * dice.between(0.15, 0.3)) as u32;
            let mut out = framed(image, [0, 0, band, 0], Rgb([255; 3]));
            write_text(
                &mut out,
                (w / 20, band / 4),
                band / 2,
                w * 9 / 10,
                Rgb([0; 3]),
                dice,
            );
            out
        }
        Family::Paste => {
            let share = dice.between(0.2, 0.6);
            let mut out = imageops::resize(other, 800, 600, FilterType::Triangle);
            place(&mut out, image, share, dice);
            out
        }
        Family::Screenshot => screenshot(image, dice),
        Family::Collage => {
            let mut out = RgbImage::from_pixel(808, 608, Rgb([255; 3]));
            let mine = dice.below(4);
            for slot in 0..4 {
                let source = if slot == mine {
                    image.clone()
                } else {
                    variation(other, slot)
                };
                let tile = imageops::resize(&source, 400, 300, FilterType::Triangle);
                imageops::replace(
                    &mut out,
                    &tile,
                    i64::from(slot % 2) * 408,
                    i64::from(slot / 2) * 308,
                );
            }
            out
        }
        Family::HalfReplaced => {
            let other = imageops::resize(other, w, h, FilterType::Triangle);
            let (upright, first) = (dice.below(2) == 0, dice.below(2) == 0);
            RgbImage::from_fn(w, h, |x, y| {
                let in_first = if upright { x < w / 2 } else { y < h / 2 };
                *if in_first == first { image } else { &other }.get_pixel(x, y)
            })
        }
        Family::Rotate => {
            let sign = if dice.below(2) == 0 { -1.0 } else { 1.0 };
            turned(image, sign * dice.between(3.0, 45.0), dice.colour())
        }
        Family::Squeeze => {
            let factor = dice.between(0.7, 0.9);
            let (fx, fy) = if dice.below(2) == 0 {
                (factor, 1.0)
            } else {
                (1.0, factor)
            };
            imageops::resize(image, scaled(w, fx), scaled(h, fy), FilterType::Triangle)
        }
        Family::Grey => {
            let tint = if dice.below(2) == 0 {
                [1.0; 3]
            } else {
                [1.1, 0.95, 0.75]
            };
            let mut out = image.clone();
            for pixel in out.pixels_mut() {
                let [r, g, b] = pixel.0.map(f32::from);
                let luma = 0.299 * r + 0.587 * g + 0.114 * b;
                pixel.0 = tint.map(|t| (luma * t).clamp(0.0, 255.0) as u8);
            }
            out
        }
        Family::Blur => imageops::blur(image, dice.between(1.0, 3.0)),
        Family::Noise => {
            let sigma = dice.between(8.0, 22.0);
            let mut out = image.clone();
            for value in out.iter_mut() {
                // The sum of four uniform numbers is close enough to a normal one.
                let sum: f32 = (0..4).map(|_| dice.between(-1.0, 1.0)).sum();
                *value = (f32::from(*value) + sum * sigma * 0.866).clamp(0.0, 255.0) as u8;
            }
            out
        }
        Family::Posterise => {
            let step = 255.0 / dice.between(4.0, 8.0).floor();
            map_values(image, |v| (v / step).round() * step)
        }
        Family::Stripes => {
            let (period, colour, upright) = (12 + dice.below(24), dice.colour(), dice.below(2) == 0);
            let mut out = image.clone();
            for (x, y, pixel) in out.enumerate_pixels_mut() {
                if (if upright { x } else { y }) % period < period / 6 + 1 {
                    *pixel = colour;
                }
            }
            out
        }
        Family::Chain => {
            const LINKS: [Family; 9] = [
                Family::Crop70,
                Family::Text,
                Family::Tone,
                Family::Resize,
                Family::Mirror,
                Family::Logo,
                Family::Padding,
                Family::Grey,
                Family::Rotate,
            ];
            let first = attack(image, other, LINKS[dice.below(9) as usize], dice);
            let second = attack(&first, other, LINKS[dice.below(9) as usize], dice);
            attack(&second, other, Family::Jpeg, dice)
        }
    }
}

/// The JPEG that an edited image is stored as, decoded again.
fn jpeg(image: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
    match image.write_with_encoder(encoder) {
        Ok(()) => image::load_from_memory(&bytes).map_or_else(|_| image.clone(), |decoded| decoded.to_rgb8()),
        Err(_) => image.clone(),
    }
}

fn scaled(side: u32, factor: f32) -> u32 {
    ((side as f32 * factor).round() as u32).max(1)
}

fn map_values(image: &RgbImage, f: impl Fn(f32) -> f32) -> RgbImage {
    let mut out = image.clone();
    for value in out.iter_mut() {
        *value = f(f32::from(*value)).clamp(0.0, 255.0) as u8;
    }
    out
}

fn crop(image: &RgbImage, kept: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let (cw, ch) = (scaled(w, kept.sqrt()).min(w), scaled(h, kept.sqrt()).min(h));
    let (x, y) = (dice.below(w - cw + 1), dice.below(h - ch + 1));
    imageops::crop_imm(image, x, y, cw, ch).to_image()
}

/// The image with a frame of `[left, right, top, bottom]` pixels.
fn framed(image: &RgbImage, [left, right, top, bottom]: [u32; 4], colour: Rgb<u8>) -> RgbImage {
    let (w, h) = image.dimensions();
    let mut out = RgbImage::from_pixel(w + left + right, h + top + bottom, colour);
    imageops::replace(&mut out, image, i64::from(left), i64::from(top));
    out
}

/// Puts the image, covering `share` of the area at most, somewhere onto the ground.
fn place(ground: &mut RgbImage, image: &RgbImage, share: f32, dice: &mut Dice) {
    let (gw, gh) = ground.dimensions();
    let (w, h) = image.dimensions();
    let wanted = share * (gw * gh) as f32;
    let factor = (wanted / (w * h) as f32)
        .sqrt()
        .min(gw as f32 / w as f32)
        .min(gh as f32 / h as f32);
    let small = imageops::resize(
        image,
        scaled(w, factor).min(gw),
        scaled(h, factor).min(gh),
        FilterType::Triangle,
    );
    let (x, y) = (
        dice.below(gw - small.width() + 1),
        dice.below(gh - small.height() + 1),
    );
    imageops::replace(ground, &small, i64::from(x), i64::from(y));
}

/// Bars and rows as of an app around the image.
fn screenshot(image: &RgbImage, dice: &mut Dice) -> RgbImage {
    let dark = dice.below(2) == 0;
    let (ground, ink) = if dark { (24, 220) } else { (250, 30) };
    let mut out = RgbImage::from_pixel(540, 960, Rgb([ground; 3]));
    for x in 0..540 {
        for y in 0..70 {
            out.put_pixel(x, y, Rgb([ground ^ 12, ground ^ 20, ground ^ 40]));
        }
    }
    write_text(&mut out, (24, 24), 22, 300, Rgb([ink; 3]), dice);
    let (w, h) = image.dimensions();
    let factor = (520.0 / w as f32).min(560.0 / h as f32);
    let small = imageops::resize(
        image,
        scaled(w, factor),
        scaled(h, factor),
        FilterType::CatmullRom,
    );
    let top = 90 + dice.below(120);
    imageops::replace(
        &mut out,
        &small,
        i64::from((540 - small.width()) / 2),
        i64::from(top),
    );
    let mut y = top + small.height() + 24;
    while y < 920 {
        write_text(&mut out, (24, y), 16, 200 + dice.below(280), Rgb([ink; 3]), dice);
        y += 30;
    }
    out
}

/// A translucent or solid disc or box over 5 to 20 % of the area.
fn logo(image: &RgbImage, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let half = ((w * h) as f32 * dice.between(0.05, 0.2)).sqrt() / 2.0;
    let (cx, cy) = (
        dice.between(half, w as f32 - half),
        dice.between(half, h as f32 - half),
    );
    let (colour, inner) = (dice.colour(), dice.colour());
    let (round, strength) = (dice.below(2) == 0, dice.between(0.7, 1.0));
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
            for (value, ink) in pixel.0.iter_mut().zip(ink.0) {
                *value = (f32::from(*value) * (1.0 - strength) + f32::from(ink) * strength) as u8;
            }
        }
    }
    out
}

/// Turned about its centre within its frame.
fn turned(image: &RgbImage, degrees: f32, ground: Rgb<u8>) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (w, h) = image.dimensions();
    let (cx, cy) = (w as f32 / 2.0, h as f32 / 2.0);
    RgbImage::from_fn(w, h, |x, y| {
        let (dx, dy) = (x as f32 + 0.5 - cx, y as f32 + 0.5 - cy);
        let (sx, sy) = (cos * dx - sin * dy + cx - 0.5, sin * dx + cos * dy + cy - 0.5);
        imageops::interpolate_bilinear(image, sx, sy).unwrap_or(ground)
    })
}

/// The filler of a collage: a part of the other picture.
fn variation(other: &RgbImage, number: u32) -> RgbImage {
    let (w, h) = other.dimensions();
    let (x, y) = (number % 2 * (w / 3), number / 2 * (h / 3));
    imageops::crop_imm(other, x, y, w - w / 3, h - h / 3).to_image()
}

/// Letters of a made-up alphabet: strokes on a grid of 3 × 5, as wide and as dense as real ones.
fn write_text(
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
        let letter = dice.next();
        for cell in 0..15 {
            if letter >> cell & 1 == 1 && letter >> 20 & 7 != 0 {
                let (cx, cy) = (x + cell % 3 * unit, top + cell / 3 * unit);
                for py in cy..(cy + unit).min(image_height) {
                    for px in cx..(cx + unit).min(image_width) {
                        image.put_pixel(px, py, colour);
                    }
                }
            }
        }
        x += 4 * unit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_repeat_and_change_the_picture() {
        let image = RgbImage::from_fn(120, 90, |x, y| Rgb([(x * 2) as u8, (y * 2) as u8, (x + y) as u8]));
        let other = RgbImage::from_fn(100, 80, |x, y| Rgb([(x ^ y) as u8; 3]));
        for family in Family::ALL {
            let once = attack(&image, &other, family, &mut Dice::new(5));
            assert_eq!(
                once,
                attack(&image, &other, family, &mut Dice::new(5)),
                "{family:?}"
            );
            assert_ne!(once, image, "{family:?}");
            assert!(once.width() > 8 && once.height() > 8, "{family:?}");
        }
        assert_eq!(Family::ALL.iter().filter(|f| f.is_held_out()).count(), 6);
    }
}
