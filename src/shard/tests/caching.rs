//! Copies of a remote store's segments: never trusted, and not kept for ever.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::*;

/// A shard over a store that is not a folder, with its copies in one.
async fn open(bench: &Bench, cache: &Path) -> Arc<Shard> {
    let cached = ShardOptions {
        cache_dir: Some(cache.to_owned()),
        ..options()
    };
    bench.open_with("a", cached).await.expect("opened")
}

fn copies(cache: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(cache).into_iter().flatten();
    let files = walk.filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

#[tokio::test]
async fn a_damaged_copy_is_fetched_again() {
    let (bench, cache) = (Bench::new().await, tempfile::tempdir().expect("a folder"));
    let shard = open(&bench, cache.path()).await;
    append(&shard, 0..10).await;
    shard.seal().await.expect("sealed");
    shard.close().await;
    let copy = copies(cache.path()).remove(0);
    let sound = std::fs::read(&copy).expect("there");
    let mut flipped = sound.clone();
    flipped[300] ^= 4;
    // As a power failure leaves a file that was not synced, too.
    for bad in [flipped, Vec::new(), vec![0; sound.len()], sound[..500].to_vec()] {
        std::fs::write(&copy, &bad).expect("written");
        let shard = open(&bench, cache.path()).await;
        assert_eq!(shard.damage(), []);
        check(&shard, 0..10, []);
        shard.close().await;
        assert!(std::fs::read(&copy).expect("there") == sound);
    }
    // Damage in the store itself is named, copy or not.
    let name = bench.names("seg").await.remove(0);
    bench.damage(&name, |object| object[300] ^= 4).await;
    check(&open(&bench, cache.path()).await, 0..10, []);
    std::fs::remove_file(&copy).expect("removed");
    let shard = open(&bench, cache.path()).await;
    assert_eq!(shard.damage()[0].object, name);
}

#[test]
fn copies_that_no_shard_sweeps_go() {
    let cache = tempfile::tempdir().expect("a folder");
    let put = |name: &str, age: u64| {
        let path = cache.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, b"x").expect("written");
        let file = std::fs::File::options().append(true).open(&path).expect("there");
        file.set_modified(SystemTime::now() - Duration::from_secs(age))
            .expect("set");
        path
    };
    let gone = [
        put("seg/deleted/0/one.seg", 0),
        put("seg/deleted/1/two.seg", 7200),
        // As versions before put them.
        put("0190c0de-0000-7000-8000-000000000000.seg", 7200),
        put(".tmpAbc", 7200),
    ];
    let kept = [
        put("seg/there/0/three.seg", 7200),
        put(".tmpDef", 0),
        put("seg/No Name/x", 7200),
    ];
    let listed = ["there".parse().expect("a name")].into();
    assert_eq!(crate::shard::sweep_copies(cache.path(), &listed), 3);
    assert!(gone.iter().all(|path| !path.exists()) && kept.iter().all(|path| path.exists()));
    assert_eq!(crate::shard::sweep_copies(cache.path(), &listed), 0);
    assert_eq!(crate::shard::sweep_copies(&cache.path().join("none"), &listed), 0);
}

#[tokio::test]
async fn copies_go_with_their_segments_and_a_full_cache_costs_nothing() {
    let (bench, cache) = (Bench::new().await, tempfile::tempdir().expect("a folder"));
    let shard = open(&bench, cache.path()).await;
    for part in 0..6 {
        append(&shard, part * 10..part * 10 + 10).await;
        shard.seal().await.expect("sealed");
    }
    assert_eq!(copies(cache.path()).len(), 6);
    assert!(shard.compact().await.expect("compacted"));
    assert_eq!(copies(cache.path()).len(), 1);
    let folder = copies(cache.path())[0].parent().expect("a folder").to_owned();
    let [young, old] = ["young.seg", ".tmp-old"].map(|name| folder.join(name));
    for stray in [&young, &old] {
        std::fs::write(stray, b"x").expect("written");
    }
    let file = std::fs::File::options().append(true).open(&old).expect("there");
    file.set_modified(SystemTime::now() - Duration::from_secs(7200))
        .expect("set");
    shard.collect_garbage().await.expect("collected");
    assert!(young.exists() && !old.exists());
    assert_eq!(copies(cache.path()).len(), 2);
    shard.close().await;

    // No place for copies: a file stands where their folder should be.
    let blocked = cache.path().join("blocked");
    std::fs::write(&blocked, b"x").expect("written");
    let shard = open(&bench, &blocked).await;
    check(&shard, 0..60, []);
}
