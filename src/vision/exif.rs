//! The few EXIF fields that matching uses: orientation, camera, time.

use std::io::Cursor;

use chrono::{NaiveDate, NaiveDateTime};
use exif::{Exif, Field, In, Tag, Value};
use image::metadata::Orientation;

use crate::types::ExifSummary;

/// Longest camera name kept, in characters.
const MAX_CAMERA: usize = 80;

/// Reads orientation and summary out of a JPEG, TIFF, PNG, WebP or HEIF file.
///
/// EXIF data is written by everything from cameras to editors and often broken: whatever cannot be read is taken
/// as absent, never as an error. Source: CIPA DC-008 (Exif 2.32).
pub(super) fn read(bytes: &[u8]) -> (Orientation, ExifSummary) {
    let found = exif::Reader::new()
        .continue_on_error(true)
        .read_from_container(&mut Cursor::new(bytes))
        .or_else(|error| error.distill_partial_result(|_| ()));
    match found {
        Ok(exif) => (orientation(&exif), summary(&exif)),
        Err(_) => (Orientation::NoTransforms, ExifSummary::default()),
    }
}

fn orientation(exif: &Exif) -> Orientation {
    exif.get_field(Tag::Orientation, In::PRIMARY)
        .and_then(|field| field.value.get_uint(0))
        .and_then(|value| u8::try_from(value).ok())
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms)
}

fn summary(exif: &Exif) -> ExifSummary {
    let text = |tag| exif.get_field(tag, In::PRIMARY).and_then(ascii);
    let taken = exif
        .get_field(Tag::DateTimeOriginal, In::PRIMARY)
        .and_then(date_time);
    ExifSummary {
        camera: camera(text(Tag::Make), text(Tag::Model)),
        taken,
        taken_centis: taken
            .and_then(|_| text(Tag::SubSecTimeOriginal))
            .map_or(0, |digits| centis(&digits)),
    }
}

/// Maker and model as one text; many models repeat the maker's name in front.
fn camera(make: Option<String>, model: Option<String>) -> Option<String> {
    let joined = match (make, model) {
        (Some(make), Some(model)) if !model.to_lowercase().starts_with(&make.to_lowercase()) => {
            format!("{make} {model}")
        }
        (_, Some(model)) => model,
        (Some(make), None) => make,
        (None, None) => return None,
    };
    Some(joined.chars().take(MAX_CAMERA).collect())
}

/// First string of an ASCII field without padding; `None` when blank. Bytes that are no ASCII become U+FFFD.
fn ascii(field: &Field) -> Option<String> {
    let Value::Ascii(strings) = &field.value else {
        return None;
    };
    let text = String::from_utf8_lossy(strings.first()?);
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn date_time(field: &Field) -> Option<NaiveDateTime> {
    let Value::Ascii(strings) = &field.value else {
        return None;
    };
    let parsed = exif::DateTime::from_ascii(strings.first()?).ok()?;
    NaiveDate::from_ymd_opt(parsed.year.into(), parsed.month.into(), parsed.day.into())?.and_hms_opt(
        parsed.hour.into(),
        parsed.minute.into(),
        parsed.second.into(),
    )
}

/// Digits after the decimal point of the seconds: "7" is .70, "071" is .07.
fn centis(digits: &str) -> u8 {
    let mut value = 0;
    let mut digits = digits.bytes();
    for _ in 0..2 {
        value *= 10;
        match digits.next() {
            Some(digit @ b'0'..=b'9') => value += digit - b'0',
            Some(_) => return 0,
            None => {}
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camera_does_not_repeat_the_maker() {
        let name = |make: &str, model: &str| camera(Some(make.to_owned()), Some(model.to_owned()));
        assert_eq!(name("Canon", "Canon EOS 5D").as_deref(), Some("Canon EOS 5D"));
        assert_eq!(name("Acme", "X1").as_deref(), Some("Acme X1"));
        assert_eq!(camera(None, None), None);
    }

    #[test]
    fn centis_read_digits_after_the_point() {
        assert_eq!(
            [centis("7"), centis("071"), centis("99"), centis(""), centis("x")],
            [70, 7, 99, 0, 0]
        );
    }

    #[test]
    fn garbage_is_no_exif() {
        assert_eq!(
            read(b"\xff\xd8\xff\xe1\0\x10Exif\0\0MM").1,
            ExifSummary::default()
        );
    }
}
