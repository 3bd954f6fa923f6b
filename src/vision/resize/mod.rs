//! Shrinking by area (each output pixel is the mean of exactly the input area it covers) and enlarging.

mod area;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Resizes to exactly `width` × `height`, aspect ignored: by area when both sides shrink, else bilinear.
pub(super) fn squash(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    debug_assert!(width > 0 && height > 0 && image.width() > 0 && image.height() > 0);
    if (width, height) == image.dimensions() {
        image.clone()
    } else if width <= image.width() && height <= image.height() {
        let [small] = area::shrink(image, [(width, height)]);
        small
    } else {
        bilinear(image, width, height)
    }
}

/// Both sizes of one image, each as [`squash`] gives it, in one pass over its lines where both shrink it.
pub(super) fn squash_both(image: &RgbImage, sizes: [(u32, u32); 2]) -> [RgbImage; 2] {
    let shrinks = |(width, height)| {
        (width, height) != image.dimensions() && width <= image.width() && height <= image.height()
    };
    if sizes.into_iter().all(shrinks) {
        area::shrink(image, sizes)
    } else {
        sizes.map(|(width, height)| squash(image, width, height))
    }
}

/// Shrinks so that the long side is at most `side`, aspect kept; a smaller image is returned as it is.
pub(super) fn fit(image: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = fitted(image.dimensions(), side);
    squash(image, width, height)
}

/// Dimensions of [`fit`]'s answer; never zero.
pub(super) fn fitted((width, height): (u32, u32), side: u32) -> (u32, u32) {
    let long = width.max(height);
    if long <= side {
        return (width, height);
    }
    let scale = |x: u32| {
        let scaled = (u64::from(x) * u64::from(side) + u64::from(long) / 2) / u64::from(long);
        u32::try_from(scaled).map_or(side, |s| s.clamp(1, side))
    };
    (scale(width), scale(height))
}

fn bilinear(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    // the typed call: the general one would compile every pixel type of the library into doppel
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw())
        .expect("an RgbImage holds width × height × 3 bytes");
    let mut out = RgbImage::new(width, height);
    let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut out)
        .expect("an RgbImage holds width × height × 3 bytes");
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false);
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .expect("both images have pixels");
    drop(target);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(width: u32, height: u32) -> RgbImage {
        #[expect(clippy::cast_possible_truncation, reason = "test pattern")]
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x * y) % 256) as u8])
        })
    }

    #[test]
    fn area_is_the_exact_mean_of_what_it_covers() {
        let image = ramp(31, 17);
        let small = squash(&image, 7, 5);
        for (ox, oy, pixel) in small.enumerate_pixels() {
            let (rx, ry) = (31.0 / 7.0, 17.0 / 5.0);
            let mut sum = [0.0; 3];
            for (x, y, p) in image.enumerate_pixels() {
                let overlap = |o: u32, i: u32, ratio: f64| {
                    let (lo, hi) = (f64::from(o) * ratio, f64::from(o + 1) * ratio);
                    (hi.min(f64::from(i + 1)) - lo.max(f64::from(i))).max(0.0)
                };
                let w = overlap(ox, x, rx) * overlap(oy, y, ry) / (rx * ry);
                for (s, &v) in sum.iter_mut().zip(&p.0) {
                    *s += w * f64::from(v);
                }
            }
            for (s, &v) in sum.iter().zip(&pixel.0) {
                assert!((s - f64::from(v)).abs() <= 0.501, "{s} against {v}");
            }
        }
    }

    #[test]
    fn resizes_any_shape_to_any_shape() {
        for (w, h) in [(1, 1), (1, 500), (500, 1), (3, 7), (400, 399)] {
            let image = RgbImage::from_pixel(w, h, image::Rgb([9, 130, 255]));
            for (tw, th) in [(1, 1), (160, 160), (2, 300)] {
                let out = squash(&image, tw, th);
                assert_eq!(out.dimensions(), (tw, th));
                assert!(out.pixels().all(|p| p.0 == [9, 130, 255]), "{w}×{h} to {tw}×{th}");
            }
        }
    }

    #[test]
    fn fitted_keeps_the_aspect_and_never_vanishes() {
        assert_eq!(fitted((4000, 3000), 400), (400, 300));
        assert_eq!(fitted((30_000, 2), 400), (400, 1));
        assert_eq!(fitted((123, 45), 400), (123, 45));
    }
}
