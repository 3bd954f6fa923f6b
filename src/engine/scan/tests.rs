//! Scans of folders made in code, with a stand-in for the network.

mod beyond;
mod deep;
mod keepers;
#[cfg(feature = "raw")]
mod raw;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::{ScanError, ScanOptions, ScanReport, Verdicts, scan};
use crate::dedup::{Calibration, KeepPolicy};
use crate::error::ErrorKind;
use crate::types::{Embedding, ImagePair, Judgement, MatchClass, ModelHash, Verdict};
use crate::vision::{Bank, DecodeLimits, Embedder, RgbImage, Score, VisionError, fingerprint, thumbnail};

/// Finds everything alike, along the first axis: what is a match is left to verification.
#[derive(Default)]
struct OneDirection {
    bank: Option<Bank>,
}

impl Embedder for OneDirection {
    fn embed(&self, images: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        let vector = Embedding::normalised(&[1.0, 0.0, 0.0, 0.0]).expect("a direction");
        Ok(vec![vector; images.len()])
    }

    fn dim(&self) -> usize {
        4
    }

    fn model_hash(&self) -> ModelHash {
        ModelHash::from_bytes([3; 32])
    }

    fn input_size(&self) -> u32 {
        16
    }

    fn bank(&self) -> Option<&Bank> {
        self.bank.as_ref()
    }
}

/// A bank whose one picture points along this axis.
fn bank_along(axis: usize) -> Bank {
    Bank {
        dim: 4,
        codes: (0..4).map(|i| if i == axis { 127 } else { 0 }).collect(),
        scales: vec![1.0 / 127.0],
        top_k: 1,
        score: Score::Linear { beta: 1.0 },
        model_sha256: String::new(),
    }
}

/// Blocks of noise of several sizes, different for every seed.
fn picture(seed: u64, width: u32, height: u32) -> RgbImage {
    let noise = |x: u32, y: u32, c: u64| {
        let mut v = seed ^ (u64::from(x) << 32 | u64::from(y)) ^ c << 60;
        v = (v ^ v >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        v = (v ^ v >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (v >> 56) as u32
    };
    let mut bytes = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let v =
                    noise(x / 40, y / 40, c) + noise(x / 17 + 999, y / 17, c) + noise(x / 7, y / 7 + 999, c);
                bytes.push((v / 3) as u8);
            }
        }
    }
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

fn part(image: &RgbImage, x: u32, y: u32, width: u32, height: u32) -> RgbImage {
    let mut part = RgbImage::new(width, height);
    for (px, py, pixel) in part.enumerate_pixels_mut() {
        *pixel = *image.get_pixel(x + px, y + py);
    }
    part
}

fn ppm(image: &RgbImage) -> Vec<u8> {
    let mut bytes = format!("P6\n{} {}\n255\n", image.width(), image.height()).into_bytes();
    bytes.extend(image.as_raw());
    bytes
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    thumbnail::encode(image).expect("a small image encodes")
}

fn options(root: &Path) -> ScanOptions {
    ScanOptions {
        paths: vec![root.to_owned()],
        references: Vec::new(),
        exclude: GlobSet::empty(),
        level: MatchClass::Edited,
        keep: KeepPolicy::default(),
        threads: 2,
        cache: None,
        verdicts: Verdicts::default(),
        limits: DecodeLimits::default(),
        deep: false,
        calibration: Calibration::default(),
    }
}

fn run(options: &ScanOptions) -> ScanReport {
    scan(options, Arc::new(OneDirection::default()), &|_| {}).expect("the scan succeeds")
}

/// Groups as names: the keeper, then the members with their classes.
fn groups(report: &ScanReport) -> Vec<Vec<String>> {
    let name = |image: usize| {
        let path = Path::new(&report.images[image].path);
        path.file_name().expect("a file").to_string_lossy().into_owned()
    };
    report
        .groups
        .iter()
        .map(|group| {
            let members = group
                .members
                .iter()
                .map(|m| format!("{} {}", name(m.image), m.found.class));
            std::iter::once(name(group.keeper)).chain(members).collect()
        })
        .collect()
}

/// An original, a copy of its bytes, its pixels in another container, a recompression, a crop, and other pictures.
fn album(root: &Path) {
    let original = picture(1, 360, 270);
    let write =
        |name: &str, bytes: Vec<u8>| fs::write(root.join(name), bytes).expect("the folder is writable");
    write("original.ppm", ppm(&original));
    write("copy.ppm", ppm(&original));
    let mut commented = b"P6\n# another container\n360 270\n255\n".to_vec();
    commented.extend(original.as_raw());
    write("container.ppm", commented);
    write("recompressed.jpg", jpeg(&original));
    write("crop.jpg", jpeg(&part(&original, 50, 40, 270, 200)));
    for seed in 2..6 {
        write(&format!("other{seed}.jpg"), jpeg(&picture(seed, 300, 300)));
    }
}

#[test]
fn copies_of_all_classes_are_grouped_and_others_are_not() {
    let folder = tempfile::tempdir().expect("a folder");
    album(folder.path());
    let report = run(&options(folder.path()));
    assert_eq!(
        groups(&report),
        [[
            "container.ppm",
            "copy.ppm same_pixels",
            "crop.jpg edited",
            "original.ppm same_pixels",
            "recompressed.jpg near_identical",
        ]]
    );
    assert_eq!(report.stats.images, 9);
    assert_eq!(report.stats.duplicates, 4);
    let crop = &report.groups[0].members[1].found;
    assert!(
        crop.overlap.is_some_and(|o| o > 0.95),
        "the crop shows nothing else: {crop:?}"
    );
    let plan = report.plan();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(plan.groups[0].remove.len(), 4);
    assert!(plan.groups[0].keep.path.ends_with("container.ppm"));

    let whole = run(&ScanOptions {
        level: MatchClass::NearIdentical,
        ..options(folder.path())
    });
    assert_eq!(whole.stats.duplicates, 3, "a crop is no whole image");
}

#[test]
fn the_answer_is_the_same_on_one_thread_and_from_the_cache() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = tempfile::tempdir().expect("a folder");
    album(folder.path());
    let with_cache = ScanOptions {
        cache: Some(cache.path().join("deep/er")),
        ..options(folder.path())
    };
    let first = run(&with_cache);
    assert_eq!(
        (first.stats.read, first.stats.analysed),
        (9, 8),
        "equal bytes are analysed once"
    );
    let second = run(&ScanOptions {
        threads: 1,
        ..with_cache.clone()
    });
    assert_eq!((second.stats.read, second.stats.analysed), (0, 0));
    assert_eq!(
        (&first.images, &first.groups, &first.edges),
        (&second.images, &second.groups, &second.edges)
    );

    // A file that moved is read, not analysed; a damaged cache is started anew.
    fs::rename(folder.path().join("other2.jpg"), folder.path().join("moved.jpg")).expect("renamed");
    let third = run(&with_cache);
    assert_eq!((third.stats.read, third.stats.analysed), (1, 0));
    fs::write(cache.path().join("deep/er/scan.redb"), b"no cache at all").expect("written");
    assert_eq!(run(&with_cache).stats.analysed, 8);
}

#[test]
fn bad_files_are_named_with_a_reason_and_do_not_end_the_scan() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    album(root);
    let whole = jpeg(&picture(9, 200, 200));
    fs::write(root.join("empty.jpg"), b"").expect("written");
    fs::write(root.join("truncated.jpg"), &whole[..whole.len() / 2]).expect("written");
    fs::write(root.join("words.png"), b"these are words").expect("written");
    fs::write(root.join("notes.txt"), b"these too").expect("written");
    fs::write(root.join("no extension"), b"and these").expect("written");
    fs::create_dir(root.join(".hidden")).expect("made");
    fs::write(root.join(".hidden/a.jpg"), &whole).expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::symlink;
        symlink(root.join("original.ppm"), root.join("link.jpg")).expect("linked");
        symlink(root.join("loop.jpg"), root.join("loop.jpg")).expect("linked");
        symlink(root, root.join("folder")).expect("linked");
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe.jpg")), &whole).expect("written");
    }
    let named = run(&options(&root.join("notes.txt")));
    assert!(
        named.skipped[0].reason.contains("not an image"),
        "{:?}",
        named.skipped
    );
    let report = run(&options(root));
    assert_eq!(report.stats.images, 9);
    assert_eq!(groups(&report)[0].len(), 5);
    let reason = |name: &str| {
        let found = report.skipped.iter().find(|s| s.path.ends_with(name));
        found.map_or("", |s| s.reason.as_str())
    };
    assert!(reason("/empty.jpg").contains("empty"), "{:?}", report.skipped);
    assert!(
        reason("/truncated.jpg").contains("truncated"),
        "{:?}",
        report.skipped
    );
    assert!(
        reason("/words.png").contains("not an image"),
        "{:?}",
        report.skipped
    );
    assert_eq!(report.stats.ignored, 2, "{:?}", report.skipped);
    #[cfg(unix)]
    {
        assert!(
            reason("/link.jpg").contains("not followed"),
            "{:?}",
            report.skipped
        );
        assert!(reason("/loop.jpg").contains("loop"), "{:?}", report.skipped);
        assert!(reason("/folder").contains("folder"), "{:?}", report.skipped);
        assert!(
            report.skipped.iter().any(|s| s.reason.contains("UTF-8")),
            "{:?}",
            report.skipped
        );
    }
}

/// A page of small letters on white, 1240 × 1754; `filling` decides one line of it.
fn page(filling: u64) -> RgbImage {
    let (width, height) = (1240, 1754);
    let mut bytes = vec![255; (width * height * 3) as usize];
    let mut state = 77u64;
    let mut free = filling;
    let dice = |state: &mut u64| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    };
    for line in 0..52u32 {
        for column in 0..70u32 {
            let in_filling = line == 30 && (40..46).contains(&column);
            let letter = dice(if in_filling { &mut free } else { &mut state });
            let is_gap = !in_filling && letter >> 20 & 7 == 0;
            for cell in (0..15u32).filter(|cell| !is_gap && letter >> cell & 1 == 1) {
                for dot in 0..16 {
                    let x = 90 + column * 15 + cell % 3 * 4 + dot % 4;
                    let y = 90 + line * 30 + cell / 3 * 4 + dot / 4;
                    let at = ((y * width + x) * 3) as usize;
                    bytes[at..at + 3].fill(20);
                }
            }
        }
    }
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

#[test]
fn pages_that_differ_in_a_few_letters_are_no_copies() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: Vec<u8>| fs::write(folder.path().join(name), bytes).expect("written");
    write("first.ppm", ppm(&page(1)));
    write("second.ppm", ppm(&page(2)));
    write("first again.jpg", jpeg(&page(1)));
    let report = run(&options(folder.path()));
    assert_eq!(groups(&report), [["first.ppm", "first again.jpg near_identical"]]);

    let all = run(&ScanOptions {
        level: MatchClass::Similar,
        ..options(folder.path())
    });
    let similar = all
        .groups
        .iter()
        .flat_map(|group| &group.members)
        .filter(|member| member.found.class == MatchClass::Similar);
    assert_eq!(
        similar.count(),
        1,
        "what looks alike is shown to those who ask: {:?}",
        all.groups
    );
    let planned: Vec<String> = all
        .plan()
        .groups
        .iter()
        .flat_map(|group| group.remove.iter().map(|remove| remove.file.path.clone()))
        .collect();
    assert!(
        planned.len() == 1 && !planned[0].ends_with("second.ppm"),
        "and never planned for removal: {planned:?}"
    );
}

#[test]
fn references_stay_and_excluded_files_are_not_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let (archive, inbox) = (folder.path().join("archive"), folder.path().join("inbox"));
    fs::create_dir(&archive).expect("made");
    fs::create_dir(&inbox).expect("made");
    album(&inbox);
    fs::write(archive.join("small.jpg"), jpeg(&picture(1, 360, 270))).expect("written");
    let mut exclude = GlobSetBuilder::new();
    exclude.add(Glob::new("crop*").expect("a pattern"));
    let report = run(&ScanOptions {
        references: vec![archive],
        exclude: exclude.build().expect("patterns"),
        ..options(folder.path())
    });
    let found = groups(&report);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0][0], "small.jpg");
    assert!(!found[0].iter().any(|name| name.starts_with("crop")));
    assert!(
        report.plan().groups[0]
            .remove
            .iter()
            .all(|r| r.file.path.contains("inbox"))
    );
}

#[test]
fn an_argument_that_is_not_there_is_an_error() {
    let error = scan(
        &options(Path::new("/nowhere/at/all")),
        Arc::new(OneDirection::default()),
        &|_| {},
    )
    .expect_err("there is no such folder");
    assert!(matches!(error, ScanError::Root { .. }));
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// Verdicts on pairs of files of `root`.
fn verdicts(root: &Path, said: &[(&str, &str, Verdict)]) -> Verdicts {
    let content = |name: &str| {
        let bytes = fs::read(root.join(name)).expect("it is there");
        fingerprint::content_hash(&bytes)
    };
    let judgements: Vec<Judgement> = said
        .iter()
        .map(|&(a, b, verdict)| Judgement {
            pair: ImagePair::new(content(a), content(b)).expect("two contents"),
            verdict,
            at: chrono::DateTime::UNIX_EPOCH,
        })
        .collect();
    let path = root.join("verdicts.jsonl");
    Verdicts::record(&path, &judgements).expect("written");
    Verdicts::read(&path).expect("readable")
}

#[test]
fn what_people_said_is_respected_between_members_and_among_equal_pixels() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    album(root);
    let scanned = |said: &[(&str, &str, Verdict)]| {
        let report = run(&ScanOptions {
            verdicts: verdicts(root, said),
            ..options(root)
        });
        fs::remove_file(root.join("verdicts.jsonl")).expect("removed");
        report
    };
    // Both match the keeper: only one may stand in its group.
    let report = scanned(&[("crop.jpg", "recompressed.jpg", Verdict::NotDuplicate)]);
    let found = groups(&report);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains(&"recompressed.jpg near_identical".to_owned()));
    assert!(!found[0].iter().any(|name| name.starts_with("crop")), "{found:?}");
    // Files of equal pixels, and all other files of these pixels with them.
    let report = scanned(&[("original.ppm", "container.ppm", Verdict::NotDuplicate)]);
    let found = groups(&report);
    let together = found.iter().any(|group| {
        let has = |name: &str| group.iter().any(|member| member.starts_with(name));
        has("original.ppm") && has("container.ppm")
    });
    assert!(!together, "{found:?}");
    // Both stay: neither is removed, whoever else is their copy.
    let report = scanned(&[("original.ppm", "recompressed.jpg", Verdict::KeepBoth)]);
    let removed: Vec<String> = report
        .plan()
        .groups
        .iter()
        .flat_map(|g| g.remove.iter().map(|r| r.file.path.clone()))
        .collect();
    assert!(
        !removed
            .iter()
            .any(|path| path.ends_with("original.ppm") || path.ends_with("recompressed.jpg")),
        "{removed:?}"
    );
    // Withdrawn: as if nothing had been said.
    let both = [
        ("crop.jpg", "recompressed.jpg", Verdict::NotDuplicate),
        ("crop.jpg", "recompressed.jpg", Verdict::Withdrawn),
    ];
    assert_eq!(groups(&scanned(&both))[0].len(), 5);
}

#[test]
fn an_image_like_those_of_the_bank_is_not_distinctive() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("a.ppm"), ppm(&picture(1, 200, 150))).expect("writable");
    let distinctiveness = |bank| {
        let report = scan(&options(folder.path()), Arc::new(OneDirection { bank }), &|_| {});
        report.expect("the scan succeeds").images[0].distinctiveness
    };
    assert!(distinctiveness(Some(bank_along(0))).is_some_and(|d| d < 0.02));
    assert!(distinctiveness(Some(bank_along(1))).is_some_and(|d| d > 0.98));
    assert_eq!(distinctiveness(None), None, "no bank, no claim");
}
