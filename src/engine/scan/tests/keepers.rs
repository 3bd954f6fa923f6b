//! Which picture of a group stays.

use std::fs;

use super::{groups, jpeg, options, part, picture, ppm, run};
use crate::vision::{DecodeLimits, RgbImage, decode};

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

/// Two files under two names, in either order of the names: the groups, with the original's name told, and how many files would go.
fn in_either_order(original: &[u8], edited: &[u8]) -> [(Vec<Vec<String>>, usize); 2] {
    [["a.jpg", "b.jpg"], ["b.jpg", "a.jpg"]].map(|[first, second]| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(first), original).expect("written");
        fs::write(folder.path().join(second), edited).expect("written");
        let mut options = options(folder.path());
        let report = run(&options);
        options.threads = 1;
        assert_eq!(
            groups(&run(&options)),
            groups(&report),
            "the number of threads decides"
        );
        let planned = report.plan().groups.iter().map(|group| group.remove.len()).sum();
        let kept = groups(&report)
            .into_iter()
            .map(|group| {
                group
                    .iter()
                    .map(|name| name.replacen(first, "original", 1).to_owned())
                    .collect()
            })
            .collect();
        (kept, planned)
    })
}

#[test]
fn of_two_pictures_alone_the_one_compressed_first_is_kept() {
    // Through a thumbnail's compression first, so that there is a lattice to find; the edited one is a lossless file, and larger.
    let original = jpeg(&picture(3, 360, 270));
    let decoded = decode(&original, &DecodeLimits::default()).expect("decodes");
    let (mut edited, other) = (decoded.pixels, picture(4, 360, 270));
    for y in 100..150 {
        for x in 60..200 {
            // A thing that might be part of the picture.
            edited.put_pixel(x, y, *other.get_pixel(x, y));
        }
    }
    for (kept, planned) in in_either_order(&original, &ppm(&edited)) {
        assert!(kept[0][0].starts_with("original"), "{kept:?}");
        assert_eq!(planned, 1, "{kept:?}");
    }
}

#[test]
fn where_nothing_tells_which_was_edited_neither_is_planned_for_removal() {
    let original = picture(3, 360, 270);
    let other = picture(4, 360, 270);
    let mut edited = original.clone();
    for y in 100..160 {
        for x in 60..200 {
            edited.put_pixel(x, y, *other.get_pixel(x, y));
        }
    }
    for (kept, planned) in in_either_order(&ppm(&original), &ppm(&edited)) {
        assert_eq!(kept.len(), 1, "a group all the same: {kept:?}");
        assert_eq!(planned, 0, "{kept:?}");
    }
}

#[test]
fn traces_alone_show_a_keeper_and_remove_nothing() {
    // Bars on a plain ground: drawn, or wiped out in the other file. Both would leave this.
    let mut plain = picture(3, 360, 270);
    for y in 90..180 {
        for x in 60..240 {
            plain.put_pixel(x, y, [250; 3].into());
        }
    }
    let mut barred = plain.clone();
    for y in 110..160 {
        for x in (80..220).filter(|x| x % 20 < 8) {
            barred.put_pixel(x, y, [60, 40, 20].into());
        }
    }
    for (kept, planned) in in_either_order(&ppm(&plain), &ppm(&barred)) {
        assert_eq!(kept.len(), 1, "a group all the same: {kept:?}");
        assert_eq!(planned, 0, "{kept:?}");
    }
}
