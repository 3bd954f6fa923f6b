//! A log whose objects stand in packs: what damage costs, and what is there after a restart.

use std::path::{Path, PathBuf};

use super::*;
use crate::shard::fsck::{Repair, Severity, Target, fsck};
use crate::types::ImageId;

/// Images stored at a time: an object of them goes into a pack.
const GROUP: u64 = 100;

async fn stores(folder: &Path) -> Stores {
    let metadata = EmbeddedStore::open(&folder.join("metadata"))
        .await
        .expect("opened");
    let objects = ObjectBlobStore::local(&folder.join("objects")).expect("opened");
    Stores {
        metadata: Arc::new(metadata),
        blobs: Arc::new(objects.with_packs_anywhere()),
    }
}

/// A group is all that comes within a fifth of a second.
async fn opened(stores: &Stores) -> Arc<Shard> {
    let options = ShardOptions {
        group_window: Duration::from_millis(200),
        ..options()
    };
    let collection = CollectionName::default_collection();
    Shard::open(
        stores.clone(),
        "local",
        &collection,
        ShardId::new(0),
        &node("a"),
        options,
    )
    .await
    .expect("opened")
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(folder).into_iter();
    let paths = walk.map(|entry| entry.expect("readable").into_path());
    paths
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "pack"))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.expect("readable");
        let target = to.join(entry.path().strip_prefix(from).expect("inside"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).expect("made");
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// What fsck finds amiss, the images that are served, and what the shard names as damaged.
async fn look(folder: &Path) -> (BTreeSet<String>, BTreeSet<ImageId>, BTreeSet<String>) {
    let stores = stores(folder).await;
    let target = Target {
        collection: CollectionName::default_collection(),
        shards: 1,
        spec: options().spec,
        keep_originals: false,
    };
    let report = fsck(&stores, "local", &[target], Repair::No)
        .await
        .expect("checked");
    let of_log = |name: &String| name.starts_with("wal/");
    let findings = report
        .findings
        .into_iter()
        .filter(|f| f.severity > Severity::Waste);
    let found = findings.map(|f| f.object).filter(of_log).collect();
    let shard = opened(&stores).await;
    let served = shard.list(None, usize::MAX).iter().map(|r| r.id).collect();
    let named = shard.damage().into_iter().map(|damage| damage.object).collect();
    (found, served, named)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_to_a_pack_is_named_by_its_object_and_the_rest_is_served() {
    const GROUPS: u64 = 4;
    let origin = tempfile::tempdir().expect("a temporary folder");
    {
        let stores = stores(origin.path()).await;
        let shard = opened(&stores).await;
        for group in 0..GROUPS {
            append(&shard, group * GROUP..(group + 1) * GROUP).await;
        }
        // Not closed: as after a kill.
        let names = stores.blobs.list("wal").await.expect("listed");
        assert!(
            names.iter().filter(|object| object.size > 16 << 10).count() >= 4,
            "{names:?}"
        );
    }
    let [pack] = &packs(origin.path())[..] else {
        panic!("one pack")
    };
    // Whoever put objects there last cuts it to what it holds.
    let length = || std::fs::metadata(pack).expect("there").len() as usize;
    while length() > 1 << 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let used = length();
    let all: BTreeSet<ImageId> = (0..GROUPS * GROUP).map(|n| record(n).id).collect();
    let damaged = |damage: Box<dyn Fn(&mut Vec<u8>)>| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(origin.path(), folder.path());
        let pack = folder
            .path()
            .join(pack.strip_prefix(origin.path()).expect("inside"));
        let mut bytes = std::fs::read(&pack).expect("readable");
        damage(&mut bytes);
        std::fs::write(pack, bytes).expect("written");
        folder
    };
    let unharmed = look(damaged(Box::new(|_| ())).path()).await;
    assert_eq!(unharmed, (BTreeSet::new(), all.clone(), BTreeSet::new()));
    let mut named_ones = BTreeSet::new();
    for step in 0..24 {
        let at = (step * used / 24 + 777 * step) % used;
        let folder = damaged(Box::new(move |pack| pack[at] ^= 0x10));
        let (found, served, named) = look(folder.path()).await;
        let missing = all.difference(&served).count();
        assert_eq!(found, named, "byte {at}");
        assert_eq!(missing > 0, !named.is_empty(), "byte {at}: {named:?}");
        assert!(
            named.len() <= 1 && missing <= usize::try_from(GROUP).expect("few"),
            "byte {at}: {missing}"
        );
        named_ones.extend(named);
    }
    assert!(named_ones.len() >= 3, "{named_ones:?}");
    // The last object cut short, anywhere.
    for cut in [1, 600, 5000, 9000] {
        let folder = damaged(Box::new(move |pack| pack.truncate(used - cut)));
        let (found, served, named) = look(folder.path()).await;
        let missing = all.difference(&served).count();
        assert_eq!(
            (found, missing > 0),
            (named.clone(), !named.is_empty()),
            "{cut} bytes"
        );
        assert!(
            missing <= usize::try_from(GROUP).expect("few"),
            "{cut} bytes: {missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_stays_so_when_a_pack_brings_its_records_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut expected: Vec<u64> = Vec::new();
    for round in 0..3 {
        let stores = stores(folder.path()).await;
        let shard = opened(&stores).await;
        check(&shard, expected.clone(), (0..round).map(|round| round * 1000));
        let names = async || -> Vec<String> {
            let log = stores.blobs.list("wal").await.expect("listed").into_iter();
            log.filter(|object| object.size > 16 << 10)
                .map(|object| object.name)
                .collect()
        };
        assert_eq!(names().await.len() as u64, 2 * round, "what was sealed is back");
        let first = round * 1000;
        for start in [first, first + GROUP] {
            append(&shard, start..start + GROUP).await;
            expected.extend(start..start + GROUP);
        }
        let written = packs(folder.path());
        let before: Vec<_> = written
            .iter()
            .map(|pack| std::fs::read(pack).expect("readable"))
            .collect();
        shard.delete(record(first).id).await.expect("deleted");
        expected.retain(|&n| n != first);
        shard.seal().await.expect("sealed");
        shard.collect_garbage().await.expect("collected");
        assert_eq!(
            names().await,
            Vec::<String>::new(),
            "all is sealed, and what was back is gone"
        );
        shard.close().await;
        drop((shard, stores));
        // As if nothing of that had reached the disk.
        for (pack, bytes) in written.iter().zip(before) {
            std::fs::write(pack.with_extension(format!("{round}.pack")), bytes).expect("written");
        }
    }
    let (found, served, named) = look(folder.path()).await;
    assert_eq!((found, named), (BTreeSet::new(), BTreeSet::new()));
    assert_eq!(served, expected.iter().map(|&n| record(n).id).collect());
}
