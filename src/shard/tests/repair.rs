//! `fsck` names what is wrong, and only that; repairs what can be.

use bytes::Bytes;

use super::*;
use crate::shard::erase;
use crate::shard::fsck::{Finding, Repair, Report, Severity, Target, fsck};
use crate::shard::media::{Media, MediaKind};
use crate::store::metadata::Op;

async fn run(bench: &Bench, repair: Repair) -> Report {
    let target = Target {
        collection: CollectionName::default_collection(),
        shards: 1,
        spec: options().spec,
        keep_originals: false,
    };
    fsck(&bench.stores, "local", &[target], repair)
        .await
        .expect("checked")
}

fn found(report: &Report) -> Vec<(Severity, &str)> {
    report
        .findings
        .iter()
        .map(|Finding { severity, object, .. }| (*severity, object.as_str()))
        .collect()
}

async fn filled() -> (Bench, Arc<Shard>) {
    let bench = Bench::new().await;
    let shard = bench.open().await;
    let media = Media::new(bench.stores.blobs.clone());
    for n in 0..20 {
        let hold = media.hold(record(n).fingerprint.content_hash).await;
        media
            .put(&hold, MediaKind::Thumbnail, Bytes::from_static(b"jpeg"))
            .await
            .expect("stored");
        append(&shard, n..n + 1).await;
        if n == 9 {
            shard.seal().await.expect("sealed");
        }
    }
    (bench, shard)
}

#[tokio::test]
async fn a_sound_store_is_clean() {
    let (bench, shard) = filled().await;
    shard.close().await;
    let report = run(&bench, Repair::No).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.images, report.segments), (20, 1));
    assert!(report.is_clean());
}

#[tokio::test]
async fn orphans_are_waste_and_go_with_a_repair() {
    let (bench, shard) = filled().await;
    shard.delete(record(1).id).await.expect("deleted");
    shard.close().await;
    let segment = format!("seg/default/0/{}.seg", crate::types::SegmentId::random());
    bench
        .memory
        .create(&segment, Bytes::from_static(b"x"))
        .await
        .expect("stored");
    let thumb = MediaKind::Thumbnail.name(&record(1).fingerprint.content_hash);
    let report = run(&bench, Repair::Yes).await;
    assert_eq!(
        found(&report),
        [
            (Severity::Waste, segment.as_str()),
            (Severity::Waste, thumb.as_str())
        ]
    );
    assert!(report.is_clean());
    assert_eq!(run(&bench, Repair::No).await.findings, []);
    check(&bench.open().await, (0..20).filter(|&n| n != 1), [1]);
}

#[tokio::test]
async fn every_kind_of_loss_is_named() {
    let (bench, shard) = filled().await;
    shard.close().await;
    let wal = bench.names("wal").await;
    bench.damage(&wal[0], |object| object[60] ^= 4).await;
    bench.memory.delete(&wal[2]).await.expect("removed");
    let segment = bench.names("seg").await.remove(0);
    bench.damage(&segment, |object| object[200] ^= 4).await;
    let thumb = MediaKind::Thumbnail.name(&record(15).fingerprint.content_hash);
    bench.memory.delete(&thumb).await.expect("removed");
    let report = run(&bench, Repair::No).await;
    assert!(!report.is_clean());
    let mut losses: Vec<_> = vec![wal[0].as_str(), wal[2].as_str(), segment.as_str()];
    losses.sort_unstable();
    let named: Vec<_> = found(&report);
    let loss =
        |(severity, object): &(Severity, &str)| (*severity == Severity::Loss).then(|| object.to_string());
    assert_eq!(named.iter().filter_map(loss).collect::<Vec<_>>(), losses);
    assert!(named.contains(&(Severity::Degraded, thumb.as_str())));

    // After a repair the lost segment is no longer in the way: its images can be stored again. Their thumbnails stay.
    run(&bench, Repair::Yes).await;
    let left = bench.names("thumb").await;
    for n in (0..20).filter(|&n| n != 15) {
        let thumb = MediaKind::Thumbnail.name(&record(n).fingerprint.content_hash);
        assert!(left.contains(&thumb), "the thumbnail of lost image {n} is gone");
    }
    let shard = bench.open().await;
    let lost: Vec<_> = shard.damage().into_iter().map(|damage| damage.object).collect();
    assert!(!lost.contains(&segment));
    append(&shard, 0..10).await;
    check(&shard, (0..20).filter(|n| ![10, 12].contains(n)), [10, 12]);
}

#[tokio::test]
async fn a_shard_whose_head_is_lost_is_named_and_not_begun_anew() {
    let (bench, shard) = filled().await;
    shard.close().await;
    let metadata = &bench.stores.metadata;
    let head = metadata
        .range("/local/head/")
        .await
        .expect("listed")
        .entries
        .remove(0);
    metadata
        .txn(Vec::new(), vec![Op::delete(&head.key)])
        .await
        .expect("removed");
    let report = run(&bench, Repair::No).await;
    assert!(
        found(&report).contains(&(Severity::Loss, head.key.as_str())),
        "{report:?}"
    );
    // With a new head the log would count as sealed, and be removed.
    let refused = bench.open_with("a", options()).await.expect_err("no head");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains(&head.key), "{refused}");
    metadata
        .txn(Vec::new(), vec![Op::put(&head.key, head.value)])
        .await
        .expect("put back");
    check(&bench.open().await, 0..20, []);
}

#[tokio::test]
async fn what_belongs_to_no_collection_that_is_listed_is_named_and_kept() {
    let (bench, shard) = filled().await;
    shard.close().await;
    let probe = "probe/cut-off";
    bench
        .memory
        .create(probe, Bytes::from_static(b"x"))
        .await
        .expect("stored");
    let before = [bench.names("seg").await, bench.names("wal").await];
    let other = Target {
        collection: "other".parse().expect("a name"),
        shards: 1,
        spec: options().spec,
        keep_originals: false,
    };
    let report = fsck(&bench.stores, "local", &[other], Repair::Yes)
        .await
        .expect("checked");
    let named = found(&report);
    for place in ["seg/default/0", "wal/default/0"] {
        assert!(named.contains(&(Severity::Loss, place)), "{named:?}");
    }
    assert!(named.contains(&(Severity::Waste, probe)));
    assert!(!report.is_clean());
    assert_eq!([bench.names("seg").await, bench.names("wal").await], before);
    // Its thumbnails may be all that is left of an image.
    assert_eq!(bench.names("thumb").await.len(), 20);
    assert!(bench.names("probe").await.is_empty());
    let collection = CollectionName::default_collection();
    erase(&bench.stores, "local", &collection, ShardId::new(0), &node("a"))
        .await
        .expect("erased");
    // What a deleted collection leaves is no loss.
    let none = fsck(&bench.stores, "local", &[], Repair::No)
        .await
        .expect("checked");
    assert!(none.is_clean(), "{none:?}");
}

#[tokio::test]
async fn lost_tombstones_cost_no_living_image_once_repaired() {
    let (bench, shard) = filled().await;
    shard.delete(record(1).id).await.expect("deleted");
    shard.seal().await.expect("sealed, tombstones too");
    shard.close().await;
    let names = bench.names("seg").await;
    let tombstones = names
        .iter()
        .find(|name| name.contains(".del."))
        .expect("one is dead");
    bench
        .damage(tombstones, |object| *object.last_mut().expect("not empty") ^= 1)
        .await;
    // Not served meanwhile: what was deleted must not come back by itself.
    check(&bench.open().await, 10..20, 0..10);

    let report = run(&bench, Repair::No).await;
    let named = |report: &Report| {
        let mut losses = found(report).into_iter();
        losses.any(|(severity, object)| severity == Severity::Loss && object == tombstones.as_str())
    };
    assert!(named(&report) && !report.is_clean(), "{report:?}");
    run(&bench, Repair::Yes).await;
    let report = run(&bench, Repair::Yes).await;
    assert!(
        !report.findings.iter().any(|f| f.object == *tombstones),
        "{report:?}"
    );
    check(&bench.open().await, 0..20, []);
}
