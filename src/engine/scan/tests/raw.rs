//! Camera raw files beside the pictures developed from them.

use super::*;

/// A raw file (TIFF with the samples of a sensor) whose preview is `picture`.
fn raw(picture: &RgbImage, samples: u8) -> Vec<u8> {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    // One entry: photometric interpretation, of a colour filter array.
    bytes.extend([1, 0]);
    bytes.extend([6, 1, 3, 0, 1, 0, 0, 0, 0x23, 0x80, 0, 0]);
    bytes.extend([0; 4]);
    bytes.extend([samples; 5000]);
    bytes.extend(jpeg(picture));
    bytes
}

#[test]
fn a_raw_file_is_a_copy_of_its_very_bytes_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let seen = picture(1, 320, 240);
    fs::write(root.join("a.dng"), raw(&seen, 7)).expect("written");
    fs::write(root.join("b.dng"), raw(&seen, 7)).expect("written");
    fs::write(root.join("c.dng"), raw(&seen, 8)).expect("written");
    fs::write(root.join("developed.jpg"), jpeg(&seen)).expect("written");
    let report = scan(&options(root), Arc::new(OneDirection::default()), &|_| {}).expect("the scan succeeds");
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    assert_eq!(groups(&report), [["a.dng", "b.dng identical"]]);
}
