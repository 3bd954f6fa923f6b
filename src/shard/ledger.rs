//! A shard's commits to the metadata store: every one compares the assignment and the head, so that a former owner
//! commits nothing.

use std::time::Duration;

use super::state::{Assignment, Head, from_json, to_json};
use super::{ShardError, Stores};
use crate::store::metadata::keys::Keys;
use crate::store::metadata::{Compare, KeyValue, MetadataError, Op, TxnOutcome};
use crate::types::{CollectionName, Epoch, NodeId, ShardId};

/// Pause between tries of a commit whose outcome is not known yet.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Tries of a claim against others' claims.
const CLAIM_TRIES: usize = 16;

/// The owner's view of `assign` and `head`.
pub(crate) struct Ledger {
    stores: Stores,
    assign_key: String,
    head_key: String,
    assignment: Assignment,
    assign_revision: i64,
    head: Head,
    head_revision: i64,
}

fn at_revision(key: &str, revision: i64) -> Compare {
    Compare::ModRevision {
        key: key.to_owned(),
        revision,
    }
}

impl Ledger {
    /// Takes the shard over: one transaction that makes `owner` its owner and opens the next epoch.
    pub(crate) async fn claim(
        stores: &Stores,
        keys: &Keys,
        collection: &CollectionName,
        shard: ShardId,
        owner: &NodeId,
    ) -> Result<Self, ShardError> {
        let assign_key = keys.assignment(collection, shard);
        let head_key = keys.head(collection, shard);
        for _ in 0..CLAIM_TRIES {
            let assign_entry = stores.metadata.get(&assign_key).await?;
            let head_entry = stores.metadata.get(&head_key).await?;
            let former: Option<Assignment> = assign_entry.as_ref().map(from_json).transpose()?;
            if former.is_some() && head_entry.is_none() {
                // Both are put together. With a new head the log would count as sealed, and be removed.
                return Err(ShardError::Corrupt {
                    name: head_key,
                    what: "the key is missing".to_owned(),
                });
            }
            let mut head: Head = head_entry
                .as_ref()
                .map(from_json)
                .transpose()?
                .unwrap_or_else(Head::new);
            let known = former.as_ref().map_or(0, |a| a.epoch);
            let last = head
                .epochs
                .last()
                .map_or(0, |e| e.id)
                .max(head.floor_epoch)
                .max(known);
            let epoch = Epoch::new(last).next();
            let replicas = former.map(|a| a.replicas).unwrap_or_default();
            let assignment = Assignment::claim(owner.to_string(), epoch, replicas);
            head.epochs.push(super::state::EpochState {
                id: epoch.get(),
                end: None,
            });
            if head.generation == 0 {
                head.floor_epoch = epoch.get();
            }
            head.advance();
            let compares = vec![
                Compare::unchanged(&assign_key, assign_entry.as_ref()),
                Compare::unchanged(&head_key, head_entry.as_ref()),
            ];
            let ops = vec![
                Op::put(&assign_key, to_json(&assignment)),
                Op::put(&head_key, to_json(&head)),
            ];
            let revision = match stores.metadata.txn(compares, ops).await {
                Ok(TxnOutcome::Committed { revision }) => revision,
                // A claim that stands although its answer was lost is an epoch that nobody wrote in: the next
                // claim fences it like any other.
                Ok(TxnOutcome::Refused) | Err(MetadataError::OutcomeUnknown { .. }) => continue,
                Err(e) => return Err(e.into()),
            };
            return Ok(Self {
                stores: stores.clone(),
                assign_key,
                head_key,
                assignment,
                assign_revision: revision,
                head,
                head_revision: revision,
            });
        }
        Err(ShardError::Unavailable {
            reason: "other nodes claim the shard at the same time".to_owned(),
        })
    }

    /// The fencing number of this owner.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch::new(self.assignment.epoch)
    }

    /// The head as last committed.
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Commits `head` together with `ops` if `compares` hold and the shard is still ours. Returns the revision, or
    /// `None` when one of `compares` does not hold.
    ///
    /// A lost answer is cleared up here, however long it takes: the outcome is always known on return.
    pub(crate) async fn commit(
        &mut self,
        mut head: Head,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> Result<Option<i64>, ShardError> {
        head.advance();
        loop {
            match self.try_commit(&head, &compares, &ops).await {
                Ok(TxnOutcome::Committed { revision }) => {
                    self.head = head;
                    self.head_revision = revision;
                    return Ok(Some(revision));
                }
                Ok(TxnOutcome::Refused) => {
                    let known = self.assign_revision;
                    let entry = self.check_ownership().await?;
                    if entry.mod_revision == self.head_revision {
                        if self.assign_revision == known {
                            return Ok(None);
                        }
                        continue;
                    }
                    let stored: Head = from_json(&entry)?;
                    if stored.commit == head.commit {
                        self.head = stored;
                        self.head_revision = entry.mod_revision;
                        return Ok(Some(entry.mod_revision));
                    }
                    return Err(self.fenced());
                }
                Err(MetadataError::OutcomeUnknown { reason }) => {
                    tracing::warn!(reason, "a metadata commit got no answer, finding out");
                    if let Some(revision) = self.settle(&head).await? {
                        return Ok(Some(revision));
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    async fn try_commit(
        &self,
        head: &Head,
        compares: &[Compare],
        ops: &[Op],
    ) -> Result<TxnOutcome, MetadataError> {
        let mut all = vec![
            at_revision(&self.assign_key, self.assign_revision),
            at_revision(&self.head_key, self.head_revision),
        ];
        all.extend_from_slice(compares);
        let mut effects = vec![Op::put(&self.head_key, to_json(head))];
        effects.extend_from_slice(ops);
        self.stores.metadata.txn(all, effects).await
    }

    /// Finds out whether `head` stands. If it does not, writes the old head again: after that the lost transaction,
    /// which compares the old revision, can no longer commit.
    async fn settle(&mut self, head: &Head) -> Result<Option<i64>, ShardError> {
        loop {
            tokio::time::sleep(RETRY_PAUSE).await;
            let entry = match self.check_ownership().await {
                Ok(entry) => entry,
                Err(e @ ShardError::Fenced { .. }) => return Err(e),
                Err(error) => {
                    tracing::warn!(%error, "the outcome of a metadata commit is still not known");
                    continue;
                }
            };
            let stored: Head = from_json(&entry)?;
            if stored.commit == head.commit {
                self.head = stored;
                self.head_revision = entry.mod_revision;
                return Ok(Some(entry.mod_revision));
            }
            if stored.commit != self.head.commit {
                return Err(self.fenced());
            }
            self.head_revision = entry.mod_revision;
            let barrier = self.head.clone();
            if let Ok(TxnOutcome::Committed { revision }) = self.try_commit(&barrier, &[], &[]).await {
                self.head_revision = revision;
                return Ok(None);
            }
        }
    }

    /// The head's entry, if the shard is still ours. Learns the assignment's revision, which changes with its replicas.
    async fn check_ownership(&mut self) -> Result<KeyValue, ShardError> {
        let entry = self.stores.metadata.get(&self.assign_key).await?;
        let stored: Option<Assignment> = entry.as_ref().map(from_json).transpose()?;
        match (entry, stored) {
            (Some(entry), Some(stored)) if stored.claim == self.assignment.claim => {
                self.assign_revision = entry.mod_revision;
                self.assignment = stored;
            }
            _ => return Err(self.fenced()),
        }
        self.stores
            .metadata
            .get(&self.head_key)
            .await?
            .ok_or_else(|| self.fenced())
    }

    pub(crate) fn fenced(&self) -> ShardError {
        ShardError::Fenced {
            epoch: self.assignment.epoch,
        }
    }
}
