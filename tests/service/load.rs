//! Many calls at once: equal bytes, and more than fits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::server::{Server, client, doppel, ids, picture};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_uploads_of_the_same_bytes_make_one_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(folder.path());
    let http = client();
    let url = format!("{}/v1/collections/default/images", server.base);
    let file = picture(1);
    // A hundred requests of ten files each: a thousand connections are more than many systems allow.
    let uploads: Vec<_> = (0..100)
        .map(|n| {
            let form = (0..10).fold(Form::new(), |form, part| {
                let name = format!("{n}-{part}.jpg");
                form.part("file", Part::bytes(file.clone()).file_name(name))
            });
            let request = http.post(&url).multipart(form);
            tokio::spawn(async move {
                let answer = request.send().await.expect("an answer");
                let body: Value = answer.json().await.expect("JSON");
                let files = body["images"].as_array().expect("one answer a file").clone();
                files
                    .into_iter()
                    .map(|file| file["status"].as_str().unwrap_or_default().to_owned())
            })
        })
        .collect();
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for upload in uploads {
        for status in upload.await.expect("no panic") {
            *counted.entry(status).or_default() += 1;
        }
    }
    let expected = BTreeMap::from([("duplicate".to_owned(), 999), ("created".to_owned(), 1)]);
    assert_eq!(counted, expected);
    assert_eq!(ids(&http, &server.base).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_fits_is_told_to_come_back_and_what_was_taken_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = doppel();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        // One small group of log, and a queue that is full at once.
        .env("DOPPEL_LIMITS__MAX_UNSEALED_BYTES", "4000")
        .env("DOPPEL_INGEST__QUEUE_IMAGES", "8")
        .env("DOPPEL_INGEST__QUEUE_TIMEOUT", "50ms");
    let server = Server::run(&mut command).serving(Duration::from_secs(60));
    let http = client();
    let url = format!("{}/v1/collections/default/images", server.base);
    let mut taken = BTreeSet::new();
    let mut refused = 0;
    for wave in 0..2_u32 {
        let uploads: Vec<_> = (0..60)
            .map(|n| {
                let part = Part::bytes(picture(wave * 100 + n)).file_name("picture.jpg");
                let request = http.post(&url).multipart(Form::new().part("file", part));
                tokio::spawn(async move {
                    let answer = request.send().await.expect("an answer");
                    let head = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
                    let body: Value = answer.json().await.expect("JSON");
                    (head, body)
                })
            })
            .collect();
        for upload in uploads {
            match upload.await.expect("no panic") {
                ((StatusCode::CREATED, _), body) => {
                    let id = body["images"][0]["id"].as_str().expect("an id");
                    taken.insert(id.to_owned());
                }
                ((StatusCode::TOO_MANY_REQUESTS, retry), _) => {
                    assert_eq!(retry.expect("Retry-After"), "1");
                    refused += 1;
                }
                (other, body) => panic!("{other:?}: {body}"),
            }
        }
    }
    assert!(refused > 0, "the load was too small to prove anything");
    assert!(!taken.is_empty(), "nothing was taken");
    assert_eq!(ids(&http, &server.base).await, taken);
    // Whoever comes back is served in the end.
    let mut patience = 200;
    loop {
        let part = Part::bytes(picture(1000)).file_name("late.jpg");
        let answer = http
            .post(&url)
            .multipart(Form::new().part("file", part))
            .send()
            .await
            .expect("an answer");
        if answer.status() == StatusCode::CREATED {
            break;
        }
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        patience -= 1;
        assert!(patience > 0, "refused for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
