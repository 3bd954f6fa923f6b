//! The shard's only writer: gathers what waits into groups, puts each as one WAL object, applies it, answers.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep};

use super::wal::{self, Content, Entry, Position};
use super::{Appended, Core, Grouping, ShardError};
use crate::store::blob::{BlobError, Created, Purpose};
use crate::types::{ImageId, ImageRecord, Judgement, Seq};

/// Pause between tries of a group whose outcome is not known.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// How often, for one group, all other tasks that are ready run before the writer sleeps.
const TURNS: u32 = 8;

pub(crate) type Reply<T> = oneshot::Sender<Result<T, ShardError>>;

/// What waits for the writer.
pub(crate) enum Request {
    Append(Arc<ImageRecord>, Reply<Appended>),
    Delete(ImageId, Reply<bool>),
    Judge(Judgement, Reply<()>),
    /// Start a new growing segment; answers the first position that is not in the old one.
    Rotate(Reply<Position>),
    Close(Reply<()>),
}

/// An answer, held back until what it rests on is durable.
enum Answer {
    Append(Reply<Appended>, Appended),
    Delete(Reply<bool>, bool),
    Judge(Reply<()>),
}

/// Why a whole group failed; one error for each of its callers is made from it.
#[derive(Debug, Clone)]
enum Failure {
    Full,
    Unavailable(String),
    Unknown(String),
    Fenced(u64),
}

impl Failure {
    fn error(&self) -> ShardError {
        match self {
            Self::Full => ShardError::Full,
            Self::Unavailable(reason) => ShardError::Unavailable {
                reason: reason.clone(),
            },
            Self::Unknown(reason) => ShardError::OutcomeUnknown {
                reason: reason.clone(),
            },
            Self::Fenced(epoch) => ShardError::Fenced { epoch: *epoch },
        }
    }
}

impl Answer {
    fn give(self) {
        // A caller that went away is no error: its write stands.
        match self {
            Self::Append(reply, appended) => drop(reply.send(Ok(appended))),
            Self::Delete(reply, lived) => drop(reply.send(Ok(lived))),
            Self::Judge(reply) => drop(reply.send(Ok(()))),
        }
    }

    fn fail(self, failure: &Failure) {
        match self {
            Self::Append(reply, _) => drop(reply.send(Err(failure.error()))),
            Self::Delete(reply, _) => drop(reply.send(Err(failure.error()))),
            Self::Judge(reply) => drop(reply.send(Err(failure.error()))),
        }
    }
}

/// One group in the making. Decides each request against the shard and the requests before it in the group.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    answers: Vec<Answer>,
    /// What the group does to an image: there now, or gone.
    changed: HashMap<ImageId, Option<Arc<ImageRecord>>>,
    bytes: usize,
}

impl Group {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.room();
        self.entries.push(entry);
    }

    fn current(&self, core: &Core, id: &ImageId) -> Option<Arc<ImageRecord>> {
        match self.changed.get(id) {
            Some(record) => record.clone(),
            None => core.view().get(id),
        }
    }

    fn append(&mut self, core: &Core, record: Arc<ImageRecord>, reply: Reply<Appended>) {
        let appended = match self.current(core, &record.id) {
            Some(existing) => Appended::Existing(existing),
            None => {
                self.changed.insert(record.id, Some(record.clone()));
                self.push(Entry::Append(record));
                Appended::New
            }
        };
        self.answers.push(Answer::Append(reply, appended));
    }

    fn delete(&mut self, core: &Core, id: ImageId, reply: Reply<bool>) {
        let lived = self.current(core, &id).is_some();
        if lived {
            self.changed.insert(id, None);
            self.push(Entry::Delete(id));
        }
        self.answers.push(Answer::Delete(reply, lived));
    }

    /// What of a group that found no space can have some put by: all but its images, which are told so.
    fn without_images(entries: Vec<Entry>, answers: Vec<Answer>) -> Self {
        let mut group = Self::default();
        for entry in entries.into_iter().filter(|entry| !entry.is_image()) {
            group.push(entry);
        }
        for answer in answers {
            match answer {
                Answer::Delete(..) | Answer::Judge(_) => group.answers.push(answer),
                Answer::Append(..) => answer.fail(&Failure::Full),
            }
        }
        group
    }

    fn judge(&mut self, core: &Core, mut judgement: Judgement, reply: Reply<()>) {
        // The last word counts, by its time; so it is later than any before, whatever the clock says.
        let earlier = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Judge(j) if j.pair == judgement.pair => Some(j.at),
            _ => None,
        });
        if let Some(earlier) = earlier.or_else(|| core.judgement(&judgement.pair).map(|j| j.at)) {
            judgement.at = judgement.at.max(earlier + chrono::TimeDelta::microseconds(1));
        }
        self.push(Entry::Judge(judgement));
        self.answers.push(Answer::Judge(reply));
    }
}

/// Where the object of a group may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// Where there is space.
    Free,
    /// Into the space put by too.
    Reserve(Purpose),
}

/// What ends a group besides time and size.
enum Then {
    Continue,
    Rotate(Reply<Position>),
    Close(Reply<()>),
    Gone,
}

pub(crate) struct Writer {
    pub(crate) core: Arc<Core>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) next: Seq,
    /// Calls in the last group.
    pub(crate) last_calls: usize,
}

impl Writer {
    /// Serves requests until the shard is closed or taken over.
    pub(crate) async fn run(mut self) {
        loop {
            let (group, then) = self.gather().await;
            self.last_calls = group.answers.len();
            if !group.answers.is_empty()
                && let Err(failure) = self.commit(group).await
            {
                self.step_down(&failure).await;
                if let Then::Close(reply) = then {
                    drop(reply.send(Ok(())));
                }
                return;
            }
            match then {
                Then::Continue => {}
                Then::Rotate(reply) => {
                    self.core.rotate();
                    drop(reply.send(Ok(self.position())));
                }
                Then::Close(reply) => {
                    self.core.close();
                    self.requests.close();
                    while let Some(request) = self.requests.recv().await {
                        refuse(request, || ShardError::Closed);
                    }
                    drop(reply.send(Ok(())));
                    return;
                }
                Then::Gone => return,
            }
        }
    }

    fn position(&self) -> Position {
        Position {
            epoch: self.core.epoch,
            seq: self.next,
        }
    }

    /// Waits for a first request, then for others until the group is full, the window over, or enough are there.
    async fn gather(&mut self) -> (Group, Then) {
        let mut group = Group::default();
        let Some(first) = self.requests.recv().await else {
            return (group, Then::Gone);
        };
        // One timer a group: the runtime's driver is woken, by a system call, for each that is set.
        let mut window = pin!(tokio::time::sleep(self.core.options.group_window));
        let mut turns = TURNS;
        let mut request = first;
        loop {
            match request {
                Request::Append(record, reply) => group.append(&self.core, record, reply),
                Request::Delete(id, reply) => group.delete(&self.core, id, reply),
                Request::Judge(judgement, reply) => group.judge(&self.core, judgement, reply),
                Request::Rotate(reply) => return (group, Then::Rotate(reply)),
                Request::Close(reply) => return (group, Then::Close(reply)),
            }
            if group.bytes >= self.core.options.group_bytes {
                return (group, Then::Continue);
            }
            let enough =
                self.core.options.grouping == Grouping::LikeTheLast && group.answers.len() >= self.last_calls;
            request = match self.another(enough, window.as_mut(), &mut turns).await {
                Ok(request) => request,
                Err(then) => return (group, then),
            };
        }
    }

    /// The next request of a group, or what ends it.
    async fn another(
        &mut self,
        enough: bool,
        window: Pin<&mut Sleep>,
        turns: &mut u32,
    ) -> Result<Request, Then> {
        loop {
            match self.requests.try_recv() {
                Ok(request) => return Ok(request),
                Err(TryRecvError::Disconnected) => return Err(Then::Gone),
                Err(TryRecvError::Empty) if enough => return Err(Then::Continue),
                Err(TryRecvError::Empty) if *turns == 0 => break,
                Err(TryRecvError::Empty) => *turns -= 1,
            }
            // Callers that are ready to run go first: their requests are then found together.
            tokio::task::yield_now().await;
        }
        tokio::select! {
            biased;
            request = self.requests.recv() => request.ok_or(Then::Gone),
            () = window => Err(Then::Continue),
        }
    }

    /// Makes a group durable, applies it and answers. An error is the end of this writer.
    async fn commit(&mut self, group: Group) -> Result<(), Failure> {
        let Some(small) = self.commit_in(Room::Free, group).await? else {
            return Ok(());
        };
        let room = if small.entries.iter().any(Entry::is_deletion) {
            Room::Reserve(Purpose::Deletion)
        } else {
            Room::Reserve(Purpose::Verdict)
        };
        self.commit_in(room, small).await.map(|_| ())
    }

    /// [`Self::commit`] with this room; what can have more room is handed back, when there is no space.
    async fn commit_in(&mut self, room: Room, group: Group) -> Result<Option<Group>, Failure> {
        if group.entries.is_empty() {
            group.answers.into_iter().for_each(Answer::give);
            return Ok(None);
        }
        let at = self.position();
        let content = Content::Data(group.entries);
        let object = wal::encode(at, &content);
        let Content::Data(entries) = content else {
            unreachable!("built two lines above")
        };
        match self.put(at, &object, room).await {
            Ok(()) => {
                self.apply(entries, object.len());
                group.answers.into_iter().for_each(Answer::give);
                Ok(None)
            }
            Err(Failure::Full) if room == Room::Free && !entries.iter().all(Entry::is_image) => {
                tracing::warn!("a group was not stored: the disk is full; trying it without its images");
                Ok(Some(Group::without_images(entries, group.answers)))
            }
            Err(failure @ (Failure::Full | Failure::Unavailable(_))) => {
                tracing::warn!(?failure, "a group was not stored");
                group.answers.into_iter().for_each(|answer| answer.fail(&failure));
                Ok(None)
            }
            Err(failure @ Failure::Fenced(_)) => {
                group.answers.into_iter().for_each(|answer| answer.fail(&failure));
                Err(failure)
            }
            Err(failure @ Failure::Unknown(_)) => {
                tracing::warn!(
                    ?failure,
                    "a group may be stored or not; finding out before writing anything else"
                );
                group.answers.into_iter().for_each(|answer| answer.fail(&failure));
                self.settle(at, &object, room).await?;
                self.apply(entries, object.len());
                Ok(None)
            }
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, bytes: usize) {
        self.core.apply(entries, bytes as u64);
        self.next = self.next.next();
    }

    /// One try: stored, certainly not stored, taken by a fence, or unknown.
    async fn put(&self, at: Position, object: &Bytes, room: Room) -> Result<(), Failure> {
        let name = self.core.place.name(at);
        let blobs = &self.core.place.stores.blobs;
        let created = match room {
            Room::Free => blobs.create(&name, object.clone()).await,
            Room::Reserve(purpose) => blobs.create_in_reserve(&name, object.clone(), purpose).await,
        };
        match created {
            Ok(Created::New) => Ok(()),
            Ok(Created::AlreadyExists) => match blobs.get(&name).await {
                // A store without the retrying wrapper does not tell our own earlier try from another's object.
                Ok(found) if found == *object => Ok(()),
                Ok(_) => Err(Failure::Fenced(at.epoch.get())),
                Err(e) => Err(Failure::Unknown(e.to_string())),
            },
            Err(BlobError::Full { .. }) => match blobs.get(&name).await {
                Err(BlobError::NotFound { .. }) => Err(Failure::Full),
                Ok(_) => Err(Failure::Unknown(
                    "the disk filled up while it was written".to_owned(),
                )),
                Err(e) => Err(Failure::Unknown(e.to_string())),
            },
            Err(e @ BlobError::Unavailable { .. }) => Err(Failure::Unavailable(e.to_string())),
            Err(e) => Err(Failure::Unknown(e.to_string())),
        }
    }

    /// Tries until the object is known to stand; refuses everything else meanwhile. The place cannot be given to
    /// another group: the lost one may still arrive.
    async fn settle(&mut self, at: Position, object: &Bytes, room: Room) -> Result<(), Failure> {
        loop {
            match self.put(at, object, room).await {
                Ok(()) => return Ok(()),
                Err(failure @ Failure::Fenced(_)) => return Err(failure),
                Err(failure) => tracing::warn!(?failure, "the outcome of a group is still not known"),
            }
            let pause = Instant::now() + RETRY_PAUSE;
            while let Ok(request) = tokio::time::timeout_at(pause, self.requests.recv()).await {
                let Some(request) = request else {
                    return Err(Failure::Unavailable("the shard was dropped".to_owned()));
                };
                refuse(request, || ShardError::Unavailable {
                    reason: "the outcome of an earlier write is not known yet".to_owned(),
                });
            }
        }
    }

    async fn step_down(mut self, failure: &Failure) {
        tracing::warn!(?failure, collection = %self.core.place.collection, shard = %self.core.place.shard, "the writer steps down");
        self.core.fence();
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            refuse(request, || failure.error());
        }
    }
}

fn refuse(request: Request, error: impl Fn() -> ShardError) {
    match request {
        Request::Append(_, reply) => drop(reply.send(Err(error()))),
        Request::Delete(_, reply) => drop(reply.send(Err(error()))),
        Request::Judge(_, reply) | Request::Close(reply) => drop(reply.send(Err(error()))),
        Request::Rotate(reply) => drop(reply.send(Err(error()))),
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Append(..) => "Append",
            Self::Delete(..) => "Delete",
            Self::Judge(..) => "Judge",
            Self::Rotate(_) => "Rotate",
            Self::Close(_) => "Close",
        })
    }
}

/// The record as it is kept: what every store gives back.
pub(crate) fn checked(record: ImageRecord, dim: usize) -> Result<ImageRecord, ShardError> {
    const LONGEST_TEXT: usize = 64 << 10;
    let invalid = |reason: String| Err(ShardError::Invalid { reason });
    let print = &record.fingerprint;
    if record.id != ImageId::from(print.content_hash) {
        return invalid("its id is not that of its content".to_owned());
    }
    if print.embedding.dim() != dim {
        return invalid(format!(
            "its embedding has {} components, not {dim}",
            print.embedding.dim()
        ));
    }
    if record.created.timestamp_nanos_opt().is_none() {
        return invalid("its creation time is out of range".to_owned());
    }
    let camera = print.exif.camera.as_ref().map_or(0, String::len);
    let tags: usize = record.tags.iter().map(String::len).sum();
    if record.name.len().max(camera).max(tags).max(record.tags.len()) > LONGEST_TEXT {
        return invalid("its name, camera or tags are longer than 64 KiB".to_owned());
    }
    let mut record = record;
    // EXIF has seconds; the columns hold microseconds.
    record.fingerprint.exif.taken = record.fingerprint.exif.taken.and_then(|taken| {
        chrono::DateTime::from_timestamp_micros(taken.and_utc().timestamp_micros()).map(|t| t.naive_utc())
    });
    Ok(record)
}
