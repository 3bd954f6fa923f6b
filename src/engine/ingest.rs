//! Uploads: analysed many at a time, then matched and stored one after the other in the order of the request, so that a
//! file sees those before it. Nothing is answered as stored before it is durable.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use chrono::{SubsecRound as _, Utc};
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::analysis::panicked;
use super::collections::Collection;
use super::search::{Matches, Subject};
use super::{Engine, EngineError, Found, OnDuplicate, Outcome, Upload, Uploaded, objects};
use crate::shard::Appended;
use crate::telemetry::names;
use crate::types::{CollectionName, ImageId, ImageRecord, MatchClass};
use crate::vision::{Analysis, fingerprint};

/// Files of one request that are in work at the same time.
const AHEAD: usize = 16;
/// Bytes that are hashed in less time than it takes to hand them over.
const HASHED_IN_PLACE: usize = 128 << 10;
/// Neighbours looked at for an upload's verdict, at least.
const NEIGHBOURS: usize = 10;

/// How to treat the files of an upload.
#[derive(Debug, Clone, Copy)]
pub struct IngestOptions {
    /// What to do with files that match.
    pub on_duplicate: OnDuplicate,
    /// Weakest class to list among the matches.
    pub level: MatchClass,
}

/// An upload in progress. Files go in one by one; the answers come out at the end, in the same order. What was pushed is
/// finished even if the value is dropped.
pub struct Ingest {
    files: mpsc::Sender<(String, Result<Upload, EngineError>)>,
    answers: JoinHandle<Vec<Uploaded>>,
}

impl Ingest {
    /// Takes the next file, or why it could not be taken. Waits while many files of the request are in work.
    pub async fn push(&mut self, name: String, upload: Result<Upload, EngineError>) {
        // The receiver lives as long as this value: a failure means that its task broke, which `finish` tells.
        let _ = self.files.send((name, upload)).await;
    }

    /// Waits for all files.
    pub async fn finish(self) -> Vec<Uploaded> {
        let Self { files, answers } = self;
        drop(files);
        match answers.await {
            Ok(answers) => answers,
            Err(broken) => vec![failed(
                String::new(),
                EngineError::Panicked {
                    what: broken.to_string(),
                },
            )],
        }
    }
}

/// A file after analysis.
enum Prepared {
    /// Its bytes are there already.
    Known(Arc<ImageRecord>),
    /// It is new, as far as one can tell before storing it.
    New { upload: Upload, analysis: Box<Analysis> },
}

impl Engine {
    /// Begins an upload to a collection.
    ///
    /// # Errors
    /// [`EngineError::NoCollection`].
    pub fn ingest(
        self: &Arc<Self>,
        collection: &CollectionName,
        options: IngestOptions,
    ) -> Result<Ingest, EngineError> {
        let collection = self.opened(collection)?;
        let (files, receiver) = mpsc::channel(1);
        let answers = tokio::spawn(run(Arc::clone(self), collection, options, receiver));
        Ok(Ingest { files, answers })
    }

    async fn prepare(&self, collection: &Collection, upload: Upload) -> Result<Prepared, EngineError> {
        let bytes = upload.bytes.clone();
        let hash = move || ImageId::from(fingerprint::content_hash(&bytes));
        let id = if upload.bytes.len() <= HASHED_IN_PLACE {
            hash()
        } else {
            self.compute(hash).await?
        };
        if let Some(record) = collection.get(id) {
            return Ok(Prepared::Known(record));
        }
        let analysis = Box::new(self.analysis.analyse(upload.bytes.clone()).await?);
        Ok(Prepared::New { upload, analysis })
    }

    /// Decides about an analysed file and stores it if it is to be stored.
    async fn commit(
        self: &Arc<Self>,
        collection: &Arc<Collection>,
        options: IngestOptions,
        prepared: Prepared,
    ) -> Result<(Outcome, Vec<Found>), EngineError> {
        let (upload, mut analysis) = match prepared {
            Prepared::Known(record) => return Ok(self.known(record)),
            Prepared::New { upload, analysis } => (upload, analysis),
        };
        let hash = analysis.fingerprint.content_hash;
        if let Some(record) = collection.get(ImageId::from(hash)) {
            return Ok(self.known(record));
        }
        let subject = Arc::new(Subject::new(&mut analysis, upload.bytes.clone()));
        let matching = self.matches(collection, &subject, NEIGHBOURS);
        let original = collection.keeps_originals().then(|| upload.bytes.clone());
        // From here to the record nobody removes objects of this content.
        let hold = self.media.hold(hash).await;
        let objects = objects::store(&self.media, &hold, analysis.thumbnail.clone(), original);
        let matches = if options.on_duplicate == OnDuplicate::Store {
            // Objects are named by content: storing them before the verdict harms nothing.
            let (matches, ()) = futures::try_join!(matching, async { Ok(objects.await?) })?;
            matches
        } else {
            let matches = matching.await?;
            // A file that would be lost with what only it holds is no duplicate to be left out.
            let best = matches.found.iter().find(|found| {
                found.matched.class >= MatchClass::Edited && analysis.beyond.is_in(found.record.beyond)
            });
            match (options.on_duplicate, best.map(|best| best.record.id)) {
                (OnDuplicate::Reject, Some(_)) => return Ok((Outcome::Rejected, matches.found)),
                (OnDuplicate::Link, Some(id)) => return Ok((Outcome::Linked(id), matches.found)),
                (OnDuplicate::Store | OnDuplicate::Reject | OnDuplicate::Link, _) => objects.await?,
            }
            matches
        };
        let Matches { found, .. } = matches;
        let started = Instant::now();
        let appended = collection
            .owner(ImageId::from(hash))
            .append(record(upload, *analysis))
            .await?;
        metrics::histogram!(names::STAGE_SECONDS, "stage" => "append").record(started.elapsed());
        drop(hold);
        match appended {
            Appended::Existing(record) => Ok(self.known(record)),
            Appended::New => {
                let id = ImageId::from(hash);
                // Images that come in together are each other's candidates: what was extracted once is not again.
                if let Some(features) = subject.features.get() {
                    self.features.insert(hash, Arc::clone(features));
                }
                collection
                    .edges
                    .lock()
                    .add(id, found.iter().map(|one| (one.record.id, &one.matched)));
                Ok((Outcome::Created(id), found))
            }
        }
    }

    /// Answer for bytes that are stored already.
    fn known(&self, record: Arc<ImageRecord>) -> (Outcome, Vec<Found>) {
        let (outcome, print) = (Outcome::Duplicate(record.id), &record.fingerprint);
        let matched = self.cascade.judge(print, &[print.pdq; 8], print, None);
        let found = matched.map(|matched| Found { record, matched });
        (outcome, found.into_iter().collect())
    }
}

async fn run(
    engine: Arc<Engine>,
    collection: Arc<Collection>,
    options: IngestOptions,
    files: mpsc::Receiver<(String, Result<Upload, EngineError>)>,
) -> Vec<Uploaded> {
    let files = stream::unfold(files, async |mut files| {
        files.recv().await.map(|file| (file, files))
    });
    let prepared = files.map(|(name, upload)| {
        let (engine, collection) = (Arc::clone(&engine), Arc::clone(&collection));
        // A task of its own: it goes on while a file before it is being stored, and a panic stays with its file.
        let task = tokio::spawn(async move { engine.prepare(&collection, upload?).await });
        async move { (name, flatten(task.await)) }
    });
    let mut prepared = std::pin::pin!(prepared.buffered(AHEAD));
    let mut answers = Vec::new();
    while let Some((name, prepared)) = prepared.next().await {
        let committed = match prepared {
            Err(error) => Err(error),
            Ok(prepared) => {
                let committed = engine.commit(&collection, options, prepared);
                let caught = AssertUnwindSafe(committed).catch_unwind().await;
                caught.unwrap_or_else(|payload| Err(panicked(&*payload)))
            }
        };
        answers.push(match committed {
            Err(error) => failed(name, error),
            Ok((outcome, mut matches)) => {
                matches.retain(|one| one.matched.class >= options.level);
                Uploaded {
                    name,
                    outcome,
                    matches,
                }
            }
        });
        count(answers.last());
    }
    answers
}

fn flatten<T>(joined: Result<Result<T, EngineError>, tokio::task::JoinError>) -> Result<T, EngineError> {
    joined.unwrap_or_else(|broken| {
        Err(EngineError::Panicked {
            what: broken.to_string(),
        })
    })
}

fn failed(name: String, error: EngineError) -> Uploaded {
    Uploaded {
        name,
        outcome: Outcome::Failed(error),
        matches: Vec::new(),
    }
}

fn record(upload: Upload, analysis: Analysis) -> ImageRecord {
    ImageRecord {
        id: ImageId::from(analysis.fingerprint.content_hash),
        name: upload.name,
        size: analysis.size,
        format: analysis.format,
        beyond: analysis.beyond,
        // Cursors of lists count microseconds.
        created: Utc::now().trunc_subsecs(6),
        tags: upload.tags,
        fingerprint: analysis.fingerprint,
    }
}

fn count(uploaded: Option<&Uploaded>) {
    let Some(uploaded) = uploaded else { return };
    let status = match uploaded.outcome {
        Outcome::Created(_) => "created",
        Outcome::Duplicate(_) => "duplicate",
        Outcome::Linked(_) => "linked",
        Outcome::Rejected => "rejected",
        Outcome::Failed(_) => "failed",
    };
    metrics::counter!(names::INGESTED, "status" => status).increment(1);
}
