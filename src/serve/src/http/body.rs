//! Bodies of requests, within limits of size, time and memory.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};

use crate::budget::Held;
use crate::door::House;
use crate::refusal::Refusal;

/// How long a body may take to arrive, and how long the rest of one that is refused is still read: where a connection is closed with
/// bytes that nobody has read, its client may not see the answer.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads a body.
///
/// # Errors
/// It is too large, too slow or cut short, or requests hold too much memory at this moment. The error comes as soon as it is known; of
/// what is refused, up to twice the limit is read behind it and thrown away.
pub(crate) async fn read(
    house: &House,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Vec<u8>, Held), Refusal> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut bytes = Vec::new();
    let mut held = Held::default();
    let outcome = if announced.is_some_and(|length| length > house.max_body) {
        Err(too_large(house))
    } else {
        let collected = collect(house, &mut body, &mut bytes, &mut held);
        let late = || Err(Refusal::Bad(format!("the body took longer than {} s", BODY_TIME.as_secs())));
        tokio::time::timeout(BODY_TIME, collected).await.unwrap_or_else(|_| late())
    };
    if let Err(refusal) = outcome {
        // Who waits to be told to go on sends nothing.
        if !headers.contains_key(header::EXPECT) {
            tokio::spawn(tokio::time::timeout(BODY_TIME, drain(body, house.max_body * 2)));
        }
        return Err(refusal);
    }
    Ok((bytes, held))
}

fn too_large(house: &House) -> Refusal {
    Refusal::TooLarge(format!("the body is larger than {} bytes", house.max_body))
}

async fn frame(body: &mut Body) -> Option<Result<axum::body::Bytes, axum::Error>> {
    let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn collect(
    house: &House,
    body: &mut Body,
    bytes: &mut Vec<u8>,
    held: &mut Held,
) -> Result<(), Refusal> {
    while let Some(part) = frame(body).await {
        let part = part.map_err(|error| Refusal::Bad(format!("the body is cut short: {error}")))?;
        let length = bytes.len() + part.len();
        if length > house.max_body {
            return Err(too_large(house));
        }
        house.budget.hold(held, length)?;
        frcnn_files::try_reserve(bytes, part.len()).map_err(|_| Refusal::Busy)?;
        bytes.extend_from_slice(&part);
    }
    Ok(())
}

async fn drain(mut body: Body, most: usize) {
    let mut length = 0;
    while let Some(Ok(part)) = frame(&mut body).await {
        length += part.len();
        if length > most {
            return;
        }
    }
}
