//! Groups, decisions about them, jobs.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

async fn three_copies_and_a_stranger(service: &Service) -> [String; 4] {
    let sizes = [(640, 480), (400, 300), (320, 240)];
    let mut ids = Vec::new();
    for (width, height) in sizes {
        ids.push(
            service
                .created(&format!("{width}.jpg"), picture(50, width, height))
                .await,
        );
    }
    ids.push(service.created("stranger.jpg", picture(51, 640, 480)).await);
    ids.try_into().expect("four images")
}

fn members(group: &Value) -> BTreeSet<String> {
    let members = group["members"].as_array().expect("a list");
    members
        .iter()
        .map(|member| member["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_form_a_group_and_decisions_are_kept() {
    let service = Service::start().await;
    let [large, middle, small, _] = three_copies_and_a_stranger(&service).await;
    let groups = complete_groups(&service, "edited").await;
    assert_eq!(groups["groups"].as_array().map(Vec::len), Some(1), "{groups}");
    let group = &groups["groups"][0];
    assert_eq!(
        (&group["id"], &group["keeper"]["id"]),
        (&json!(large), &json!(large))
    );
    assert_eq!(members(group), BTreeSet::from([middle.clone(), small.clone()]));
    let to_small = group["members"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|m| m["id"] == json!(small));
    let scale = to_small.expect("a member")["transform"]["scale"]
        .as_f64()
        .expect("a scale");
    assert!(
        (scale - 0.5).abs() < 0.01,
        "from the keeper to the member: {scale}"
    );

    let path = format!("/v1/collections/default/groups/{large}/resolve");
    let bad = [
        json!({}),
        json!({"remove": [large, middle, small]}),
        json!({"keep": [large], "remove": [large]}),
        json!({"keep": ["0".repeat(32)]}),
        json!({"keep": ["x"]}),
        json!({"kept": [large]}),
    ];
    for decision in bad {
        problem(
            service.post(&path, &decision).await,
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
        )
        .await;
    }
    let resolved = service
        .post(
            &path,
            &json!({"keep": [large], "remove": [small], "not_duplicates": [middle]}),
        )
        .await;
    assert_eq!(resolved.status(), StatusCode::OK);
    let resolved: Value = resolved.json().await.expect("JSON");
    assert_eq!(resolved["removed"], json!([small]));
    let gone = service
        .get(&format!("/v1/collections/default/images/{small}"))
        .await;
    problem(gone, StatusCode::NOT_FOUND, "not_found").await;
    let groups = complete_groups(&service, "edited").await;
    assert_eq!(groups["groups"], json!([]));
    let matches = service
        .read(&format!("/v1/collections/default/images/{middle}/matches"))
        .await;
    assert_eq!(matches["matches"], json!([]), "a person said that they are none");

    // After a restart nothing is known of matches; the job finds them again and respects the verdicts.
    let service = service.restart().await;
    assert_eq!(complete_groups(&service, "edited").await["groups"], json!([]));
    let [first, second] = [(640, 480), (400, 300)].map(|(width, height)| picture(52, width, height));
    let first = service.created("first.jpg", first).await;
    service.created("second.jpg", second).await;
    let service = service.restart().await;
    let groups = complete_groups(&service, "edited").await;
    assert_eq!(groups["groups"].as_array().map(Vec::len), Some(1), "{groups}");
    assert_eq!(groups["groups"][0]["id"], json!(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_all_stay_are_no_group() {
    let service = Service::start().await;
    let [large, middle, small, stranger] = three_copies_and_a_stranger(&service).await;
    let path = format!("/v1/collections/default/groups/{large}/resolve");
    let resolved = service
        .post(&path, &json!({"keep": [large, middle, small]}))
        .await;
    assert_eq!(resolved.json::<Value>().await.expect("JSON")["judged"], 3);
    assert_eq!(complete_groups(&service, "edited").await["groups"], json!([]));
    let matches = service
        .read(&format!("/v1/collections/default/images/{small}/matches"))
        .await;
    assert_eq!(
        matches["matches"].as_array().map(Vec::len),
        Some(2),
        "they are copies still"
    );
    let path = format!("/v1/collections/default/groups/{}/resolve", "0".repeat(32));
    problem(
        service.post(&path, &json!({"keep": [stranger]})).await,
        StatusCode::CONFLICT,
        "conflict",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_started_followed_and_listed() {
    let service = Service::start().await;
    service.created("a.jpg", picture(60, 200, 200)).await;
    for kind in ["dedup", "compact"] {
        let started = service
            .post("/v1/jobs", &json!({"kind": kind, "collection": "default"}))
            .await;
        assert_eq!(started.status(), StatusCode::ACCEPTED);
        let job: Value = started.json().await.expect("JSON");
        let id = job["id"].as_str().expect("an id");
        let events = service.get(&format!("/v1/jobs/{id}/events")).await;
        assert_eq!(events.headers()["content-type"], "text/event-stream");
        let events = events.text().await.expect("the stream ends with the job");
        assert!(
            events.contains("event: job") && events.contains("\"state\":\"done\""),
            "{events}"
        );
        assert_eq!(service.read(&format!("/v1/jobs/{id}")).await["state"], "done");
        assert_eq!(
            service.delete(&format!("/v1/jobs/{id}")).await.status(),
            StatusCode::ACCEPTED
        );
    }
    assert_eq!(
        service.read("/v1/jobs").await["jobs"].as_array().map(Vec::len),
        Some(2)
    );
    problem(
        service.get("/v1/jobs/none").await,
        StatusCode::NOT_FOUND,
        "not_found",
    )
    .await;
    let unknown = service.post("/v1/jobs", &json!({"kind": "dance"})).await;
    problem(unknown, StatusCode::UNPROCESSABLE_ENTITY, "invalid").await;
    let nowhere = service
        .post("/v1/jobs", &json!({"kind": "dedup", "collection": "nowhere"}))
        .await;
    problem(nowhere, StatusCode::NOT_FOUND, "not_found").await;
}
