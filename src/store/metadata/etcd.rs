//! The metadata store of a cluster: etcd. The only file that names `etcd_client`.
//!
//! What that crate leaves to its caller is done here: a watch is opened again where it broke, and starts over from a
//! listing when etcd has compacted the history in between; requests carry `require_leader`, so that a member cut off from
//! the others answers with an error instead of silence; connections are kept alive at 1 s while idle, so that a dead member
//! is noticed; a token that etcd no longer takes is replaced, on streams too, whose refusal comes as their first message;
//! every call has a deadline.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, ConnectOptions, Error as EtcdError, EventType, GetOptions,
    KeyValue as EtcdKeyValue, PutOptions, Txn, TxnOp, WatchOptions,
};
use tokio::sync::mpsc;

use super::{
    Compare, KeyValue, LeaseId, MetadataError, MetadataStore, Op, Snapshot, TxnOutcome, WatchEvent,
    WatchStream, check_txn,
};

/// Deadline of one call.
const DEADLINE: Duration = Duration::from_secs(5);
/// Tries of a call that changes nothing.
const READ_TRIES: usize = 4;
/// Pause between tries, and before a watch is opened again.
const PAUSE: Duration = Duration::from_millis(300);
/// Keep-alive pings of idle connections, and how long an answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Events that a watch may be ahead of its receiver.
const WATCH_BUFFER: usize = 256;
/// Keys of a range read at once; a page holds about 300 bytes each.
const PAGE: i64 = 4000;
/// Oldest release without the known lease and watch defects.
const SOUND_VERSION: (u32, u32, u32) = (3, 5, 13);

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdOptions {
    /// `http://host:port` of each member.
    pub endpoints: Vec<String>,
    /// Name and password, where etcd asks for them.
    pub user: Option<(String, String)>,
}

/// A [`MetadataStore`] in etcd.
#[derive(Clone)]
pub struct EtcdStore {
    client: Client,
}

impl EtcdStore {
    /// Connects, and waits until etcd answers.
    ///
    /// # Errors
    /// [`MetadataError::Invalid`] for endpoints that make no sense; [`MetadataError::Unavailable`] when none answers.
    pub async fn connect(options: &EtcdOptions) -> Result<Self, MetadataError> {
        if let Some(https) = options
            .endpoints
            .iter()
            .find(|endpoint| endpoint.starts_with("https:"))
        {
            return Err(MetadataError::Invalid {
                reason: format!("{https}: this build speaks to etcd over http only"),
            });
        }
        let mut connect = ConnectOptions::new()
            .with_require_leader(true)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_connect_timeout(Duration::from_secs(2))
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        let connecting = Client::connect(&options.endpoints, Some(connect));
        let client = within_deadline(connecting).await.map_err(|e| match e {
            Failure::Etcd(EtcdError::InvalidArgs(reason)) => MetadataError::Invalid { reason },
            Failure::Etcd(EtcdError::InvalidUri(e)) => MetadataError::Invalid {
                reason: e.to_string(),
            },
            e => e.unavailable(),
        })?;
        let store = Self { client };
        store.warn_of_old_version().await?;
        Ok(store)
    }

    async fn warn_of_old_version(&self) -> Result<(), MetadataError> {
        let status = self
            .read(|mut client| async move { client.status().await })
            .await?;
        let mut parts = status.version().split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        let version = (next(), next(), next());
        if version < SOUND_VERSION {
            tracing::warn!(
                version = status.version(),
                "this etcd has known defects in leases and watches: 3.5.13 or newer is advised"
            );
        }
        Ok(())
    }

    /// Runs a call that changes nothing, again if need be.
    async fn read<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, MetadataError>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        let mut tries = 0;
        loop {
            match self.call(&call).await {
                Ok(value) => return Ok(value),
                Err(failure) => {
                    tries += 1;
                    if tries >= READ_TRIES {
                        return Err(failure.unavailable());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Runs a call within the deadline; once more with a fresh token where etcd refused the one it had.
    async fn call<T, F>(&self, call: impl Fn(Client) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        match within_deadline(call(self.client.clone())).await {
            Err(failure) if failure.is_token_refused() => {
                self.log_in_again().await?;
                within_deadline(call(self.client.clone())).await
            }
            outcome => outcome,
        }
    }

    async fn log_in_again(&self) -> Result<(), Failure> {
        within_deadline(self.client.refresh_token()).await
    }
}

#[cfg(test)]
impl EtcdStore {
    /// Asks everybody for a password from now on: root's is `secret`.
    pub(crate) async fn protect_for_test(&self) {
        let mut client = self.client.clone();
        client.role_add("root").await.expect("added");
        client.user_add("root", "secret", None).await.expect("added");
        client.user_grant_role("root", "root").await.expect("granted");
        client.auth_enable().await.expect("enabled");
    }

    /// Changes the users, which makes every token that was given before too old.
    pub(crate) async fn change_users_for_test(&self, name: &str) {
        let mut client = self.client.clone();
        client.user_add(name, "x", None).await.expect("added");
    }

    /// Forgets the history before a revision.
    pub(crate) async fn compact_for_test(&self, revision: i64) {
        self.client
            .clone()
            .compact(revision, None)
            .await
            .expect("compacted");
    }
}

/// Why a call failed.
enum Failure {
    Etcd(EtcdError),
    Deadline,
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Self::Etcd(e) => e.to_string(),
            Self::Deadline => format!("no answer within {} s", DEADLINE.as_secs()),
        }
    }

    fn unavailable(self) -> MetadataError {
        MetadataError::Unavailable { reason: self.text() }
    }

    /// What etcd itself said, if the answer came from it.
    fn said(&self) -> &str {
        match self {
            Self::Etcd(EtcdError::GRpcStatus(status)) => status.message(),
            _ => "",
        }
    }

    /// Whether etcd did nothing because of the token: it has run out, its member was restarted, or users were changed.
    fn is_token_refused(&self) -> bool {
        is_token_refused(&self.text())
    }

    fn is_lease_lost(&self) -> bool {
        self.said().contains("requested lease not found")
            || matches!(self, Self::Etcd(EtcdError::LeaseKeepAliveError(e)) if e.contains("lease not found"))
    }

    /// The error of a transaction. What etcd refused before proposing it did not happen; anything else may have.
    fn of_txn(self, lease: Option<LeaseId>) -> MetadataError {
        let said = self.said();
        let refused = |part: &str| said.contains(part);
        if self.is_lease_lost() {
            MetadataError::LeaseLost {
                lease: lease.map_or(0, |lease| lease.0),
            }
        } else if refused("database space exceeded") {
            MetadataError::Full
        } else if refused("duplicate key")
            || refused("too many operations")
            || refused("request is too large")
        {
            MetadataError::Invalid { reason: self.text() }
        } else if refused("no leader")
            || refused("permission denied")
            || refused("authentication failed")
            || refused("too many requests")
        {
            self.unavailable()
        } else {
            MetadataError::OutcomeUnknown { reason: self.text() }
        }
    }
}

fn is_token_refused(said: &str) -> bool {
    ["invalid auth token", "revision of auth store is old"]
        .iter()
        .any(|refusal| said.contains(refusal))
}

async fn within_deadline<T>(call: impl Future<Output = Result<T, EtcdError>>) -> Result<T, Failure> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(Failure::Etcd(e)),
        Err(_) => Err(Failure::Deadline),
    }
}

fn entry(kv: &EtcdKeyValue) -> KeyValue {
    KeyValue {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: Bytes::copy_from_slice(kv.value()),
        create_revision: kv.create_revision(),
        mod_revision: kv.mod_revision(),
        lease: (kv.lease() != 0).then_some(LeaseId(kv.lease())),
    }
}

fn compare(condition: &Compare) -> EtcdCompare {
    match condition {
        Compare::Absent { key } => EtcdCompare::create_revision(key.as_str(), CompareOp::Equal, 0),
        Compare::ModRevision { key, revision } => {
            EtcdCompare::mod_revision(key.as_str(), CompareOp::Equal, *revision)
        }
        Compare::CreateRevision { key, revision } => {
            EtcdCompare::create_revision(key.as_str(), CompareOp::Equal, *revision)
        }
    }
}

fn effect(op: &Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key.as_str(), value.as_ref(), options)
        }
        Op::Delete { key } => TxnOp::delete(key.as_str(), None),
    }
}

#[async_trait]
impl MetadataStore for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<KeyValue>, MetadataError> {
        let found = self
            .read(|mut client| async move { client.get(key, None).await })
            .await?;
        Ok(found.kvs().first().map(entry))
    }

    async fn range(&self, prefix: &str) -> Result<Snapshot, MetadataError> {
        let mut snapshot = Snapshot {
            revision: 0,
            entries: Vec::new(),
        };
        // Pages at the revision of the first one: the whole is of one moment.
        loop {
            let last = snapshot.entries.last().map(|entry| format!("{}\0", entry.key));
            let revision = snapshot.revision;
            let page = self
                .read(|mut client| {
                    let last = last.clone();
                    async move {
                        let options = GetOptions::new().with_limit(PAGE).with_revision(revision);
                        match last {
                            None => client.get(prefix, Some(options.with_prefix())).await,
                            Some(from) => client.get(from, Some(options.with_range(end_of(prefix)))).await,
                        }
                    }
                })
                .await?;
            if snapshot.revision == 0 {
                snapshot.revision = page.header().map_or(0, |header| header.revision());
            }
            snapshot.entries.extend(page.kvs().iter().map(entry));
            if !page.more() {
                return Ok(snapshot);
            }
        }
    }

    async fn txn(&self, compares: Vec<Compare>, ops: Vec<Op>) -> Result<TxnOutcome, MetadataError> {
        check_txn(&compares, &ops)?;
        let lease = ops.iter().find_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete { .. } => None,
        });
        let txn = Txn::new()
            .when(compares.iter().map(compare).collect::<Vec<_>>())
            .and_then(ops.iter().map(effect).collect::<Vec<_>>());
        let answer = self
            .call(|mut client| {
                let txn = txn.clone();
                async move { client.txn(txn).await }
            })
            .await
            .map_err(|e| e.of_txn(lease))?;
        if !answer.succeeded() {
            return Ok(TxnOutcome::Refused);
        }
        let revision = answer.header().map(|header| header.revision());
        revision
            .map(|revision| TxnOutcome::Committed { revision })
            .ok_or_else(|| MetadataError::OutcomeUnknown {
                reason: "an answer without a header".to_owned(),
            })
    }

    async fn watch(&self, prefix: &str, revision: i64) -> Result<WatchStream, MetadataError> {
        let (events, stream) = mpsc::channel(WATCH_BUFFER);
        let watcher = Watcher {
            store: self.clone(),
            prefix: prefix.to_owned(),
            seen: revision,
            events,
        };
        tokio::spawn(watcher.run());
        Ok(stream)
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, MetadataError> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        // A grant whose answer is lost runs out by itself.
        let granted = self
            .call(|mut client| async move { client.lease_grant(seconds, None).await })
            .await
            .map_err(Failure::unavailable)?;
        Ok(LeaseId(granted.id()))
    }

    async fn renew_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        let renewed = self.call(|mut client| async move { client.lease_keep_alive(lease.0).await });
        match renewed.await {
            Ok(_) => Ok(()),
            Err(e) if e.is_lease_lost() => Err(MetadataError::LeaseLost { lease: lease.0 }),
            Err(e) => Err(e.unavailable()),
        }
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), MetadataError> {
        let revoked = self.call(|mut client| async move { client.lease_revoke(lease.0).await });
        match revoked.await {
            Ok(_) => Ok(()),
            Err(e) if e.is_lease_lost() => Ok(()),
            Err(e) => Err(e.unavailable()),
        }
    }
}

/// First key after all that start with `prefix`.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// One watch, opened as often as it takes.
struct Watcher {
    store: EtcdStore,
    prefix: String,
    /// Last revision handed on.
    seen: i64,
    events: mpsc::Sender<WatchEvent>,
}

/// Why a stream of events ended.
enum Ended {
    /// The receiver is gone.
    Unwanted,
    /// The connection or the member is gone: open another.
    Broken(String),
    /// The history does not reach back to what was seen.
    Compacted,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            match self.follow().await {
                Ended::Unwanted => return,
                Ended::Broken(reason) => {
                    tracing::debug!(prefix = self.prefix, reason, "a watch broke, opening it again");
                    if is_token_refused(&reason)
                        && let Err(failure) = self.store.log_in_again().await
                    {
                        tracing::warn!(reason = failure.text(), "logging in to etcd again failed");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = self.events.closed() => return,
                    }
                }
                Ended::Compacted => match self.store.range(&self.prefix).await {
                    Ok(snapshot) => {
                        self.seen = snapshot.revision;
                        if self.events.send(WatchEvent::Reset(snapshot)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(%error, "listing after a compaction failed, will try again"),
                },
            }
        }
    }

    async fn follow(&mut self) -> Ended {
        let mut client = self.store.client.clone();
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(self.seen + 1);
        let mut stream = match within_deadline(client.watch(self.prefix.as_str(), Some(options))).await {
            Ok(stream) => stream,
            Err(failure) => return Ended::Broken(failure.text()),
        };
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.events.closed() => return Ended::Unwanted,
            };
            let response = match message {
                Ok(Some(response)) => response,
                Ok(None) => return Ended::Broken("the stream ended".to_owned()),
                Err(e) => return Ended::Broken(e.to_string()),
            };
            if response.compact_revision() > 0 {
                return Ended::Compacted;
            }
            if response.canceled() {
                return Ended::Broken(response.cancel_reason().to_owned());
            }
            for event in response.events() {
                let Some(kv) = event.kv() else { continue };
                let event = match event.event_type() {
                    EventType::Put => WatchEvent::Put(entry(kv)),
                    EventType::Delete => WatchEvent::Delete {
                        key: String::from_utf8_lossy(kv.key()).into_owned(),
                        revision: kv.mod_revision(),
                    },
                };
                if self.events.send(event).await.is_err() {
                    return Ended::Unwanted;
                }
            }
            // A response holds whole revisions: only now is the last of them seen.
            let last = response
                .events()
                .iter()
                .filter_map(|event| event.kv())
                .map(EtcdKeyValue::mod_revision)
                .max();
            self.seen = self.seen.max(last.unwrap_or(0));
        }
    }
}
