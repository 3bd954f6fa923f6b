//! Which picture of a group stays.

use std::fs;

use super::{groups, jpeg, options, part, picture, ppm, run};
use crate::vision::RgbImage;

/// The picture with a filled box of letters over it.
fn written_on(image: &RgbImage) -> RgbImage {
    let mut image = image.clone();
    let (width, height) = image.dimensions();
    for y in height * 7 / 10..height * 17 / 20 {
        for x in width / 10..width * 9 / 10 {
            let is_ink = (x / 6) % 3 == 0 && (y / 8) % 2 == 0;
            image.put_pixel(x, y, [if is_ink { 0 } else { 255 }; 3].into());
        }
    }
    image
}

/// The picture in a white frame.
fn framed(image: &RgbImage) -> RgbImage {
    let (width, height) = image.dimensions();
    let mut frame = RgbImage::from_pixel(width + 100, height + 100, [255; 3].into());
    for (x, y, pixel) in image.enumerate_pixels() {
        frame.put_pixel(x + 50, y + 50, *pixel);
    }
    frame
}

#[test]
fn the_unedited_picture_is_kept_whatever_its_size_in_bytes() {
    let original = picture(1, 360, 270);
    // Names and bytes favour the edited one: it comes first, and is not compressed.
    let cases = [
        ("written on", written_on(&original)),
        ("framed", framed(&original)),
        ("cropped", part(&original, 40, 30, 290, 220)),
    ];
    for (what, edited) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.ppm"), ppm(&edited)).expect("written");
        fs::write(folder.path().join("b.jpg"), jpeg(&original)).expect("written");
        assert_eq!(
            groups(&run(&options(folder.path()))),
            [["b.jpg", "a.ppm edited"]],
            "{what}"
        );
    }
}

#[test]
fn a_collage_is_shown_and_never_planned_for_removal() {
    let folder = tempfile::tempdir().expect("a folder");
    let pictures: Vec<RgbImage> = (1..3).map(|seed| picture(seed, 360, 270)).collect();
    let mut collage = RgbImage::new(720, 270);
    for (place, picture) in (0..).zip(&pictures) {
        for (x, y, pixel) in picture.enumerate_pixels() {
            collage.put_pixel(360 * place + x, y, *pixel);
        }
        fs::write(folder.path().join(format!("{place}.jpg")), jpeg(picture)).expect("written");
    }
    fs::write(folder.path().join("collage.ppm"), ppm(&collage)).expect("written");
    let report = run(&options(folder.path()));
    for group in report.plan().groups {
        assert!(
            group.keep.path.ends_with("collage.ppm"),
            "the collage would go: {group:?}"
        );
    }
}
