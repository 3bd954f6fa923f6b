//! Start-up check that a store keeps the promise on which fencing rests.

use bytes::Bytes;
use futures::future::join_all;

use super::{BlobError, BlobStore, Created};

/// Racing writers of one name.
const RACERS: usize = 8;

/// Checks that create-if-absent has one winner and never overwrites. Leaves nothing behind.
///
/// # Errors
/// [`BlobError::NotConditional`] with what was seen; else as the store fails.
pub async fn probe(store: &dyn BlobStore) -> Result<(), BlobError> {
    let name = format!("probe/{}", uuid::Uuid::new_v4());
    let outcome = race(store, &name).await;
    store.delete(&name).await?;
    outcome
}

async fn race(store: &dyn BlobStore, name: &str) -> Result<(), BlobError> {
    let broken = |evidence: String| Err(BlobError::NotConditional { evidence });
    let bodies: Vec<Bytes> = (0..RACERS).map(|i| Bytes::from(format!("writer {i}"))).collect();
    let outcomes = join_all(bodies.iter().map(|body| store.create(name, body.clone()))).await;
    let mut winners = Vec::new();
    for (writer, outcome) in outcomes.into_iter().enumerate() {
        if outcome? == Created::New {
            winners.push(writer);
        }
    }
    let [winner] = winners[..] else {
        return broken(format!("{} of {RACERS} racing writers won", winners.len()));
    };
    if store.create(name, Bytes::from_static(b"late")).await? != Created::AlreadyExists {
        return broken("a later writer won".to_owned());
    }
    if store.get(name).await? != bodies[winner] {
        return broken("the winner's object was overwritten".to_owned());
    }
    if !store.list("probe").await?.iter().any(|meta| meta.name == name) {
        return broken("a listing does not show an object just written".to_owned());
    }
    Ok(())
}
