//! A flipped bit in every kind of file of a data folder: it is told by name, and everything else is served; and clocks
//! that jump change nothing.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::*;
use crate::shard::fsck::{Repair, Severity, Target, fsck};
use crate::shard::media::{Media, MediaKind};
use crate::types::ImageId;

fn original(n: u64) -> Bytes {
    Bytes::from(n.to_le_bytes().to_vec())
}

/// A data folder with everything in it: two segments, one with tombstones, a fence, unsealed records, thumbnails, originals.
async fn filled(folder: &Path) {
    let stores = stores(folder).await.expect("opened");
    let shard = opened(&stores).await.expect("opened");
    let media = Media::new(stores.blobs.clone());
    for n in 0..12 {
        let hold = media.hold(record(n).fingerprint.content_hash).await;
        for kind in MediaKind::ALL {
            media.put(&hold, kind, original(n)).await.expect("stored");
        }
        append(&shard, n..n + 1).await;
        if n == 3 || n == 7 {
            shard.seal().await.expect("sealed");
        }
    }
    shard.delete(record(0).id).await.expect("deleted");
    shard.seal().await.expect("sealed, tombstones too");
    shard.close().await;
    let shard = opened(&stores).await.expect("opened: the epoch before is fenced");
    append(&shard, 12..14).await;
    for n in 12..14 {
        let hold = media.hold(record(n).fingerprint.content_hash).await;
        for kind in MediaKind::ALL {
            media.put(&hold, kind, original(n)).await.expect("stored");
        }
    }
    shard.close().await;
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
    let files = walk
        .map(|entry| entry.expect("readable"))
        .filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("readable");
    bytes[at] ^= 0x10;
    std::fs::write(file, bytes).expect("writable");
}

/// The images that are served, thumbnails and originals checked; and the objects that were named as damaged.
async fn look(stores: &Stores) -> Result<(BTreeSet<ImageId>, BTreeSet<String>), ShardError> {
    let shard = opened(stores).await?;
    let media = Media::new(stores.blobs.clone());
    let mut named: BTreeSet<String> = shard.damage().into_iter().map(|damage| damage.object).collect();
    let mut served = BTreeSet::new();
    for n in 0..14 {
        let wanted = record(n);
        let Some(found) = shard.get(&wanted.id) else {
            continue;
        };
        assert_eq!(*found, wanted, "a damaged image is served");
        served.insert(wanted.id);
        for kind in MediaKind::ALL {
            let content = &wanted.fingerprint.content_hash;
            match media.get(kind, content).await {
                Ok(object) => assert_eq!(object, Some(original(n)), "a damaged object is served"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt);
                    named.insert(kind.name(content));
                }
            }
        }
    }
    shard.close().await;
    Ok((served, named))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_any_file_is_named_and_the_rest_is_served() {
    let all: BTreeSet<ImageId> = (1..14).map(|n| record(n).id).collect();
    let origin = tempfile::tempdir().expect("a temporary folder");
    filled(origin.path()).await;
    let names: Vec<PathBuf> = files(origin.path())
        .into_iter()
        .map(|file| file.strip_prefix(origin.path()).expect("inside").to_owned())
        .collect();
    let mut kinds = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        let text = name.to_str().expect("UTF-8").to_owned();
        let kind = match text.split('/').collect::<Vec<_>>()[..] {
            ["metadata", file] => file.to_owned(),
            ["objects", "seg", .., file] if file.contains(".del.") => "tombstones".to_owned(),
            ["objects", kind, ..] => kind.to_owned(),
            _ => panic!("an unexpected file {text}"),
        };
        // Of thumbnails and originals, a few stand for all.
        if matches!(kind.as_str(), "thumb" | "original") && number % 5 != 0 {
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        for file in &names {
            let target = folder.path().join(file);
            std::fs::create_dir_all(target.parent().expect("a file has one")).expect("made");
            std::fs::copy(origin.path().join(file), target).expect("copied");
        }
        let file = folder.path().join(name);
        let len = std::fs::metadata(&file).expect("there").len() as usize;
        flip(&file, (len / 3 + number * 7) % len);
        kinds.insert(kind.clone());

        let stores = match stores(folder.path()).await {
            Ok(stores) => stores,
            Err(error) => {
                assert_eq!(
                    (kind.as_str(), error.kind()),
                    ("metadata.redb", ErrorKind::Corrupt),
                    "{error}"
                );
                assert!(error.to_string().contains("metadata.redb"), "{error}");
                continue;
            }
        };
        if kind == "metadata.redb" {
            // A page that nothing uses: then nothing may be missing.
            assert_eq!(
                look(&stores).await.expect("opened"),
                (all.clone(), BTreeSet::new())
            );
            continue;
        }
        let object = text.trim_start_matches("objects/");
        let target = Target {
            collection: CollectionName::default_collection(),
            shards: 1,
            spec: options().spec,
            keep_originals: true,
        };
        let report = fsck(&stores, "local", &[target], Repair::No)
            .await
            .expect("checked");
        let found: Vec<_> = report
            .findings
            .iter()
            .filter(|f| f.severity > Severity::Waste)
            .collect();
        let by_fsck = found
            .iter()
            .any(|f| object.contains(&f.object) || f.object.contains(object))
            || kind == "tombstones" && found.iter().any(|f| f.what.contains("tombstones"));
        let (served, named) = look(&stores).await.expect("opened");
        let missing = all.difference(&served).count();
        let (most, must_be_named) = match kind.as_str() {
            "seg" | "tombstones" => (4, true),
            // One object holds what was stored together.
            "wal" => (2, missing > 0),
            _ => (0, true),
        };
        assert!(missing <= most, "{text}: {missing} images are gone");
        assert!(by_fsck, "{text}: fsck says {found:?}");
        let named_at_open = named.iter().any(|name| {
            let stem = object.split(".del.").next().unwrap_or(object);
            name.starts_with(stem)
        });
        assert!(
            !must_be_named || named_at_open,
            "{text}: only {named:?} were named"
        );
    }
    let expected = ["metadata.redb", "original", "seg", "thumb", "tombstones", "wal"];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

fn set_age(file: &Path, modified: SystemTime) {
    let file = std::fs::File::options().append(true).open(file).expect("there");
    file.set_modified(modified).expect("set");
}

#[tokio::test]
async fn clocks_that_jump_remove_nothing_that_is_needed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path()).await;
    let stores = stores(folder.path()).await.expect("opened");
    let a_day = ShardOptions {
        orphan_age: Duration::from_secs(24 * 3600),
        ..options()
    };
    let collection = CollectionName::default_collection();
    let shard = Shard::open(
        stores.clone(),
        "local",
        &collection,
        ShardId::new(0),
        &node("a"),
        a_day,
    )
    .await
    .expect("opened");
    let segments = folder.path().join("objects/seg/default/0");
    let orphan = |name: &str| {
        let file = segments.join(format!("{}.{name}", crate::types::SegmentId::random()));
        std::fs::write(&file, b"in the making").expect("written");
        file
    };
    let day = Duration::from_secs(24 * 3600);
    // Everything was written two days ago by the clock of now: it went ahead by two days while uploads were under way.
    let (young, old) = (orphan("seg"), orphan("seg"));
    for file in files(&segments) {
        set_age(&file, SystemTime::now() - 2 * day);
    }
    set_age(&old, SystemTime::now() - 4 * day);
    shard.collect_garbage().await.expect("collected");
    assert!(young.exists(), "as young as the youngest");
    assert!(!old.exists(), "older than the youngest by two days");
    // And back: everything is from the future.
    for file in files(&segments) {
        set_age(&file, SystemTime::now() + 2 * day);
    }
    shard.collect_garbage().await.expect("collected");
    assert!(young.exists());
    let media = Media::new(stores.blobs.clone());
    assert_eq!(
        media.sweep(day, &|_, _| false).await.expect("swept"),
        0,
        "all uploads are of one moment"
    );
    // Images that come in while the clock runs backwards are listed where their times put them, all of them.
    for n in (20..40).rev() {
        append(&shard, n..n + 1).await;
        if n % 7 == 0 {
            shard.seal().await.expect("sealed");
        }
    }
    check(&shard, (1..14).chain(20..40), [0]);
    shard.close().await;
    check(
        &opened(&stores).await.expect("opened"),
        (1..14).chain(20..40),
        [0],
    );
}
