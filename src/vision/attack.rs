//! Edits that people and platforms make to images, for measuring how well copies are found
//! (`doppel bench accuracy`). Deterministic: edit, seed and images give the same result everywhere.
//!
//! The families and their strengths follow the evaluation of the training code (`models/families.py`), written again
//! here: figures are comparable, pixels are not. Five families more ([`Family::Resize`], [`Family::Jpeg`],
//! [`Family::CropSlight`], [`Family::Logo`], [`Family::Border`]) are what most copies in the world have been through.

mod compose;
mod dice;
mod family;
mod overlay;
mod tone;
mod warp;

use image::{Rgb, RgbImage, imageops};

use super::resize;
pub use dice::Dice;
pub use family::{Edit, Family, Half, Strength};

/// Longest side of an image before it is edited, in pixels: edits of a photograph from a camera would take seconds.
pub const SOURCE_SIDE: u32 = 640;

/// A chain of `count` different edits of any strength.
#[must_use]
pub fn chain(count: usize, dice: &mut Dice) -> Vec<Edit> {
    let mut left = Family::CHAINED.to_vec();
    (0..count.min(left.len()))
        .map(|_| Edit {
            family: left.swap_remove(dice.index(left.len())),
            strength: Strength::ALL[dice.index(3)],
        })
        .collect()
}

/// Applies an edit. `others` lend their pictures to pastes, collages and replacements; there is at least one.
#[must_use]
pub fn attack(image: &RgbImage, others: &[RgbImage], edit: Edit, dice: &mut Dice) -> RgbImage {
    debug_assert!(!others.is_empty(), "somebody lends a picture");
    let (w, h) = image.dimensions();
    let k = edit.strength;
    match edit.family {
        Family::Resize => {
            let factor = k.of([0.8, 0.6, 0.4]);
            match dice.below(2) {
                0 => resize::squash(image, scaled(w, factor), scaled(h, factor)),
                _ => imageops::resize(
                    image,
                    scaled(w, factor),
                    scaled(h, factor),
                    imageops::FilterType::CatmullRom,
                ),
            }
        }
        Family::Jpeg => tone::jpeg(image, k.of([80, 55, 30])),
        Family::Recompress => tone::jpeg(image, k.of([60, 25, 8])),
        Family::Downscale => {
            let factor = k.of([128.0, 64.0, 32.0]) / w.max(h) as f32;
            let small = resize::squash(image, scaled(w, factor.min(1.0)), scaled(h, factor.min(1.0)));
            imageops::resize(&small, w, h, imageops::FilterType::CatmullRom)
        }
        Family::Aspect => {
            let factor = k.of([1.15, 1.4, 1.9]);
            match dice.below(2) {
                0 => resize::squash(image, scaled(w, factor), h),
                _ => resize::squash(image, w, scaled(h, factor)),
            }
        }
        Family::Mirror => tone::jpeg(&imageops::flip_horizontal(image), k.of([90, 60, 30])),
        Family::RotateRight => {
            let turned = match dice.below(3) {
                0 => imageops::rotate90(image),
                1 => imageops::rotate180(image),
                _ => imageops::rotate270(image),
            };
            tone::jpeg(&turned, k.of([90, 60, 30]))
        }
        Family::RotateSmall => {
            let degrees = dice.sign() * k.of([4.0, 9.0, 15.0]);
            warp::turned(image, degrees, dice.ground())
        }
        Family::RotateAny => {
            let degrees = dice.sign() * k.of([25.0, 60.0, 120.0]) * dice.between(0.85, 1.15);
            warp::turned(image, degrees, dice.ground())
        }
        Family::Perspective => warp::perspective(image, k.of([0.08, 0.16, 0.26]), dice),
        Family::CropSlight => crop(image, k.of([0.95, 0.9, 0.81]), dice),
        Family::Crop => crop(image, k.of([0.7, 0.5, 0.3]), dice),
        Family::CropThin => {
            let kept = k.of([0.6, 0.45, 0.33]);
            let (cw, ch) = match dice.below(2) {
                0 => (scaled(w, kept), h),
                _ => (w, scaled(h, kept)),
            };
            cut(image, cw, ch, dice)
        }
        Family::Border => {
            let side = scaled(w.max(h), k.of([0.02, 0.04, 0.08]));
            framed(image, [side; 4], dice.colour())
        }
        Family::Padding => overlay::padding(image, k.of([0.08, 0.18, 0.35]), dice),
        Family::Blur => tone::blur(image, k.of([0.01, 0.02, 0.04]) * w.min(h) as f32),
        Family::Noise => tone::noise(image, k.of([12.0, 28.0, 55.0]), dice),
        Family::Tone => tone::tone(image, k, dice),
        Family::Colour => tone::colour(image, k, dice),
        Family::Grey => tone::grey(image, k),
        Family::Text => overlay::text(image, k, dice),
        Family::Logo => overlay::logo(image, k.of([0.05, 0.1, 0.2]), dice),
        Family::Stickers => overlay::stickers(image, k.of([2, 5, 10]), dice),
        Family::MemeBand => overlay::meme_band(image, k.of([0.12, 0.22, 0.38]), dice),
        Family::HalfReplaced => compose::half_replaced(image, others, k.of([0.2, 0.35, 0.5]), dice),
        Family::Stripes => overlay::stripes(image, k.of([0.12, 0.25, 0.4]), dice),
        Family::Pixelate => {
            let factor = (k.of([64.0, 40.0, 24.0]) / w.max(h) as f32).min(1.0);
            let small = resize::squash(image, scaled(w, factor), scaled(h, factor));
            imageops::resize(&small, w, h, imageops::FilterType::Nearest)
        }
        Family::Blend => compose::blend(image, others, k.of([0.2, 0.33, 0.45]), dice),
        Family::Paste => compose::paste(image, others, k.of([0.5, 0.25, 0.12]), dice),
        Family::Screenshot => compose::screenshot(image, k.of([0.6, 0.35, 0.18]), dice),
        Family::Collage => compose::collage(image, others, k.of([(1, 2), (2, 2), (2, 3)]), dice),
        Family::Halftone => tone::halftone(image, k),
        Family::Wave => warp::wave(image, k.of([0.015, 0.03, 0.05]), dice),
        Family::Fisheye => warp::fisheye(image, k.of([0.25, 0.6, 1.2])),
        Family::Moire => warp::moire(image, k, dice),
        Family::Cartoon => tone::cartoon(image, k),
        Family::Watermark => overlay::watermark(image, k, dice),
        Family::Weather => overlay::weather(image, k, dice),
        Family::MiddleCut => {
            let lost = scaled(w, k.of([0.1, 0.22, 0.35])).min(w - 1);
            let from = (dice.between(0.3, 0.7) * (w - lost) as f32) as u32;
            RgbImage::from_fn(w - lost, h, |x, y| {
                *image.get_pixel(if x < from { x } else { x + lost }, y)
            })
        }
    }
}

/// An image at the size it is edited at: at most [`SOURCE_SIDE`] a side.
#[must_use]
pub fn source(image: &RgbImage) -> RgbImage {
    resize::fit(image, SOURCE_SIDE)
}

/// The left or the right 48 % of an image: the two show one scene, and nothing of each other.
#[must_use]
pub fn half(image: &RgbImage, side: Half) -> RgbImage {
    let (w, h) = image.dimensions();
    let width = scaled(w, 0.48).min(w);
    let x = match side {
        Half::Left => 0,
        Half::Right => w - width,
    };
    imageops::crop_imm(image, x, 0, width, h).to_image()
}

/// A side times a factor, at least one pixel.
fn scaled(side: u32, factor: f32) -> u32 {
    ((side as f32 * factor).round() as u32).max(1)
}

fn crop(image: &RgbImage, kept: f32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    cut(image, scaled(w, kept.sqrt()), scaled(h, kept.sqrt()), dice)
}

/// A part of that size from anywhere.
fn cut(image: &RgbImage, width: u32, height: u32, dice: &mut Dice) -> RgbImage {
    let (w, h) = image.dimensions();
    let (width, height) = (width.min(w), height.min(h));
    let (x, y) = (dice.below(w - width + 1), dice.below(h - height + 1));
    imageops::crop_imm(image, x, y, width, height).to_image()
}

/// The image with a frame of `[left, right, top, bottom]` pixels.
fn framed(image: &RgbImage, [left, right, top, bottom]: [u32; 4], colour: Rgb<u8>) -> RgbImage {
    let (w, h) = image.dimensions();
    let mut out = RgbImage::from_pixel(w + left + right, h + top + bottom, colour);
    imageops::replace(&mut out, image, i64::from(left), i64::from(top));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, twist: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let cell = (x / 9 * 7 + y / 11 * 13 + twist).wrapping_mul(2_654_435_761) >> 24;
            Rgb([cell as u8, (x * 2) as u8, (y * 2 + cell / 3) as u8])
        })
    }

    #[test]
    fn attacks_repeat_and_change_the_picture() {
        let image = picture(160, 120, 0);
        let others = [picture(100, 80, 5), picture(80, 120, 9)];
        for family in Family::ALL {
            for strength in Strength::ALL {
                let edit = Edit { family, strength };
                let once = attack(&image, &others, edit, &mut Dice::new(5));
                let again = attack(&image, &others, edit, &mut Dice::new(5));
                // Not assert_eq: nobody wants to see the pixels.
                assert!(once == again && once != image, "{edit:?}");
                assert!(once.width() > 8 && once.height() > 8, "{edit:?}");
            }
        }
    }

    #[test]
    fn any_shape_of_picture_is_taken() {
        let others = [picture(1, 40, 1)];
        for (w, h) in [(1, 1), (1, 60), (300, 2), (17, 17)] {
            for family in Family::ALL {
                for strength in Strength::ALL {
                    let edit = Edit { family, strength };
                    let out = attack(&picture(w, h, 3), &others, edit, &mut Dice::new(2));
                    assert!(out.width() > 0 && out.height() > 0, "{edit:?} of {w} × {h}");
                }
            }
        }
    }

    #[test]
    fn families_are_counted_and_named_once() {
        let mut names: Vec<&str> = Family::ALL.iter().map(|f| f.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Family::ALL.len());
        assert_eq!(Family::ALL.iter().filter(|f| f.is_held_out()).count(), 8);
        let mut dice = Dice::new(1);
        for count in 1..=4 {
            let edits = chain(count, &mut dice);
            assert_eq!(edits.len(), count);
            assert!(edits.iter().all(|edit| !edit.family.is_held_out()));
        }
    }
}
