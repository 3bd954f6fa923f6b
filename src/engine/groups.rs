//! Groups of duplicates within a collection, and what people decide about them.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::collections::Collection;
use super::jobs::JobHandle;
use super::objects::ORPHAN_AGE;
use super::{Cursor, Engine, EngineError, Found, JobInfo, JobKind};
use crate::dedup::groups::Apart;
use crate::dedup::{self, Candidate, Edge, KeepPolicy, Match, originality};
use crate::types::{
    CollectionName, ContentHash, ImageFormat, ImageId, ImagePair, ImageRecord, MatchClass, Verdict,
};

/// Images whose matches the `dedup` job looks for at the same time.
const AT_ONCE: usize = 2;
/// Images listed at a time by jobs.
const LISTED: usize = 500;
/// Nearest neighbours that the `dedup` job looks at, at least.
const NEIGHBOURS: usize = 10;

/// A keeper and its copies.
#[derive(Debug)]
pub struct Group {
    /// The image that the default policy keeps; its id names the group.
    pub keeper: Arc<ImageRecord>,
    /// The others, each with its match as seen from the keeper.
    pub members: Vec<Found>,
}

/// Part of the groups of a collection.
#[derive(Debug)]
pub struct GroupPage {
    /// The groups, newest keeper first.
    pub groups: Vec<Group>,
    /// Where the next part starts; `None` at the end.
    pub next: Option<Cursor>,
    /// Number of groups in all.
    pub total: usize,
    /// Images whose matches have been looked for.
    pub checked: u64,
    /// Images in the collection. While fewer are checked, groups may still be missing.
    pub images: u64,
}

/// What a person decided about a group.
#[derive(Debug, Default)]
pub struct Resolution {
    /// Copies that all stay.
    pub keep: Vec<ImageId>,
    /// Images to delete.
    pub remove: Vec<ImageId>,
    /// Images that are no copies of the others.
    pub not_duplicates: Vec<ImageId>,
}

/// What a resolution did.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Images deleted.
    pub removed: Vec<ImageId>,
    /// Pairs whose verdict is remembered.
    pub judged: usize,
}

impl Engine {
    /// Groups of a collection whose matches are at least of class `level`. Starts a `dedup` job when not all images have
    /// been checked.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub fn groups(
        self: &Arc<Self>,
        name: &CollectionName,
        level: MatchClass,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<GroupPage, EngineError> {
        let collection = self.opened(name)?;
        let images = collection.len();
        let checked = (collection.edges.lock().checked() as u64).min(images);
        if checked < images {
            self.start_job(JobKind::Dedup, name)?;
        }
        let mut groups = grouped(&collection, level);
        let total = groups.len();
        let place = |group: &(Arc<ImageRecord>, Vec<Arc<ImageRecord>>)| (group.0.created, group.0.id);
        groups.sort_by_key(|group| Reverse(place(group)));
        groups.retain(|group| after.is_none_or(|cursor| place(group) < (cursor.created, cursor.id)));
        let more = groups.len() > limit;
        groups.truncate(limit);
        let next = groups.last().filter(|_| more).map(|(keeper, _)| Cursor {
            created: keeper.created,
            id: keeper.id,
        });
        let edges = collection.edges.lock();
        let groups = groups
            .into_iter()
            .map(|(keeper, members)| {
                let seen = |record: Arc<ImageRecord>| {
                    Some(Found {
                        matched: edges.between(keeper.id, record.id)?,
                        record,
                    })
                };
                Group {
                    members: members.into_iter().filter_map(seen).collect(),
                    keeper,
                }
            })
            .collect();
        Ok(GroupPage {
            groups,
            next,
            total,
            checked,
            images,
        })
    }

    /// Carries out what a person decided about the group of keeper `id`: verdicts are remembered first, then images are
    /// deleted.
    ///
    /// # Errors
    /// [`EngineError::NoGroup`] when the keeper has no matches any more, [`EngineError::BadResolution`] when an image is
    /// not in the group or stands in two lists, or when no copy would stay.
    pub async fn resolve(
        self: &Arc<Self>,
        name: &CollectionName,
        id: ImageId,
        resolution: &Resolution,
    ) -> Result<Resolved, EngineError> {
        let collection = self.opened(name)?;
        let (group, copies) = {
            let edges = collection.edges.lock();
            let group: BTreeSet<ImageId> = edges.neighbours(id).chain([id]).collect();
            let is_copy = |other: ImageId| {
                let matched = edges.between(id, other);
                matched.is_some_and(|matched| matched.class > MatchClass::Similar)
            };
            let copies: BTreeSet<ImageId> = group
                .iter()
                .copied()
                .filter(|other| *other == id || is_copy(*other))
                .collect();
            (group, copies)
        };
        if group.len() < 2 || collection.get(id).is_none() {
            return Err(EngineError::NoGroup {
                id,
                collection: name.clone(),
            });
        }
        check(&group, &copies, resolution)?;
        let verdicts = verdicts(&collection, &group, resolution);
        for (pair, verdict) in &verdicts {
            collection.judge(*pair, *verdict).await?;
        }
        let mut removed = Vec::new();
        for image in &resolution.remove {
            // Someone else may have deleted it meanwhile: the wish is fulfilled.
            if self.remove(&collection, *image).await? {
                removed.push(*image);
            }
        }
        Ok(Resolved {
            removed,
            judged: verdicts.len(),
        })
    }

    /// Starts a job, or answers the one of this kind that is running on the collection.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub fn start_job(self: &Arc<Self>, kind: JobKind, name: &CollectionName) -> Result<JobInfo, EngineError> {
        let collection = self.opened(name)?;
        if let Some(running) = self.jobs.running(kind, name) {
            return Ok(running);
        }
        let engine = Arc::clone(self);
        Ok(self.jobs.start(kind, name.clone(), |job| async move {
            match kind {
                JobKind::Dedup => engine.dedup(&collection, &job).await,
                JobKind::Compact => engine.compact(&collection, &job).await,
            }
        }))
    }

    /// Looks for the matches of every image that has not been checked.
    async fn dedup(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        job: &JobHandle,
    ) -> Result<(), EngineError> {
        let mut cursor = None;
        loop {
            let images = collection.list(cursor, LISTED);
            let Some(last) = images.last() else { return Ok(()) };
            cursor = Some(Cursor {
                created: last.created,
                id: last.id,
            });
            let unchecked: Vec<_> = {
                let edges = collection.edges.lock();
                images
                    .into_iter()
                    .filter(|image| !edges.is_checked(image.id))
                    .collect()
            };
            stream::iter(unchecked)
                .map(|record| self.check(collection, job, record))
                .buffer_unordered(AT_ONCE)
                .try_collect::<()>()
                .await?;
            if job.is_cancelled() {
                return Ok(());
            }
        }
    }

    async fn check(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        job: &JobHandle,
        record: Arc<ImageRecord>,
    ) -> Result<(), EngineError> {
        if job.is_cancelled() {
            return Ok(());
        }
        match self.stored_subject(&record).await {
            Ok(subject) => {
                let found = self
                    .matches(collection, &Arc::new(subject), NEIGHBOURS)
                    .await?
                    .found;
                // Deleted meanwhile: what was found is of no use.
                if collection.get(record.id).is_some() {
                    let found = found.iter().map(|one| (one.record.id, &one.matched));
                    collection.edges.lock().add(record.id, found);
                }
            }
            Err(error) => {
                tracing::warn!(%error, image = %record.id, "an image could not be checked for duplicates");
                collection.edges.lock().add(record.id, []);
            }
        }
        let checked = collection.edges.lock().checked() as u64;
        job.progress(checked, collection.len());
        Ok(())
    }

    async fn compact(&self, collection: &Collection, job: &JobHandle) -> Result<(), EngineError> {
        let steps = collection.shards().len() as u64 + 1;
        for (done, shard) in (0..).zip(collection.shards()) {
            if job.is_cancelled() {
                return Ok(());
            }
            job.progress(done, steps);
            // One merge may make the next one worthwhile.
            while !job.is_cancelled() && shard.compact().await? {}
            shard.collect_garbage().await?;
        }
        self.sweep(ORPHAN_AGE).await?;
        job.progress(steps, steps);
        Ok(())
    }
}

/// Keepers with their members, out of all matches that people have not judged.
fn grouped(collection: &Collection, level: MatchClass) -> Vec<(Arc<ImageRecord>, Vec<Arc<ImageRecord>>)> {
    let mut records: Vec<Arc<ImageRecord>> = Vec::new();
    let mut places: HashMap<ImageId, usize> = HashMap::new();
    let mut matches: Vec<(usize, usize, Match)> = Vec::new();
    {
        let known = collection.edges.lock();
        let mut place = |id: ImageId| -> Option<usize> {
            if let Some(place) = places.get(&id) {
                return Some(*place);
            }
            records.push(collection.get(id)?);
            places.insert(id, records.len() - 1);
            Some(records.len() - 1)
        };
        for (a, b, matched) in known.iter().filter(|(_, _, matched)| matched.class >= level) {
            if let (Some(a), Some(b)) = (place(a), place(b)) {
                matches.push((a, b, matched.clone()));
            }
        }
    }
    let by_hash: HashMap<ContentHash, usize> = (0..)
        .zip(&records)
        .map(|(place, record)| (record.fingerprint.content_hash, place))
        .collect();
    let apart: Apart = collection
        .verdicts()
        .iter()
        .filter_map(|judgement| {
            by_hash
                .get(&judgement.pair.low())
                .zip(by_hash.get(&judgement.pair.high()))
        })
        .map(|(&a, &b)| (a.min(b), a.max(b)))
        .collect();
    matches.retain(|(a, b, _)| !apart.contains(&(*a.min(b), *a.max(b))));
    let mut candidates: Vec<Candidate> = records.iter().map(|record| candidate(record)).collect();
    originality::mark(
        &mut candidates,
        matches.iter().map(|(a, b, found)| (*a, *b, found)),
        |a, b| {
            let embedding = |place: usize| &records[place].fingerprint.embedding;
            embedding(a).similarity(embedding(b))
        },
    );
    let edges: Vec<Edge> = matches
        .iter()
        .map(|&(a, b, ref found)| Edge {
            a,
            b,
            class: found.class,
            probability: found.probability,
        })
        .collect();
    dedup::group(&candidates, &edges, level, &KeepPolicy::default(), &apart)
        .into_iter()
        .map(|group| {
            let members = group
                .members
                .iter()
                .map(|member| Arc::clone(&records[*member]))
                .collect();
            (Arc::clone(&records[group.keeper]), members)
        })
        .collect()
}

fn candidate(record: &ImageRecord) -> Candidate {
    Candidate {
        // Names need not differ within a collection; ids do.
        name: format!("{}\0{}", record.name, record.id),
        pixels: u64::from(record.fingerprint.width) * u64::from(record.fingerprint.height),
        size: record.size,
        modified: record.created.timestamp(),
        // Its preview says nothing of what it is worth.
        reference: record.format == ImageFormat::Raw,
        camera: record.fingerprint.exif.camera.is_some() || record.fingerprint.exif.taken.is_some(),
        lossy: record.format.is_lossy(),
        ..Candidate::default()
    }
}

/// `group` is the keeper with all that matches it, `copies` those of them that are more than similar.
fn check(
    group: &BTreeSet<ImageId>,
    copies: &BTreeSet<ImageId>,
    resolution: &Resolution,
) -> Result<(), EngineError> {
    let bad = |reason: String| Err(EngineError::BadResolution { reason });
    let mut seen = BTreeSet::new();
    for id in resolution
        .keep
        .iter()
        .chain(&resolution.remove)
        .chain(&resolution.not_duplicates)
    {
        if !group.contains(id) {
            return bad(format!(
                "image {id} is not in this group: it may have changed, read it again"
            ));
        }
        if !seen.insert(*id) {
            return bad(format!("image {id} is named twice"));
        }
    }
    if seen.is_empty() {
        return bad("nothing to do: keep, remove and not_duplicates are all empty".to_owned());
    }
    let stays = !resolution.keep.is_empty() || !resolution.not_duplicates.is_empty();
    if !stays && copies.iter().all(|id| resolution.remove.contains(id)) {
        return bad(
            "no copy would stay: name in keep what is to stay, or delete the images one by one".to_owned(),
        );
    }
    Ok(())
}

/// Pairs that the resolution says something about.
fn verdicts(
    collection: &Collection,
    group: &BTreeSet<ImageId>,
    resolution: &Resolution,
) -> Vec<(ImagePair, Verdict)> {
    let mut verdicts = Vec::new();
    let mut say = |a: ImageId, b: ImageId, verdict: Verdict| {
        let hash = |id| collection.get(id).map(|record| record.fingerprint.content_hash);
        if let Some(pair) = hash(a).zip(hash(b)).and_then(|(a, b)| ImagePair::new(a, b)) {
            verdicts.push((pair, verdict));
        }
    };
    for (place, stranger) in resolution.not_duplicates.iter().enumerate() {
        let before = &resolution.not_duplicates[..place];
        for other in group
            .iter()
            .filter(|other| *other != stranger && !before.contains(other))
        {
            say(*stranger, *other, Verdict::NotDuplicate);
        }
    }
    for (place, kept) in resolution.keep.iter().enumerate() {
        for other in &resolution.keep[..place] {
            say(*kept, *other, Verdict::KeepBoth);
        }
    }
    verdicts
}
