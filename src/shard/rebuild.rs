//! Metadata made anew from the objects, where they are all that is left. For stores that no node is serving from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::fsck::Target;
use super::media::MediaKind;
use super::state::{EpochState, Head, SegmentState, to_json};
use super::wal::{self, Content, Entry, Position};
use super::{ShardError, ShardOptions, Stores, is_damage, objects};
use crate::segment::{Segment, SegmentSpec, Tombstones};
use crate::store::metadata::Op;
use crate::store::metadata::keys::Keys;
use crate::types::{CollectionName, ContentHash, Epoch, ImageId, SegmentId, Seq, ShardId};
use crate::vector::RowId;

/// Most keys written by one transaction.
const KEYS_PER_COMMIT: usize = 100;
/// Most shards that a collection is taken to have.
const MOST_SHARDS: u16 = 4096;

/// A collection that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// What it is, as its objects tell.
    pub target: Target,
    /// Segments published anew.
    pub segments: usize,
    /// WAL objects that hold changes.
    pub wal_objects: usize,
    /// Objects that cannot be read; segments among them were set aside.
    pub damaged: Vec<String>,
}

/// Whether there is anything to rebuild from.
///
/// # Errors
/// As the object store fails.
pub async fn has_objects(stores: &Stores) -> Result<bool, ShardError> {
    Ok(!stores.blobs.list("seg").await?.is_empty() || !stores.blobs.list("wal").await?.is_empty())
}

/// Publishes what the object store holds: the keys of shards and segments. The collections are answered, for the caller to
/// list; one without any image is not among them. `fallback`: dimension and model where there is no segment that tells.
///
/// Images that were deleted stay so, with one exception: within a day of a crash there may be segments that were replaced
/// meanwhile by nothing, because all their images were deleted.
///
/// # Errors
/// As the stores fail; [`ShardError::Corrupt`] when segments of one collection are of different networks. It can be called
/// again.
pub async fn rebuild(
    stores: &Stores,
    cluster: &str,
    fallback: SegmentSpec,
) -> Result<Vec<Rebuilt>, ShardError> {
    let originals = stores.blobs.list(MediaKind::Original.folder()).await?;
    let contents = originals
        .iter()
        .filter_map(|object| object.name.rsplit('/').next()?.parse::<ContentHash>().ok());
    let originals: HashSet<ImageId> = contents.map(ImageId::from).collect();
    let keys = Keys::new(cluster);
    let mut rebuilt = Vec::new();
    for (collection, shards) in list(stores).await? {
        let mut found = Found {
            stores,
            collection: &collection,
            spec: None,
            images: Vec::new(),
            segments: 0,
            wal_objects: 0,
            damaged: Vec::new(),
        };
        for (&shard, objects) in &shards {
            let (head, segments) = found.shard(shard, objects).await?;
            let mut ops = vec![Op::put(keys.head(&collection, shard), to_json(&head))];
            ops.extend(segments.iter().map(|(id, state)| {
                let key = keys.segment(&collection, shard, *id);
                Op::put(key, to_json(state))
            }));
            for part in ops.chunks(KEYS_PER_COMMIT) {
                stores.metadata.txn(Vec::new(), part.to_vec()).await?;
            }
        }
        if found.images.is_empty() && found.damaged.is_empty() {
            continue;
        }
        let least = shards.keys().last().map_or(1, |shard| shard.get() + 1);
        let kept = found.images.iter().filter(|(id, _)| originals.contains(id));
        rebuilt.push(Rebuilt {
            target: Target {
                shards: shard_count(least, &found.images),
                spec: found.spec.unwrap_or(fallback),
                // Others' originals may be those of some.
                keep_originals: kept.count() * 2 > found.images.len(),
                collection: collection.clone(),
            },
            segments: found.segments,
            wal_objects: found.wal_objects,
            damaged: found.damaged,
        });
    }
    Ok(rebuilt)
}

/// The objects of a shard by their names.
#[derive(Default)]
struct Objects {
    segments: BTreeSet<SegmentId>,
    /// Versions of segments' tombstones, which may outlive the segments.
    tombstones: HashMap<SegmentId, Vec<u32>>,
    wal: Vec<Position>,
}

async fn list(stores: &Stores) -> Result<BTreeMap<CollectionName, BTreeMap<ShardId, Objects>>, ShardError> {
    let mut found: BTreeMap<CollectionName, BTreeMap<ShardId, Objects>> = BTreeMap::new();
    for folder in ["seg", "wal"] {
        for object in stores.blobs.list(folder).await? {
            let mut words = object.name.split('/').skip(1);
            let collection = words.next().and_then(|word| word.parse().ok());
            let shard = words.next().and_then(|word| word.parse().ok());
            let (Some(collection), Some(shard)) = (collection, shard) else {
                continue;
            };
            let of: &mut Objects = found.entry(collection).or_default().entry(shard).or_default();
            match (objects::parse(&object.name), wal::position(&object.name)) {
                (Some((id, None)), _) => {
                    of.segments.insert(id);
                }
                (Some((id, Some(version))), _) => of.tombstones.entry(id).or_default().push(version),
                (None, Some(at)) => of.wal.push(at),
                (None, None) => {}
            }
        }
    }
    Ok(found)
}

/// The least number of shards, from `least` on, by which every image stands in its own.
fn shard_count(least: u16, images: &[(ImageId, ShardId)]) -> u16 {
    (least..MOST_SHARDS)
        .find(|&count| images.iter().all(|(id, shard)| id.shard(count) == *shard))
        .unwrap_or(least)
}

/// What is found of one collection.
struct Found<'a> {
    stores: &'a Stores,
    collection: &'a CollectionName,
    spec: Option<SegmentSpec>,
    /// Images and where they stand; some may be dead.
    images: Vec<(ImageId, ShardId)>,
    segments: usize,
    wal_objects: usize,
    damaged: Vec<String>,
}

/// A segment that can be read.
struct Opened {
    id: SegmentId,
    segment: Segment,
    dead: Tombstones,
    /// Version that `dead` was read from, 0 when there was none, and the highest there is.
    version: u32,
    last_version: u32,
}

impl Opened {
    fn rows(&self) -> std::ops::Range<RowId> {
        0..RowId::try_from(self.segment.len()).unwrap_or(RowId::MAX)
    }

    /// An image as it was stored once: one that is deleted and stored again is another.
    fn image(&self, row: RowId) -> (ImageId, DateTime<Utc>) {
        (self.segment.id(row), self.segment.created(row))
    }
}

impl Found<'_> {
    async fn shard(
        &mut self,
        shard: ShardId,
        objects: &Objects,
    ) -> Result<(Head, Vec<(SegmentId, SegmentState)>), ShardError> {
        let mut opened = Vec::new();
        for &id in &objects.segments {
            let versions = objects.tombstones.get(&id).map_or(&[][..], Vec::as_slice);
            opened.extend(self.open(shard, id, versions).await?);
        }
        let newest = opened.iter().filter_map(|one| one.segment.made()).max();
        let mut published = Vec::new();
        for one in chosen(opened) {
            self.images
                .extend(one.rows().map(|row| (one.segment.id(row), shard)));
            published.push((one.id, self.state(shard, &one).await?));
        }
        self.segments += published.len();
        let head = self
            .head(shard, &objects.wal, newest.map(|made| made.epoch))
            .await?;
        Ok((head, published))
    }

    async fn open(
        &mut self,
        shard: ShardId,
        id: SegmentId,
        versions: &[u32],
    ) -> Result<Option<Opened>, ShardError> {
        let name = objects::segment_name(self.collection, shard, id);
        let segment = match self.read(&name).await {
            Ok(segment) => segment,
            Err(error) if is_damage(&error) => {
                tracing::warn!(%error, "set aside");
                objects::set_aside(self.stores, &name).await?;
                self.damaged.push(name);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let last_version = versions.iter().copied().max().unwrap_or(0);
        let mut versions = versions.to_vec();
        versions.sort_unstable_by_key(|&version| Reverse(version));
        // Every version holds the dead of those before.
        for version in versions {
            let name = objects::tombstones_name(self.collection, shard, id, version);
            let object = self.stores.blobs.get(&name).await?;
            match Tombstones::decode(&object, id, segment.len()) {
                Ok(dead) => {
                    return Ok(Some(Opened {
                        id,
                        segment,
                        dead,
                        version,
                        last_version,
                    }));
                }
                Err(_) => self.damaged.push(name),
            }
        }
        Ok(Some(Opened {
            id,
            dead: Tombstones::new(segment.len()),
            segment,
            version: 0,
            last_version,
        }))
    }

    async fn read(&mut self, name: &str) -> Result<Segment, ShardError> {
        let any = ShardOptions::new(0, crate::types::ModelHash::from_bytes([0; 32]));
        let file = objects::fetch(self.stores, &any, name).await?;
        let spec = Segment::spec(&file).map_err(|source| ShardError::Segment {
            name: name.to_owned(),
            source,
        })?;
        let options = ShardOptions::new(spec.dim, spec.model);
        let segment = objects::open_file(name, file, &options).await?;
        if *self.spec.get_or_insert(spec) != spec {
            return Err(ShardError::Invalid {
                reason: format!("{name} is of another network than the segments before it"),
            });
        }
        Ok(segment)
    }

    /// The value of a segment's key; its tombstones are stored where they are not yet.
    async fn state(&self, shard: ShardId, one: &Opened) -> Result<SegmentState, ShardError> {
        let mut state = SegmentState::new(
            one.segment.len() as u64,
            one.segment.bytes() as u64,
            one.segment.crc(),
        );
        let (object, dead) = one.dead.encode(one.id);
        state.dead = dead as u64;
        state.tombstones = one.version;
        let name = |version| objects::tombstones_name(self.collection, shard, one.id, version);
        if dead > 0 && (one.version == 0 || self.stores.blobs.get(&name(one.version)).await? != object) {
            state.tombstones = one.last_version + 1;
            objects::upload(self.stores, &name(state.tombstones), object).await?;
        }
        Ok(state)
    }

    /// The head by which everything that is left of the log is replayed, and which no epoch that there was is above.
    async fn head(
        &mut self,
        shard: ShardId,
        wal: &[Position],
        last_epoch: Option<Epoch>,
    ) -> Result<Head, ShardError> {
        let mut wal = wal.to_vec();
        wal.sort_unstable();
        let mut head = Head::new();
        let mut floor = None;
        for (place, &at) in wal.iter().enumerate() {
            let last = wal.get(place + 1).is_none_or(|next| next.epoch != at.epoch);
            let name = wal::name(self.collection, shard, at);
            let content = wal::decode(at, &self.stores.blobs.get(&name).await?);
            let fence = match content {
                Ok(Content::Fence) => true,
                Ok(Content::Data(entries)) => {
                    self.wal_objects += 1;
                    for entry in entries {
                        if let Entry::Append(record) = entry {
                            self.images.push((record.id, shard));
                        }
                    }
                    false
                }
                Err(error) => {
                    tracing::warn!(name, %error, "cannot be read");
                    self.damaged.push(name);
                    last && place + 1 < wal.len()
                }
            };
            if !fence {
                floor.get_or_insert(at);
            }
            if last {
                head.epochs.push(EpochState {
                    id: at.epoch.get(),
                    end: fence.then(|| at.seq.get()),
                });
            }
        }
        let logged = head.epochs.last().map(|state| Epoch::new(state.id));
        if let Some(epoch) = last_epoch.filter(|&epoch| logged < Some(epoch)) {
            head.epochs.push(EpochState {
                id: epoch.get(),
                end: None,
            });
        }
        let end = head.epochs.last().map(|state| Position {
            epoch: Epoch::new(state.id),
            seq: Seq::new(state.end.unwrap_or(0)),
        });
        if let Some(floor) = floor.or(end) {
            head.raise_floor(floor);
        }
        head.advance();
        Ok(head)
    }
}

/// The segments that count, with everything dead in them that is known to be. Segments that share an image come of each other,
/// or of the same log, and the one made last knows best. Where a segment does not say when it was made, both are kept.
fn chosen(mut opened: Vec<Opened>) -> Vec<Opened> {
    opened.sort_by_key(|one| Reverse(one.segment.made()));
    let mut seen = HashSet::new();
    let (mut kept, mut replaced) = (Vec::new(), Vec::new());
    for one in opened {
        let known = one.rows().any(|row| seen.contains(&one.image(row)));
        if known && one.segment.made().is_some() {
            replaced.push(one);
        } else {
            seen.extend(one.rows().map(|row| one.image(row)));
            kept.push(one);
        }
    }
    for other in kept.iter().chain(&replaced) {
        for row in other.rows().filter(|&row| other.dead.is_dead(row)) {
            let image = other.image(row);
            for one in &kept {
                if let Some(same) = one
                    .segment
                    .find(&image.0)
                    .filter(|&same| one.image(same) == image)
                {
                    one.dead.kill(same);
                }
            }
        }
    }
    kept
}
