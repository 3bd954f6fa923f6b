//! Files out of a multipart body, one after the other as they arrive; nothing but the current file is held here.

use axum::extract::Multipart;
use axum::extract::multipart::{Field, MultipartError};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};

use super::error::Problem;
use crate::config::Limits;
use crate::engine::{EngineError, Upload};
use crate::vision::VisionError;

/// Longest file name kept, in characters; what is beyond is cut.
const NAME_CHARS: usize = 500;
/// Most labels of one file, and the longest label in characters.
const TAGS: (usize, usize) = (64, 100);

/// A file of the body: its name, and its bytes or why they were not taken.
pub(super) struct FilePart {
    pub(super) name: String,
    pub(super) upload: Result<Upload, EngineError>,
}

/// Reads the files of a body in order. A text field `tags` labels the files after it.
pub(super) struct Files {
    body: Multipart,
    limits: Limits,
    tags: Vec<String>,
    seen: usize,
}

impl Files {
    pub(super) fn new(body: Multipart, limits: Limits) -> Self {
        Self {
            body,
            limits,
            tags: Vec::new(),
            seen: 0,
        }
    }

    /// The next file; `None` at the end of the body.
    ///
    /// # Errors
    /// What breaks the whole request: bad framing, too many files, a field of unknown meaning.
    pub(super) async fn next(&mut self) -> Result<Option<FilePart>, Problem> {
        while let Some(field) = self.body.next_field().await.map_err(Problem::of_multipart)? {
            let field_name = field.name().unwrap_or_default().to_owned();
            if field.file_name().is_none() && field_name == "tags" {
                let text = field.text().await.map_err(Problem::of_multipart)?;
                self.tags = parse_tags(&text)?;
                continue;
            }
            if field.file_name().is_none() && field.content_type().is_none() {
                return Err(Problem::invalid(format!(
                    "form field {field_name:?} is neither a file nor \"tags\": give files a file name"
                )));
            }
            self.seen += 1;
            if self.seen > self.limits.max_files {
                let limit = self.limits.max_files;
                return Err(Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    format!("more than {limit} files in one request: send them in several"),
                ));
            }
            let name = field.file_name().unwrap_or(&field_name);
            let name: String = name
                .chars()
                .filter(|c| !c.is_control())
                .take(NAME_CHARS)
                .collect();
            let upload = read(field, self.limits.max_file_bytes).await?;
            let upload = upload.map(|bytes| Upload {
                name: name.clone(),
                bytes,
                tags: self.tags.clone(),
            });
            return Ok(Some(FilePart { name, upload }));
        }
        Ok(None)
    }

    /// All files of a body that must hold `N`.
    ///
    /// # Errors
    /// [`Problem`] when there are more or fewer, or one of them is too large.
    pub(super) async fn exactly<const N: usize>(&mut self) -> Result<[Bytes; N], Problem> {
        let mut files = Vec::with_capacity(N);
        while let Some(part) = self.next().await? {
            if files.len() == N {
                return Err(Problem::invalid(format!("the form holds more than {N} file(s)")));
            }
            files.push(part.upload.map_err(Problem::from)?.bytes);
        }
        <[Bytes; N]>::try_from(files)
            .map_err(|files| Problem::invalid(format!("the form holds {} file(s), not {N}", files.len())))
    }
}

/// Reads one file. One that is too large is read to its end and dropped, so that those after it are still served.
async fn read(mut field: Field<'_>, limit: u64) -> Result<Result<Bytes, EngineError>, Problem> {
    let (mut bytes, mut total) = (BytesMut::new(), 0_u64);
    while let Some(chunk) = field.chunk().await.map_err(Problem::of_multipart)? {
        total += chunk.len() as u64;
        if total <= limit {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = BytesMut::new();
        }
    }
    if total > limit {
        return Ok(Err(EngineError::Image(VisionError::FileTooLarge {
            bytes: total,
            limit,
        })));
    }
    Ok(Ok(bytes.freeze()))
}

fn parse_tags(text: &str) -> Result<Vec<String>, Problem> {
    let tags: Vec<String> = text
        .split(',')
        .map(str::trim)
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect();
    let (most, longest) = TAGS;
    if tags.len() > most || tags.iter().any(|tag| tag.chars().count() > longest) {
        return Err(Problem::invalid(format!(
            "at most {most} tags of at most {longest} characters"
        )));
    }
    Ok(tags)
}

impl Problem {
    #[expect(clippy::needless_pass_by_value, reason = "used as a function over errors")]
    fn of_multipart(error: MultipartError) -> Self {
        let detail = format!("the form cannot be read: {}", error.body_text());
        match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail),
            // A sender that hangs up is no failure of the service, whatever the form's reader calls it.
            _ => Self::malformed(detail),
        }
    }
}
