//! A scan's answer as a page of its own, with the pictures taken from their files.

use std::fmt::Write as _;

use super::output::{bytes, remark};
use crate::engine::scan::{ScanReport, ScannedImage};

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1rem;margin:2rem 0 .5rem;border-top:1px solid #8884;padding-top:1rem}\
ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:1rem;margin:0}li{width:14rem}\
img{width:14rem;height:10.5rem;object-fit:contain;background:#8882;border-radius:4px}\
.keep img{outline:3px solid #2a8}p{margin:.25rem 0;overflow-wrap:anywhere;font-size:.8rem}b{font-weight:600}";

/// A page that needs nothing but the scanned files.
pub(super) fn page(report: &ScanReport) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Duplicate images</title><style>{STYLE}</style></head><body>\n<h1>{} groups, {} duplicates ({}) among {} images</h1>\n",
        report.groups.len(),
        report.stats.duplicates,
        bytes(report.stats.duplicate_bytes),
        report.stats.images
    );
    for (number, group) in report.groups.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "<h2>Group {}</h2>\n<ul>", number + 1);
        let keeper = &report.images[group.keeper];
        card(&mut text, keeper, "keep", "keep", "");
        for member in &group.members {
            let class = member.found.class.as_str();
            let image = &report.images[member.image];
            card(&mut text, image, "go", class, &remark(keeper, image, member));
        }
        text.push_str("</ul>\n");
    }
    if !report.skipped.is_empty() {
        text.push_str("<h2>Left out</h2>\n");
        for skipped in &report.skipped {
            let _ = writeln!(
                text,
                "<p>{}: {}</p>",
                escaped(&skipped.path),
                escaped(&skipped.reason)
            );
        }
    }
    text.push_str("</body></html>\n");
    text
}

fn card(text: &mut String, image: &ScannedImage, role: &str, label: &str, remark: &str) {
    let _ = write!(
        text,
        "<li class=\"{role}\"><img loading=\"lazy\" src=\"file://{}\" alt=\"\"><p><b>{label}</b>{}</p><p>{}</p>\
         <p>{} × {} {}, {}</p></li>",
        url(&image.canonical),
        escaped(remark),
        escaped(&image.path),
        image.width,
        image.height,
        image.format,
        bytes(image.size)
    );
}

fn escaped(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                _ => out.push(c),
            }
            out
        })
}

/// A path as part of a URL: everything but letters, digits and a few marks is percent-encoded.
fn url(path: &str) -> String {
    path.bytes()
        .fold(String::with_capacity(path.len()), |mut out, b| {
            if b.is_ascii_alphanumeric() || b"/-_.~".contains(&b) {
                out.push(char::from(b));
            } else {
                let _ = write!(out, "%{b:02X}");
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_break_out_of_the_page() {
        assert_eq!(escaped("<a \"b\" & c>"), "&lt;a &quot;b&quot; &amp; c&gt;");
        assert_eq!(url("/a b/\"<ü>.jpg"), "/a%20b/%22%3C%C3%BC%3E.jpg");
    }
}
