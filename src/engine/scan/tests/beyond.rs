//! Files that hold more than the picture that is compared: pages, transparency.

use std::fs;

use super::{groups, options, picture, ppm, run};
use crate::engine::fixtures::{pam, tiff};
use crate::vision::RgbImage;

#[test]
fn documents_with_one_title_page_are_never_planned_for_removal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let [title, one, other] = [1, 2, 3].map(|seed| picture(seed, 360, 270));
    fs::write(path("one.tif"), tiff(&[&title, &one])).expect("written");
    fs::write(path("other.tif"), tiff(&[&title, &other, &one])).expect("written");
    fs::write(path("title.ppm"), ppm(&title)).expect("written");
    let report = run(&options(folder.path()));
    let group = groups(&report).concat();
    assert_eq!(group.len(), 3, "they are listed: {group:?}");
    assert!(
        !group.iter().any(|name| name.contains("same_pixels")),
        "{group:?}"
    );
    let goes = |report: &super::ScanReport| -> Vec<String> {
        let removals = report.plan().groups.into_iter().flat_map(|g| g.remove);
        removals
            .filter_map(|r| r.file.path.rsplit('/').next().map(str::to_owned))
            .collect()
    };
    assert!(goes(&report).iter().all(|name| name == "title.ppm"));

    fs::copy(path("one.tif"), path("one again.tif")).expect("copied");
    fs::remove_file(path("other.tif")).expect("removed");
    fs::remove_file(path("title.ppm")).expect("removed");
    let report = run(&options(folder.path()));
    assert_eq!(goes(&report).len(), 1, "the same bytes hold the same pages");
}

#[test]
fn what_differs_in_transparency_alone_differs() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    // White signs on nothing: over white, one is as empty as the other.
    let white = RgbImage::from_pixel(64, 64, [255; 3].into());
    fs::write(path("a.pam"), pam(&white, |x, _| if x < 32 { 255 } else { 0 })).expect("written");
    fs::write(path("b.pam"), pam(&white, |_, y| if y < 32 { 255 } else { 0 })).expect("written");
    fs::write(path("white.ppm"), ppm(&white)).expect("written");
    let found = groups(&run(&options(folder.path())));
    assert!(found.is_empty(), "{found:?}");

    // The colours of what cannot be seen do not count.
    let black = RgbImage::from_fn(64, 64, |x, _| [if x < 32 { 255 } else { 0 }; 3].into());
    fs::write(path("c.pam"), pam(&black, |x, _| if x < 32 { 255 } else { 0 })).expect("written");
    assert_eq!(
        groups(&run(&options(folder.path()))),
        [["a.pam", "c.pam same_pixels"]]
    );
}

#[test]
fn a_flattened_copy_does_not_replace_the_transparent_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let (original, mut flat) = (picture(1, 360, 270), picture(1, 360, 270));
    let clear = |x: u32, y: u32| x < 40 && y < 40;
    for (x, y, pixel) in flat.enumerate_pixels_mut() {
        if clear(x, y) {
            *pixel = [255; 3].into();
        }
    }
    let alpha = |x, y| if clear(x, y) { 0 } else { 255 };
    fs::write(path("transparent.pam"), pam(&original, alpha)).expect("written");
    fs::write(path("flat.ppm"), ppm(&flat)).expect("written");
    for keep in ["smallest-file", "largest-file"] {
        let report = run(&super::ScanOptions {
            keep: keep.parse().expect("a policy"),
            ..options(folder.path())
        });
        assert_eq!(report.groups.len(), 1, "{keep}: it is listed");
        let plan = report.plan();
        let removed = plan.groups.iter().flat_map(|g| &g.remove);
        assert!(
            removed.clone().all(|r| r.file.path.ends_with("flat.ppm")),
            "{keep}: {plan:?}"
        );
        let expected = usize::from(keep == "largest-file");
        assert_eq!(removed.count(), expected, "{keep}");
    }
}
