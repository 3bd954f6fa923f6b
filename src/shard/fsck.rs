//! Checks what is stored, and repairs what can be. For stores that no node is serving from.

mod strays;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::media::{self, MediaKind};
use super::recovery::WalPlace;
use super::state::{Head, SegmentState, from_json, to_json};
use super::wal::{self, Content, Entry, Position};
use super::{ShardError, ShardOptions, Stores, objects};
use crate::segment::SegmentSpec;
use crate::store::metadata::keys::Keys;
use crate::store::metadata::{Compare, KeyValue, Op};
use crate::types::{CollectionName, ContentHash, Epoch, ImageId, SegmentId, Seq, ShardId, Similarity};

/// What to do about findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Report only.
    No,
    /// Remove orphans and the evidence of earlier losses; withdraw segments that are lost, so that their images can be stored
    /// again; serve segments of which only the list of deleted images is lost with all of their images; set damaged
    /// thumbnails and originals aside.
    Yes,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Objects that nothing needs: space, nothing else.
    Waste,
    /// Images answer worse than they should.
    Degraded,
    /// Something acknowledged cannot be read.
    Loss,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Object, key or image.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// Whether it was put right.
    pub repaired: bool,
}

/// A collection to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub collection: CollectionName,
    /// Its number of shards.
    pub shards: u16,
    /// Dimension and model of its embeddings.
    pub spec: SegmentSpec,
    /// Whether its images have originals.
    pub keep_originals: bool,
}

/// What was checked and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Images that live.
    pub images: usize,
    /// Published segments.
    pub segments: usize,
    /// WAL objects above the floors.
    pub wal_objects: usize,
    /// What is not as it should be, worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong; waste is not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity == Severity::Waste || finding.repaired)
    }
}

/// Rows of a segment whose reachability is tested, evenly spread; all when it has no more.
const ROWS_PROBED: usize = 2000;
/// An image whose own embedding finds nothing this near is not reachable.
const REACHED: f32 = 0.995;

struct Check<'a> {
    stores: &'a Stores,
    keys: Keys,
    repair: Repair,
    report: Report,
    /// What living images refer to.
    needed: BTreeSet<(MediaKind, ContentHash)>,
}

/// Checks collections: metadata, segments, tombstones, WAL, thumbnails and originals.
///
/// # Errors
/// As the stores fail. What the stores hold never fails it: that becomes a finding.
pub async fn fsck(
    stores: &Stores,
    cluster: &str,
    targets: &[Target],
    repair: Repair,
) -> Result<Report, ShardError> {
    let mut check = Check {
        stores,
        keys: Keys::new(cluster),
        repair,
        report: Report::default(),
        needed: BTreeSet::new(),
    };
    for object in stores.blobs.list(objects::EVIDENCE).await? {
        check.find(
            Severity::Loss,
            &object.name,
            "kept as evidence of an earlier loss",
        );
        if repair == Repair::Yes {
            stores.blobs.delete(&object.name).await?;
            check.repaired();
        }
    }
    for target in targets {
        for shard in 0..target.shards {
            check.shard(target, ShardId::new(shard)).await?;
        }
    }
    check.strays(targets).await?;
    check.media().await?;
    let mut report = check.report;
    report
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.object.cmp(&b.object)));
    Ok(report)
}

impl Check<'_> {
    fn find(&mut self, severity: Severity, object: &str, what: &str) {
        self.report.findings.push(Finding {
            severity,
            object: object.to_owned(),
            what: what.to_owned(),
            repaired: false,
        });
    }

    fn repaired(&mut self) {
        if let Some(last) = self.report.findings.last_mut() {
            last.repaired = true;
        }
    }

    async fn waste(&mut self, object: &str, what: &str) -> Result<(), ShardError> {
        self.find(Severity::Waste, object, what);
        if self.repair == Repair::Yes {
            self.stores.blobs.delete(object).await?;
            self.repaired();
        }
        Ok(())
    }

    async fn shard(&mut self, target: &Target, shard: ShardId) -> Result<(), ShardError> {
        let collection = &target.collection;
        let head_key = self.keys.head(collection, shard);
        let head = match self.stores.metadata.get(&head_key).await? {
            // Never opened, or it would have both: its owner and its head are put together.
            None => {
                let metadata = &self.stores.metadata;
                let (assign, prefix) = (
                    self.keys.assignment(collection, shard),
                    self.keys.segments(collection, shard),
                );
                if metadata.get(&assign).await?.is_some()
                    || !metadata.range(&prefix).await?.entries.is_empty()
                {
                    self.find(
                        Severity::Loss,
                        &head_key,
                        "the key is missing: the shard does not open",
                    );
                }
                Head::new()
            }
            Some(entry) => match from_json::<Head>(&entry) {
                Ok(head) => head,
                Err(error) => {
                    self.find(Severity::Loss, &head_key, &error.to_string());
                    return Ok(());
                }
            },
        };
        let mut living: BTreeMap<ImageId, ContentHash> = BTreeMap::new();
        self.segments(target, shard, &mut living).await?;
        let place = WalPlace {
            stores: self.stores.clone(),
            collection: collection.clone(),
            shard,
        };
        self.wal(&place, &head, &mut living).await?;
        for (id, content) in &living {
            if id.shard(target.shards) != shard {
                self.find(
                    Severity::Degraded,
                    &id.to_string(),
                    "the image stands in a shard that is not its own",
                );
            }
            self.needed.insert((MediaKind::Thumbnail, *content));
            if target.keep_originals {
                self.needed.insert((MediaKind::Original, *content));
            }
        }
        self.report.images += living.len();
        Ok(())
    }

    async fn segments(
        &mut self,
        target: &Target,
        shard: ShardId,
        living: &mut BTreeMap<ImageId, ContentHash>,
    ) -> Result<(), ShardError> {
        let collection = &target.collection;
        let prefix = self.keys.segments(collection, shard);
        let mut wanted = HashSet::new();
        for entry in self.stores.metadata.range(&prefix).await?.entries {
            let parsed = entry
                .key
                .strip_prefix(&prefix)
                .and_then(|id| id.parse::<SegmentId>().ok());
            let (Some(id), Ok(state)) = (parsed, from_json::<SegmentState>(&entry)) else {
                self.find(Severity::Loss, &entry.key, "the key or its value makes no sense");
                continue;
            };
            self.report.segments += 1;
            wanted.insert(objects::segment_name(collection, shard, id));
            if state.tombstones > 0 {
                wanted.insert(objects::tombstones_name(collection, shard, id, state.tombstones));
            }
            self.segment(target, shard, id, (&entry, &state), living).await?;
        }
        for object in self
            .stores
            .blobs
            .list(&objects::folder(collection, shard))
            .await?
        {
            if !wanted.contains(&object.name) {
                self.waste(&object.name, "nothing refers to it").await?;
            }
        }
        Ok(())
    }

    async fn segment(
        &mut self,
        target: &Target,
        shard: ShardId,
        id: SegmentId,
        (entry, state): (&KeyValue, &SegmentState),
        living: &mut BTreeMap<ImageId, ContentHash>,
    ) -> Result<(), ShardError> {
        let options = ShardOptions::new(target.spec.dim, target.spec.model);
        let place = (&target.collection, shard);
        let opened = objects::open(self.stores, &options, place, id, (state, entry.mod_revision)).await;
        let live = match opened {
            Ok(live) => live,
            Err(error) if super::is_damage(&error) => {
                let whole = state.without_tombstones();
                let without = (&whole, entry.mod_revision);
                let sound = state.tombstones > 0
                    && objects::open(self.stores, &options, place, id, without)
                        .await
                        .is_ok();
                if sound {
                    let name = objects::tombstones_name(place.0, shard, id, state.tombstones);
                    let what = format!(
                        "{error}: {} images are not served; repaired, the {} deleted ones among them are back",
                        state.rows, state.dead
                    );
                    self.find(Severity::Loss, &name, &what);
                    if self.repair == Repair::Yes {
                        self.replace(&name, entry, Op::put(&entry.key, to_json(&whole)))
                            .await?;
                    }
                } else {
                    let name = objects::segment_name(place.0, shard, id);
                    self.find(Severity::Loss, &name, &format!("{error}; {} images", state.rows));
                    if self.repair == Repair::Yes {
                        self.replace(&name, entry, Op::delete(&entry.key)).await?;
                    }
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let rows = u32::try_from(live.segment.len()).unwrap_or(u32::MAX);
        let stride = live.segment.len().div_ceil(ROWS_PROBED).max(1);
        let (mut lost, mut probed) = (0, 0);
        for row in (0..rows).filter(|&row| !live.dead.is_dead(row)) {
            let image = live.segment.id(row);
            let record = match live.segment.record(row) {
                Ok(record) => record,
                Err(error) => {
                    self.find(Severity::Loss, &image.to_string(), &error.to_string());
                    continue;
                }
            };
            if living.insert(image, record.fingerprint.content_hash).is_some() {
                self.find(
                    Severity::Degraded,
                    &image.to_string(),
                    "the image lives in two segments",
                );
            }
            if (row as usize).is_multiple_of(stride) {
                probed += 1;
                let hits = live
                    .segment
                    .index()
                    .search(&record.fingerprint.embedding, 1, None)?;
                let reached = hits
                    .first()
                    .is_some_and(|hit| hit.similarity >= Similarity::clamped(REACHED));
                lost += usize::from(!reached);
            }
        }
        if lost > 0 {
            let name = objects::segment_name(&target.collection, shard, id);
            let what = format!("{lost} of {probed} images tried are not found by their own embedding");
            self.find(Severity::Degraded, &name, &what);
        }
        Ok(())
    }

    /// Takes a lost object out of the way and changes the metadata so that nothing needs it.
    async fn replace(&mut self, name: &str, entry: &KeyValue, change: Op) -> Result<(), ShardError> {
        let unchanged = vec![Compare::unchanged(&entry.key, Some(entry))];
        self.stores.metadata.txn(unchanged, vec![change]).await?;
        objects::set_aside(self.stores, name).await?;
        self.repaired();
        Ok(())
    }

    /// Replays the WAL into `living` as opening the shard would.
    async fn wal(
        &mut self,
        place: &WalPlace,
        head: &Head,
        living: &mut BTreeMap<ImageId, ContentHash>,
    ) -> Result<(), ShardError> {
        let floor = head.floor();
        let mut by_epoch: BTreeMap<Epoch, Vec<Seq>> = BTreeMap::new();
        for object in self
            .stores
            .blobs
            .list(&wal::folder(&place.collection, place.shard))
            .await?
        {
            match wal::position(&object.name) {
                Some(at) => by_epoch.entry(at.epoch).or_default().push(at.seq),
                None => self.find(Severity::Degraded, &object.name, "not the name of a WAL object"),
            }
        }
        for (epoch, mut seqs) in by_epoch {
            seqs.sort_unstable();
            let state = head.epochs.iter().find(|state| state.id == epoch.get());
            let end = state.and_then(|state| state.end).map(Seq::new);
            let mut expected = if floor.epoch == epoch {
                floor.seq
            } else {
                Seq::new(0)
            };
            for &seq in &seqs {
                let at = Position { epoch, seq };
                let name = place.name(at);
                let object = self.stores.blobs.get(&name).await?;
                let content = wal::decode(at, &object);
                if at < floor {
                    let fence = seqs.last() == Some(&seq) && epoch < floor.epoch;
                    if fence && content.is_err() {
                        // It bars the place all the same.
                        self.find(
                            Severity::Degraded,
                            &name,
                            "the fence of an earlier epoch is damaged",
                        );
                    } else if content != Ok(Content::Fence) {
                        self.waste(&name, "below the WAL floor").await?;
                    }
                    continue;
                }
                self.report.wal_objects += 1;
                while expected < seq {
                    let missing = place.name(Position { epoch, seq: expected });
                    self.find(Severity::Loss, &missing, "the WAL object is missing");
                    expected = expected.next();
                }
                expected = seq.next();
                match content {
                    Ok(Content::Fence) => {}
                    Ok(Content::Data(_)) if end.is_some_and(|end| seq >= end) => {
                        self.find(Severity::Loss, &name, "data stands behind the epoch's fence");
                    }
                    Ok(Content::Data(entries)) => {
                        for entry in entries {
                            match entry {
                                Entry::Append(record) => {
                                    living.insert(record.id, record.fingerprint.content_hash);
                                }
                                Entry::Delete(id) => {
                                    living.remove(&id);
                                }
                                Entry::Judge(_) => {}
                            }
                        }
                    }
                    Err(error) => self.find(Severity::Loss, &name, &error.to_string()),
                }
            }
            if let Some(end) = end
                && epoch >= floor.epoch
                && seqs.last() != Some(&end)
            {
                let name = place.name(Position { epoch, seq: end });
                self.find(
                    Severity::Loss,
                    &name,
                    "the epoch's fence is missing, or not its last object",
                );
            }
        }
        Ok(())
    }

    async fn media(&mut self) -> Result<(), ShardError> {
        let mut missing = std::mem::take(&mut self.needed);
        // Of images that cannot be read, these may be all that is left.
        let images_are_lost = self
            .report
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Loss);
        for kind in MediaKind::ALL {
            for object in self.stores.blobs.list(kind.folder()).await? {
                let content = object.name.rsplit('/').next().and_then(|name| name.parse().ok());
                match content.filter(|content| missing.remove(&(kind, *content))) {
                    None if images_are_lost => self.find(
                        Severity::Waste,
                        &object.name,
                        "no image that can be read refers to it; kept, as images are lost",
                    ),
                    None => self.waste(&object.name, "no image refers to it").await?,
                    Some(content) => {
                        let found = self.stores.blobs.get(&object.name).await?;
                        if media::checked(kind, &content, found).is_none() {
                            let severity = match kind {
                                MediaKind::Thumbnail => Severity::Degraded,
                                MediaKind::Original => Severity::Loss,
                            };
                            self.find(severity, &object.name, "its checksum is wrong");
                            // In its place the next upload of the image could not put a sound one.
                            if self.repair == Repair::Yes {
                                objects::set_aside(self.stores, &object.name).await?;
                            }
                        }
                    }
                }
            }
        }
        for (kind, content) in missing {
            self.find(Severity::Degraded, &kind.name(&content), "an image lacks it");
        }
        Ok(())
    }
}
