//! Upload, list, read, search, delete.

use std::collections::BTreeSet;

use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_in_is_found_and_goes_out() {
    let service = Service::start().await;
    let file = picture(1, 500, 380);
    let id = service.created("holiday.jpg", file.clone()).await;
    assert_eq!(id, blake3::hash(&file).to_hex()[..32]);

    let image = service
        .read(&format!("/v1/collections/default/images/{id}"))
        .await;
    assert_eq!(
        (&image["name"], &image["width"], &image["height"]),
        (&json!("holiday.jpg"), &json!(500), &json!(380))
    );
    assert_eq!(
        (&image["size"], &image["format"]),
        (&json!(file.len()), &json!("jpeg"))
    );
    assert_eq!(image["blake3"], blake3::hash(&file).to_hex().as_str());
    assert_eq!(
        (&image["collection"], &image["exif"]),
        (&json!("default"), &Value::Null)
    );
    let distinctiveness = image["distinctiveness"].as_f64().expect("the network has a bank");
    assert!((0.0..=1.0).contains(&distinctiveness), "{distinctiveness}");

    let thumbnail = service
        .get(&format!("/v1/collections/default/images/{id}/thumbnail"))
        .await;
    assert_eq!(thumbnail.headers()[CONTENT_TYPE], "image/jpeg");
    assert!(thumbnail.headers().contains_key(CACHE_CONTROL));
    let tag = thumbnail.headers()[ETAG].clone();
    assert_eq!(&thumbnail.bytes().await.expect("bytes")[..3], b"\xff\xd8\xff");
    let path = format!("/v1/collections/default/images/{id}/thumbnail");
    let again = service
        .request(Method::GET, &path)
        .header(IF_NONE_MATCH, tag)
        .send()
        .await
        .expect("an answer");
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);

    let again = service.upload("", &[("other name.jpg", file.clone())]).await;
    assert_eq!(
        (again.0, &again.1[0]["status"], &again.1[0]["id"]),
        (StatusCode::OK, &json!("duplicate"), &json!(id))
    );
    assert_eq!(again.1[0]["matches"][0]["class"], "identical");

    let found = service
        .post_form("/v1/collections/default/search", form(&[("q.jpg", file)]))
        .await;
    let found: Value = found.json().await.expect("JSON");
    assert_eq!(
        (&found["matches"][0]["id"], &found["matches"][0]["class"]),
        (&json!(id), &json!("identical"))
    );
    assert_eq!(
        (&found["matches"][0]["stage"], &found["partial"]),
        (&json!("bytes"), &json!(false))
    );
    assert_eq!(
        found["matches"][0]["image"]["distinctiveness"],
        image["distinctiveness"]
    );

    let path = format!("/v1/collections/default/images/{id}");
    assert_eq!(service.delete(&path).await.status(), StatusCode::NO_CONTENT);
    problem(service.delete(&path).await, StatusCode::NOT_FOUND, "not_found").await;
    problem(service.get(&path).await, StatusCode::NOT_FOUND, "not_found").await;
    problem(
        service.get(&format!("{path}/thumbnail")).await,
        StatusCode::NOT_FOUND,
        "not_found",
    )
    .await;
    assert_eq!(
        service.read("/v1/collections/default/images").await,
        json!({"images": [], "next": null})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resized_copy_is_recognised_and_treated_as_asked() {
    let service = Service::start().await;
    let original = service.created("original.jpg", picture(2, 640, 480)).await;
    let other = service.created("other.jpg", picture(3, 640, 480)).await;

    let copy = || picture(2, 400, 300);
    let (status, rejected) = service
        .upload("?on_duplicate=reject", &[("copy.jpg", copy())])
        .await;
    assert_eq!(
        (status, &rejected[0]["status"], &rejected[0]["id"]),
        (StatusCode::OK, &json!("rejected"), &Value::Null)
    );
    let (status, linked) = service
        .upload("?on_duplicate=link", &[("copy.jpg", copy())])
        .await;
    assert_eq!(
        (status, &linked[0]["status"], &linked[0]["id"]),
        (StatusCode::OK, &json!("linked"), &json!(original))
    );
    let (status, stored) = service.upload("", &[("copy.jpg", copy())]).await;
    assert_eq!(
        (status, &stored[0]["status"]),
        (StatusCode::CREATED, &json!("created"))
    );
    for answer in [&rejected[0], &linked[0], &stored[0]] {
        let best = &answer["matches"][0];
        assert_eq!(
            (&best["id"], &best["class"], &best["stage"]),
            (&json!(original), &json!("near_identical"), &json!("verification"))
        );
        assert_eq!(best["image"]["name"], "original.jpg");
        assert!(
            answer["matches"]
                .as_array()
                .expect("a list")
                .iter()
                .all(|m| m["id"] != json!(other)),
            "{answer}"
        );
    }
    let copy_id = stored[0]["id"].as_str().expect("an id");
    let matches = service
        .read(&format!("/v1/collections/default/images/{copy_id}/matches"))
        .await;
    let ids: Vec<_> = matches["matches"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    assert_eq!(ids, [json!(original)], "itself is not its match");
    let by_id = service
        .post(
            "/v1/collections/default/search?level=edited&k=1",
            &json!({"id": copy_id}),
        )
        .await;
    assert_eq!(
        by_id.json::<Value>().await.expect("JSON")["matches"][0]["id"],
        original
    );
    let compared = service
        .post(
            "/v1/collections/default/compare",
            &json!({"a": original, "b": copy_id}),
        )
        .await;
    let compared: Value = compared.json().await.expect("JSON");
    assert_eq!(compared["match"]["class"], "near_identical");
    let scale = compared["match"]["transform"]["scale"].as_f64().expect("a scale");
    assert!((scale - 0.625).abs() < 0.01, "{compared}");
    let files = form(&[("a.jpg", picture(2, 640, 480)), ("b.jpg", picture(3, 640, 480))]);
    let compared: Value = service
        .post_form("/v1/collections/default/compare", files)
        .await
        .json()
        .await
        .expect("JSON");
    assert!(
        compared["match"].is_null() || compared["match"]["class"] == "similar",
        "{compared}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_request_see_each_other_and_bad_ones_fail_alone() {
    let service = Service::start().await;
    let files = [
        ("a.jpg", picture(4, 500, 400)),
        ("text.jpg", Bytes::from_static(b"this is no picture")),
        ("empty.jpg", Bytes::new()),
        ("copy.jpg", picture(4, 300, 240)),
        ("cut.jpg", picture(5, 500, 400).slice(..2000)),
        ("a again.jpg", picture(4, 500, 400)),
        ("b.jpg", picture(6, 500, 400)),
    ];
    let (status, images) = service.upload("?on_duplicate=reject", &files).await;
    assert_eq!(status, StatusCode::CREATED);
    let statuses: Vec<_> = images
        .iter()
        .map(|image| image["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        statuses,
        [
            "created",
            "failed",
            "failed",
            "rejected",
            "failed",
            "duplicate",
            "created"
        ],
        "{images:?}"
    );
    let names: Vec<_> = images
        .iter()
        .map(|image| image["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, files.each_ref().map(|(name, _)| *name));
    for (place, words) in [(1, "not an image"), (2, "empty"), (4, "truncated")] {
        let detail = images[place]["error"]["detail"].as_str().expect("a reason");
        assert!(detail.contains(words), "{detail}");
        assert_eq!(images[place]["error"]["status"], 422);
    }
    let (status, images) = service.upload("", &files[1..3]).await;
    assert_eq!((status, images.len()), (StatusCode::UNPROCESSABLE_ENTITY, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_uploads_of_the_same_bytes_one_is_new() {
    let service = Service::start().await;
    let file = picture(7, 400, 400);
    let uploads = (0..12).map(|_| async { service.upload("", &[("same.jpg", file.clone())]).await });
    let answers = futures::future::join_all(uploads).await;
    let statuses: Vec<_> = answers
        .iter()
        .map(|(_, images)| images[0]["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == "created").count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == "duplicate").count(),
        11,
        "{statuses:?}"
    );
    let ids: BTreeSet<_> = answers
        .iter()
        .map(|(_, images)| images[0]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(service.read("/v1/collections/default").await["images"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_in_parts_newest_first() {
    let service = Service::start().await;
    let mut expected = Vec::new();
    for seed in 0..7 {
        expected.insert(
            0,
            service
                .created(&format!("{seed}.jpg"), picture(10 + seed, 96, 80))
                .await,
        );
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/collections/default/images?limit=3".to_owned());
    loop {
        let part = service.read(&path).await;
        let ids = part["images"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|i| i["id"].as_str().expect("an id").to_owned());
        seen.extend(ids);
        match part["next"].as_str() {
            Some(cursor) => path = format!("/v1/collections/default/images?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_made_filled_and_removed() {
    let service = Service::start().await;
    let put = |body: Value| {
        service
            .request(Method::PUT, "/v1/collections/family")
            .json(&body)
            .send()
    };
    let made = put(json!({"keep_originals": true, "shards": 3}))
        .await
        .expect("an answer");
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(put(json!({})).await.expect("an answer").status(), StatusCode::OK);
    let other = put(json!({"shards": 4})).await.expect("an answer");
    problem(other, StatusCode::CONFLICT, "conflict").await;
    let bare = service
        .request(Method::PUT, "/v1/collections/bare")
        .send()
        .await
        .expect("an answer");
    assert_eq!(bare.status(), StatusCode::CREATED);

    let files = [20, 21, 22, 23].map(|seed| picture(seed, 200, 150));
    let named: Vec<_> = files.iter().map(|file| ("größe ü.jpg", file.clone())).collect();
    let tagged = Form::new()
        .text("tags", "summer, sea")
        .part("x", part("größe ü.jpg", &named[0].1));
    let tagged = named[1..]
        .iter()
        .fold(tagged, |form, (name, file)| form.part("x", part(name, file)));
    let answer: Value = service
        .post_form("/v1/collections/family/images", tagged)
        .await
        .json()
        .await
        .expect("JSON");
    let id = answer["images"][0]["id"].as_str().expect("an id");
    let image = service.read(&format!("/v1/collections/family/images/{id}")).await;
    assert_eq!(
        (&image["tags"], &image["name"]),
        (&json!(["summer", "sea"]), &json!("größe ü.jpg"))
    );
    let kept = service
        .get(&format!("/v1/collections/family/images/{id}/file"))
        .await;
    assert_eq!(
        kept.headers()["content-disposition"],
        "inline; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%C3%BC.jpg"
    );
    assert_eq!(kept.bytes().await.expect("bytes"), files[0]);
    let list = service.read("/v1/collections").await;
    let names: Vec<_> = list["collections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["bare", "default", "family"]);
    assert_eq!(service.read("/v1/collections/family").await["images"], 4);

    // The same content in two collections: removing one leaves the other whole.
    service.created("copy.jpg", files[0].clone()).await;
    assert_eq!(
        service.delete("/v1/collections/family").await.status(),
        StatusCode::NO_CONTENT
    );
    problem(
        service.get("/v1/collections/family").await,
        StatusCode::NOT_FOUND,
        "not_found",
    )
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        service
            .get(&format!("/v1/collections/default/images/{id}/thumbnail"))
            .await
            .status(),
        StatusCode::OK
    );
    let file = service
        .get(&format!("/v1/collections/default/images/{id}/file"))
        .await;
    problem(file, StatusCode::NOT_FOUND, "not_found").await;
    assert_eq!(
        put(json!({})).await.expect("an answer").status(),
        StatusCode::CREATED
    );
    assert_eq!(service.read("/v1/collections/family").await["images"], 0);
    let emptied = service.delete("/v1/collections/default").await;
    assert_eq!(emptied.status(), StatusCode::NO_CONTENT);
    assert_eq!(service.read("/v1/collections/default").await["images"], 0);
    service.created("back.jpg", files[0].clone()).await;
    let nowhere = service.delete("/v1/collections/nowhere").await;
    problem(nowhere, StatusCode::NOT_FOUND, "not_found").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let service = Service::start().await;
    let mut ids = BTreeSet::new();
    for seed in 30..36 {
        ids.insert(service.created("kept.jpg", picture(seed, 120, 100)).await);
    }
    let gone = ids.pop_first().expect("six images");
    service
        .delete(&format!("/v1/collections/default/images/{gone}"))
        .await;
    let service = service.restart().await;
    let list = service.read("/v1/collections/default/images").await;
    let images = list["images"].as_array().expect("a list").iter();
    let served: BTreeSet<_> = images
        .map(|image| image["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(served, ids);
}

/// A page of small letters as a JPEG; some lines are another's, the paper is `paper` bright.
fn page(paper: u8, lines_of_another: std::ops::Range<u32>) -> Bytes {
    let image = RgbImage::from_fn(900, 1200, |x, y| {
        let (line, column) = (y / 16, x / 9);
        let seed = if lines_of_another.contains(&line) { 7u32 } else { 1 };
        let letter = (line * 131 + column + seed * 7919).wrapping_mul(2_654_435_761) >> 12;
        let (u, v) = (x % 9, y % 16);
        let margin = !(60..840).contains(&x) || !(60..1140).contains(&y);
        let inked = !margin && u < 6 && (3..12).contains(&v) && letter >> (u / 2 + (v - 3) / 3 * 3) & 1 == 1;
        [if inked && letter % 6 > 0 { 25 } else { paper }; 3].into()
    });
    thumbnail::encode(&image).expect("encodes").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_small_text_are_compared_by_the_files_where_these_are_kept() {
    let service = Service::start().await;
    for (collection, keeps, class) in [("kept", true, "near_identical"), ("thumbnails", false, "similar")] {
        let made = service
            .request(Method::PUT, &format!("/v1/collections/{collection}"))
            .json(&json!({ "keep_originals": keeps }))
            .send()
            .await
            .expect("an answer");
        assert!(made.status().is_success());
        let path = format!("/v1/collections/{collection}");
        let upload = service
            .post_form(&format!("{path}/images"), form(&[("page.jpg", page(250, 0..0))]))
            .await;
        assert!(upload.status().is_success());
        let found = async |file: Bytes| {
            let found = service
                .post_form(&format!("{path}/search?level=similar"), form(&[("q.jpg", file)]))
                .await;
            let found: Value = found.json().await.expect("JSON");
            found["matches"][0]["class"].clone()
        };
        assert_eq!(found(page(244, 0..0)).await, class, "{collection}: the same page");
        assert_eq!(
            found(page(250, 30..33)).await,
            "similar",
            "{collection}: another filling"
        );
    }
}
