//! A collection that cannot be opened is told so; the others are served.

use super::*;
use crate::cluster::catalogue::{Catalogue, CollectionSpec};
use crate::engine::{EngineError, network};
use crate::segment::fixtures;
use crate::shard::{Shard, ShardOptions, StoreLocation, Stores};
use crate::types::{CollectionName, ModelHash, ShardId};
use crate::vision::Embedder as _;

/// A folder of a service that does not run yet, its settings, and what it will find there.
async fn stores_without_engine() -> (tempfile::TempDir, Config, Stores) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        data_dir: folder.path().join("data"),
        ..Config::default()
    };
    let location = StoreLocation {
        data_dir: config.data_dir.clone(),
        ..StoreLocation::default()
    };
    let stores = location.open().await.expect("opened");
    (folder, config, stores)
}

/// A service on a folder where `name` was made with other weights.
async fn with_another_models(name: &str) -> Service {
    let (folder, config, stores) = stores_without_engine().await;
    let spec = CollectionSpec {
        name: name.parse().expect("a name"),
        dim: 64,
        shards: 1,
        model_hash: ModelHash::from_bytes([9; 32]),
        keep_originals: false,
    };
    let catalogue = Catalogue::new(stores.metadata.clone(), &config.cluster);
    catalogue.create(spec).await.expect("made");
    drop((catalogue, stores));
    Service::over(Engine::open(config).await.expect("it opens all the same"), folder).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_models_collection_is_closed_and_the_others_are_served() {
    let service = with_another_models("old").await;
    service.created("a.jpg", picture(1, 80, 80)).await;
    let listed = service.read("/v1/collections").await;
    let names: Vec<_> = listed["collections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["name"].as_str().expect("a name"),
                one["closed"].as_str().is_some(),
            )
        })
        .collect();
    assert_eq!(names, [("default", false), ("old", true)]);
    for path in ["/v1/collections/old/images", "/v1/collections/old/groups"] {
        let refused = service.get(path).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let text = refused.text().await.expect("text");
        assert!(
            text.contains("collection old is closed") && text.contains("090909"),
            "{text}"
        );
    }
    let url = format!("{}/v1/collections/old", service.base);
    assert_eq!(
        service.http.put(&url).send().await.expect("an answer").status(),
        StatusCode::CONFLICT
    );
    assert_eq!(
        service
            .http
            .delete(&url)
            .send()
            .await
            .expect("an answer")
            .status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        service.http.put(&url).send().await.expect("an answer").status(),
        StatusCode::CREATED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn even_the_default_collection_may_be_closed() {
    let service = with_another_models("default").await;
    assert_eq!(service.get("/readyz").await.status(), StatusCode::OK);
    let closed = service.read("/v1/collections/default").await;
    assert!(
        closed["closed"].as_str().expect("a reason").contains("model"),
        "{closed}"
    );
    let refused = service.get("/v1/collections/default/images").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
}

/// Segments of other weights under the name of a collection that is listed with ours: closed. Where nothing lists them the
/// metadata is lost, and the doors stay shut.
#[tokio::test(flavor = "multi_thread")]
async fn segments_of_another_model_close_their_collection_and_no_other() {
    let (folder, config, stores) = stores_without_engine().await;
    let options = ShardOptions::new(fixtures::DIM, ModelHash::from_bytes([9; 32]));
    let collection = CollectionName::default_collection();
    let (number, owner) = (ShardId::new(0), config.node.parse().expect("a name"));
    let shard = Shard::open(
        stores.clone(),
        &config.cluster,
        &collection,
        number,
        &owner,
        options,
    );
    let shard = shard.await.expect("opened");
    shard.append(fixtures::record(1)).await.expect("stored");
    shard.seal().await.expect("sealed");
    shard.close().await;
    drop((shard, stores));

    let refused = Engine::open(config.clone()).await.err().expect("refused");
    assert!(matches!(refused, EngineError::MetadataLost), "{refused}");
    let network = network(&config).expect("the shipped network");
    let location = StoreLocation {
        data_dir: config.data_dir.clone(),
        ..StoreLocation::default()
    };
    let stores = location.open().await.expect("opened");
    let listed = CollectionSpec {
        name: collection,
        dim: network.dim(),
        shards: 1,
        model_hash: network.model_hash(),
        keep_originals: false,
    };
    let catalogue = Catalogue::new(stores.metadata.clone(), &config.cluster);
    catalogue.create(listed).await.expect("listed");
    drop((catalogue, stores));
    let engine = Engine::open(config).await.expect("it opens all the same");
    let service = Service::over(engine, folder).await;
    let closed = service.read("/v1/collections/default").await;
    let reason = closed["closed"].as_str().expect("a reason");
    assert!(reason.contains("another model"), "{reason}");
    let refused = service.get("/v1/collections/default/images").await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let other = format!("{}/v1/collections/other", service.base);
    let made = service.http.put(&other).send().await.expect("an answer");
    assert_eq!(made.status(), StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_and_the_rest_is_served() {
    let service = Service::start().await;
    assert_eq!(service.read("/v1/collections/default").await.get("damaged"), None);
    let lost = service.created("lost.jpg", picture(1, 80, 80)).await;
    let log = || {
        let files = walkdir::WalkDir::new(service.folder.path().join("data/objects/wal"));
        let files = files
            .into_iter()
            .map(|entry| entry.expect("readable").into_path());
        files.filter(|path| path.is_file()).max().expect("a log object")
    };
    let object = log();
    let kept = service.created("kept.jpg", picture(2, 80, 80)).await;
    let mut bytes = std::fs::read(&object).expect("readable");
    bytes[99] ^= 1;
    std::fs::write(&object, bytes).expect("writable");

    let service = service.restart().await;
    let collection = service.read("/v1/collections/default").await;
    assert_eq!(collection["images"], 1, "{collection}");
    let damaged = collection["damaged"].as_array().expect("a list");
    let name = damaged[0]["object"].as_str().expect("a name");
    assert!(damaged.len() == 1 && object.ends_with(name), "{collection}");
    assert!(
        damaged[0]["what"]
            .as_str()
            .expect("a reason")
            .contains("checksum"),
        "{collection}"
    );
    let found = service
        .post_form(
            "/v1/collections/default/search",
            form(&[("q.jpg", picture(2, 80, 80))]),
        )
        .await;
    let found: Value = found.json().await.expect("JSON");
    assert_eq!(
        (&found["matches"][0]["id"], &found["partial"]),
        (&Value::from(kept), &true.into())
    );
    let gone = service
        .get(&format!("/v1/collections/default/images/{lost}"))
        .await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    // It can be stored again.
    assert_eq!(service.created("lost.jpg", picture(1, 80, 80)).await, lost);
}
