//! What DeepStack's clients send: a form with a picture.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};
use axum::http::{Request, header};

use crate::refusal::Refusal;

/// Fields of a form at most.
const MAX_FIELDS: usize = 32;
/// Bytes of the longest text in one.
const MAX_TEXT: usize = 4096;

/// The fields that count.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) image: Option<Vec<u8>>,
    pub(crate) min_confidence: Option<f32>,
    pub(crate) api_key: Option<String>,
}

impl Form {
    /// Reads a body of type `multipart/form-data`.
    ///
    /// # Errors
    /// It is none, or a field is out of range.
    pub(crate) async fn parse(kind: Option<header::HeaderValue>, body: Vec<u8>) -> Result<Form, Refusal> {
        let mut request = Request::new(Body::from(body));
        request.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
        // The body has been read, within a limit of its own.
        DefaultBodyLimit::disable().apply(&mut request);
        let bad = |problem: String| Refusal::Bad(format!("the form cannot be read: {problem}"));
        let mut fields =
            Multipart::from_request(request, &()).await.map_err(|error| bad(error.body_text()))?;
        let mut form = Form::default();
        for _ in 0..MAX_FIELDS {
            let field = fields.next_field().await.map_err(|error| bad(error.body_text()))?;
            let Some(field) = field else { return Ok(form) };
            let name = field.name().unwrap_or_default().to_string();
            let value = field.bytes().await.map_err(|error| bad(error.body_text()))?;
            match &name[..] {
                // Of several the first, as with DeepStack.
                "image" if form.image.is_none() => form.image = Some(value.into()),
                "api_key" => form.api_key = Some(text("api_key", &value)?),
                "min_confidence" => form.min_confidence = confidence(&text("min_confidence", &value)?)?,
                _ => {}
            }
        }
        Err(bad(format!("it has more than {MAX_FIELDS} fields")))
    }
}

fn text(field: &str, value: &[u8]) -> Result<String, Refusal> {
    let text = if value.len() > MAX_TEXT { None } else { std::str::from_utf8(value).ok() };
    text.map(str::to_string).ok_or_else(|| Refusal::Bad(format!("field `{field}`: not a short text")))
}

/// None for an empty field, which counts as one that is not there.
fn confidence(text: &str) -> Result<Option<f32>, Refusal> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let confidence: Option<f32> =
        text.trim().parse().ok().filter(|confidence| (0.0..=1.0).contains(confidence));
    let wrong = || Refusal::Bad("field `min_confidence`: not a number from 0 to 1".to_string());
    confidence.map(Some).ok_or_else(wrong)
}
