//! Files that hold more than the picture that is compared.

use serde_json::json;

use super::*;
use crate::engine::fixtures::{pam, tiff};

fn decoded(seed: u32) -> RgbImage {
    thumbnail::decode(&picture(seed, 360, 270)).expect("decodes")
}

/// Uploads one file; what became of it and its id.
async fn status(service: &Service, query: &str, name: &str, file: Bytes) -> (Value, Value) {
    let (_, mut images) = service.upload(query, &[(name, file)]).await;
    (images[0]["status"].take(), images[0]["id"].take())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_more_is_never_left_out_for_what_shows_the_same() {
    let service = Service::start().await;
    let [title, page] = [70, 71].map(decoded);
    let document = Bytes::from(tiff(&[&title, &page]));
    service.created("title.tif", tiff(&[&title]).into()).await;
    for query in ["?on_duplicate=reject", "?on_duplicate=link"] {
        let still = picture(70, 300, 225);
        assert_ne!(
            status(&service, query, "still.jpg", still).await.0,
            json!("created"),
            "{query}"
        );
    }
    let (stored, id) = status(&service, "?on_duplicate=reject", "two pages.tif", document).await;
    assert_eq!(stored, json!("created"), "its second page is nowhere else");
    let other = Bytes::from(tiff(&[&title, &page, &title]));
    let (stored, _) = status(&service, "?on_duplicate=link", "three pages.tif", other).await;
    assert_eq!(stored, json!("created"), "pages are not compared");

    let clear = |x: u32, y: u32| if x < 40 && y < 40 { 0 } else { 255 };
    let mut flat = title.clone();
    for (x, y, pixel) in flat.enumerate_pixels_mut() {
        if clear(x, y) == 0 {
            *pixel = [255; 3].into();
        }
    }
    let transparent = Bytes::from(pam(&flat, clear));
    let (stored, transparent_id) = status(&service, "?on_duplicate=reject", "clear.pam", transparent).await;
    assert_eq!(stored, json!("created"), "nothing there is transparent");
    let again = Bytes::from(pam(&flat, |x, y| clear(x, y) / 2));
    let (rejected, _) = status(&service, "?on_duplicate=reject", "clear too.pam", again).await;
    assert_eq!(rejected, json!("rejected"), "now there is one");

    // What is known of them survives the log and the segment.
    let of = async |service: &Service, id: &Value| {
        let id = id.as_str().expect("an id");
        let mut image = service
            .read(&format!("/v1/collections/default/images/{id}"))
            .await;
        image["beyond"].take()
    };
    let expected = [
        json!({"frames": true, "transparency": false}),
        json!({"frames": false, "transparency": true}),
    ];
    assert_eq!(
        [of(&service, &id).await, of(&service, &transparent_id).await],
        expected
    );
    let service = service.restart().await;
    assert_eq!(
        [of(&service, &id).await, of(&service, &transparent_id).await],
        expected
    );
    let groups = complete_groups(&service, "near_identical").await;
    let members = groups["groups"][0]["members"].as_array().expect("a list");
    let document = members.iter().find(|member| member["id"] == id);
    assert_eq!(
        document.map(|member| &member["image"]["beyond"]),
        Some(&expected[0]),
        "{groups}"
    );
}
