//! Segment and tombstone objects of a shard.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::state::SegmentState;
use super::view::{LiveSegment, Stored};
use super::{ShardError, ShardOptions, Stores, cache};
use crate::segment::{Segment, SegmentError, Tombstones, map_file};
use crate::store::blob::{BlobError, Created};
use crate::types::{CollectionName, SegmentId, ShardId};

/// Folder of what could not be read.
pub const EVIDENCE: &str = "damaged";

/// Folder of all segments.
pub(crate) const SEGMENTS: &str = "seg";

/// Folder of all segments of a shard.
pub(crate) fn folder(collection: &CollectionName, shard: ShardId) -> String {
    format!("{SEGMENTS}/{collection}/{shard}")
}

pub(crate) fn segment_name(collection: &CollectionName, shard: ShardId, id: SegmentId) -> String {
    format!("{}/{id}.seg", folder(collection, shard))
}

pub(crate) fn tombstones_name(
    collection: &CollectionName,
    shard: ShardId,
    id: SegmentId,
    version: u32,
) -> String {
    format!("{}/{id}.del.{version}", folder(collection, shard))
}

/// What a name in that folder stands for: a segment (`None`) or a version of its tombstones.
pub(crate) fn parse(name: &str) -> Option<(SegmentId, Option<u32>)> {
    let (id, kind) = name.rsplit('/').next()?.split_once('.')?;
    let id = id.parse().ok()?;
    match kind.strip_prefix("del.") {
        Some(version) => Some((id, Some(version.parse().ok()?))),
        None => (kind == "seg").then_some((id, None)),
    }
}

/// Stores an object under a name that nobody else uses.
pub(crate) async fn upload(stores: &Stores, name: &str, object: Bytes) -> Result<(), ShardError> {
    upload_file(stores, name, object, None).await
}

/// [`upload`] of what a file may hold as well.
pub(crate) async fn upload_file(
    stores: &Stores,
    name: &str,
    object: Bytes,
    file: Option<&Path>,
) -> Result<(), ShardError> {
    let created = match file {
        Some(file) => stores.blobs.create_from(name, object.clone(), file).await?,
        None => stores.blobs.create(name, object.clone()).await?,
    };
    match created {
        Created::New => Ok(()),
        // Without the retrying wrapper, our own earlier try.
        Created::AlreadyExists if stores.blobs.get(name).await? == object => Ok(()),
        Created::AlreadyExists => Err(ShardError::Corrupt {
            name: name.to_owned(),
            what: "another object stands under a random name".to_owned(),
        }),
    }
}

/// Moves what is left of an object to where evidence is kept.
pub(crate) async fn set_aside(stores: &Stores, name: &str) -> Result<(), ShardError> {
    match stores.blobs.get(name).await {
        Ok(object) => {
            let evidence = format!("{EVIDENCE}/{name}");
            stores.blobs.create(&evidence, object).await?;
            Ok(stores.blobs.delete(name).await?)
        }
        Err(BlobError::NotFound { .. }) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The bytes of a segment: mapped where the store or the cache has it as a file, else in memory.
pub(crate) async fn fetch(stores: &Stores, options: &ShardOptions, name: &str) -> Result<Bytes, ShardError> {
    if let Some(path) = stores.blobs.local_path(name) {
        return map(path, name).await;
    }
    let Some(copy) = cache::path(stores, options, name) else {
        return Ok(stores.blobs.get(name).await?);
    };
    if !copy.exists() {
        let object = stores.blobs.get(name).await?;
        let (bytes, target) = (object.clone(), copy.clone());
        let written = run_blocking(name, move || cache::write(&target, &bytes)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "a segment is served from memory: there is no place for a copy of it");
            return Ok(object);
        }
    }
    map(copy, name).await
}

async fn map(path: PathBuf, name: &str) -> Result<Bytes, ShardError> {
    run_blocking(name, move || map_file(&path)).await
}

async fn run_blocking<T: Send + 'static>(
    name: &str,
    call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, ShardError> {
    let result = tokio::task::spawn_blocking(call).await;
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(ShardError::Blob(BlobError::NotFound {
                name: name.to_owned(),
            }))
        }
        Ok(Err(e)) => Err(ShardError::Unavailable {
            reason: format!("{name}: {e}"),
        }),
        Err(e) => Err(ShardError::Unavailable {
            reason: e.to_string(),
        }),
    }
}

/// Opens a published segment with its tombstones.
pub(crate) async fn open(
    stores: &Stores,
    options: &ShardOptions,
    (collection, shard): (&CollectionName, ShardId),
    id: SegmentId,
    (state, revision): (&SegmentState, i64),
) -> Result<LiveSegment, ShardError> {
    let name = segment_name(collection, shard, id);
    let segment = match open_as(stores, options, &name, state).await {
        Err(error) if super::is_damage(&error) && cache::forget(stores, options, &name) => {
            tracing::warn!(%error, "the local copy of a segment is damaged: it is fetched again");
            open_as(stores, options, &name, state).await?
        }
        opened => opened?,
    };
    let dead = if state.tombstones == 0 {
        Tombstones::new(segment.len())
    } else {
        let name = tombstones_name(collection, shard, id, state.tombstones);
        let object = stores.blobs.get(&name).await?;
        Tombstones::decode(&object, id, segment.len())
            .map_err(|source| ShardError::Segment { name, source })?
    };
    let stored = Stored {
        revision,
        tombstones: state.tombstones,
        dead: dead.dead(),
    };
    Ok(LiveSegment {
        id,
        segment,
        dead,
        stored: stored.into(),
    })
}

/// Opens the segment that was published under this name.
async fn open_as(
    stores: &Stores,
    options: &ShardOptions,
    name: &str,
    state: &SegmentState,
) -> Result<Segment, ShardError> {
    let file = fetch(stores, options, name).await?;
    let segment = open_file(name, file, options).await?;
    if segment.crc() != state.crc || segment.len() as u64 != state.rows {
        return Err(ShardError::Corrupt {
            name: name.to_owned(),
            what: "it is not the segment that was published".to_owned(),
        });
    }
    Ok(segment)
}

/// Opens a segment file off the event loop: its checksums are computed.
pub(crate) async fn open_file(
    name: &str,
    file: Bytes,
    options: &ShardOptions,
) -> Result<Segment, ShardError> {
    let spec = options.spec;
    let opened = tokio::task::spawn_blocking(move || Segment::open(file, spec)).await;
    opened
        .unwrap_or_else(|e| {
            Err(SegmentError::Corrupt {
                what: format!("opening it failed: {e}"),
            })
        })
        .map_err(|source| ShardError::Segment {
            name: name.to_owned(),
            source,
        })
}
