//! Two images side by side with what they share: the part that one warp carries from one to the other is outlined in
//! green, what differs within it is outlined and hatched in red.

use image::{ImageEncoder as _, Rgb, RgbImage};

use super::VisionError;
use super::polygon::{Point, clip};
use crate::types::{Region, Transform};

/// Longest side of either image in the drawing, in pixels.
const SIDE: u32 = 720;
/// Around and between the images, in pixels.
const MARGIN: u32 = 16;
const GROUND: Rgb<u8> = Rgb([40, 40, 44]);
const SHARED: Rgb<u8> = Rgb([0, 210, 90]);
const CHANGED: Rgb<u8> = Rgb([255, 45, 45]);
const HALO: Rgb<u8> = Rgb([0, 0, 0]);
/// Between the lines of a hatching, in pixels.
const HATCHING: i64 = 12;
/// The whole image, in relative units.
const UNIT: Point = [1.0, 1.0];

/// What is known about how two images lie on each other.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    /// From the first to the second.
    pub transform: &'a Transform,
    /// Where they differ, boxes in the first.
    pub changed: &'a [Region],
}

/// Draws two images, each at most 720 pixels long, the first on the left. Without an overlay nothing is marked.
#[must_use]
pub fn side_by_side(a: &RgbImage, b: &RgbImage, overlay: Option<Overlay<'_>>) -> RgbImage {
    let (a, b) = (super::resize::fit(a, SIDE), super::resize::fit(b, SIDE));
    let height = a.height().max(b.height());
    let mut canvas = RgbImage::from_pixel(a.width() + b.width() + 3 * MARGIN, height + 2 * MARGIN, GROUND);
    let left = Frame::place(&mut canvas, &a, MARGIN, height);
    let right = Frame::place(&mut canvas, &b, a.width() + 2 * MARGIN, height);
    let Some(overlay) = overlay else { return canvas };
    let Some(back) = overlay.transform.inverse() else {
        return canvas;
    };
    let square = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]];
    for region in overlay.changed {
        let (x, y) = (f64::from(region.x), f64::from(region.y));
        let (w, h) = (f64::from(region.width), f64::from(region.height));
        let box_a = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]];
        left.mark_changed(&mut canvas, &clip(&box_a, UNIT));
        right.mark_changed(
            &mut canvas,
            &clip(&box_a.map(|p| overlay.transform.apply(p)), UNIT),
        );
    }
    left.outline(&mut canvas, &clip(&square.map(|p| back.apply(p)), UNIT), SHARED);
    right.outline(
        &mut canvas,
        &clip(&square.map(|p| overlay.transform.apply(p)), UNIT),
        SHARED,
    );
    canvas
}

/// The drawing as a PNG file.
///
/// # Errors
/// [`VisionError::Unsupported`] when the encoder refuses the image.
pub fn png(image: &RgbImage) -> Result<Vec<u8>, VisionError> {
    let mut bytes = Vec::new();
    image::codecs::png::PngEncoder::new(&mut bytes)
        .write_image(
            image.as_raw(),
            image.width(),
            image.height(),
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|error| VisionError::Unsupported {
            what: format!(
                "a drawing of {} × {} pixels ({error})",
                image.width(),
                image.height()
            ),
        })?;
    Ok(bytes)
}

/// Where an image stands on the canvas.
struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Frame {
    fn place(canvas: &mut RgbImage, image: &RgbImage, x: u32, height: u32) -> Self {
        let y = MARGIN + (height - image.height()) / 2;
        for (px, py, pixel) in image.enumerate_pixels() {
            canvas.put_pixel(x + px, y + py, *pixel);
        }
        Self {
            x: f64::from(x),
            y: f64::from(y),
            width: f64::from(image.width()),
            height: f64::from(image.height()),
        }
    }

    fn on_canvas(&self, [x, y]: Point) -> Point {
        [self.x + x * (self.width - 1.0), self.y + y * (self.height - 1.0)]
    }

    /// Outlines a polygon given in relative units.
    fn outline(&self, canvas: &mut RgbImage, polygon: &[Point], colour: Rgb<u8>) {
        let corners: Vec<Point> = polygon.iter().map(|p| self.on_canvas(*p)).collect();
        for (thickness, colour) in [(2, HALO), (1, colour)] {
            for (i, &from) in corners.iter().enumerate() {
                line(canvas, from, corners[(i + 1) % corners.len()], thickness, colour);
            }
        }
    }

    /// Outlines and hatches a polygon given in relative units.
    fn mark_changed(&self, canvas: &mut RgbImage, polygon: &[Point]) {
        let corners: Vec<Point> = polygon.iter().map(|p| self.on_canvas(*p)).collect();
        let along = |axis: usize| {
            let low = corners.iter().map(|p| p[axis]).fold(f64::MAX, f64::min);
            (low, corners.iter().map(|p| p[axis]).fold(f64::MIN, f64::max))
        };
        let ((left, right), (top, bottom)) = (along(0), along(1));
        if corners.len() < 3 {
            return;
        }
        for y in top.ceil() as i64..=bottom.floor() as i64 {
            for x in left.ceil() as i64..=right.floor() as i64 {
                if (x + y).rem_euclid(HATCHING) < 2 && is_inside(&corners, [x as f64, y as f64]) {
                    put(canvas, x, y, CHANGED);
                }
            }
        }
        self.outline(canvas, polygon, CHANGED);
    }
}

/// Whether a point lies in a convex polygon, whichever way round its corners go.
fn is_inside(corners: &[Point], at: Point) -> bool {
    let side = |i: usize| {
        let (p, q) = (corners[i], corners[(i + 1) % corners.len()]);
        (q[0] - p[0]) * (at[1] - p[1]) - (q[1] - p[1]) * (at[0] - p[0])
    };
    let sides = || (0..corners.len()).map(side);
    sides().all(|s| s >= 0.0) || sides().all(|s| s <= 0.0)
}

fn line(canvas: &mut RgbImage, from: Point, to: Point, thickness: i64, colour: Rgb<u8>) {
    let steps = (to[0] - from[0])
        .abs()
        .max((to[1] - from[1]).abs())
        .ceil()
        .max(1.0);
    for step in 0..=steps as i64 {
        let t = step as f64 / steps;
        let x = (from[0] + t * (to[0] - from[0])).round() as i64;
        let y = (from[1] + t * (to[1] - from[1])).round() as i64;
        for dy in -thickness..=thickness {
            for dx in -thickness..=thickness {
                put(canvas, x + dx, y + dy, colour);
            }
        }
    }
}

fn put(canvas: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
        && let Some(pixel) = canvas.get_pixel_mut_checked(x, y)
    {
        *pixel = colour;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_part_is_outlined_and_the_changed_part_marked_in_both() {
        let plain = |width, height| RgbImage::from_pixel(width, height, Rgb([128; 3]));
        // The second shows the right half of the first.
        let transform = Transform {
            matrix: [2.0, 0.0, -1.0, 0.0, 1.0, 0.0],
            ..Transform::IDENTITY
        };
        let changed = [Region {
            x: 0.6,
            y: 0.4,
            width: 0.2,
            height: 0.2,
        }];
        let overlay = Overlay {
            transform: &transform,
            changed: &changed,
        };
        let drawing = side_by_side(&plain(200, 100), &plain(100, 100), Some(overlay));
        assert_eq!(drawing.dimensions(), (300 + 3 * MARGIN, 100 + 2 * MARGIN));
        let at = |x: f64, y: f64| *drawing.get_pixel(MARGIN + (x * 199.0) as u32, MARGIN + (y * 99.0) as u32);
        assert_eq!(at(0.5, 0.2), SHARED, "the left edge of the shared half");
        assert_eq!(
            at(0.25, 0.2),
            Rgb([128; 3]),
            "what the second does not show is left alone"
        );
        assert_eq!(at(0.6, 0.5), CHANGED);
        let right = |x: f64, y: f64| {
            *drawing.get_pixel(200 + 2 * MARGIN + (x * 99.0) as u32, MARGIN + (y * 99.0) as u32)
        };
        assert_eq!(right(0.0, 0.2), SHARED);
        assert_eq!(right(0.2, 0.5), CHANGED, "carried over");
        assert!(png(&drawing).expect("it encodes").starts_with(b"\x89PNG"));
        let bare = side_by_side(&plain(20, 10), &plain(10, 10), None);
        assert!(bare.pixels().all(|p| *p != SHARED && *p != CHANGED));
    }
}
