//! Captures over HTTP: a page as it is, and the profiles of `net/http/pprof`. The content is kept as it came; redirects are not followed.

use std::time::Duration;

use super::{CaptureSpec, Profile, Taken, too_large};

/// A profile of the process at `base`.
pub(super) async fn pprof(
    client: &reqwest::Client,
    spec: &CaptureSpec,
    base: &url::Url,
    profile: Profile,
    length: Duration,
) -> Result<Taken, String> {
    let mut url = base.clone();
    let folder = match url.path().trim_end_matches('/') {
        "" => "/debug/pprof".to_owned(),
        path => path.to_owned(),
    };
    let name = match profile {
        Profile::Cpu => "profile",
        Profile::Heap | Profile::Goroutine | Profile::Mutex | Profile::Block => profile.as_str(),
    };
    url.set_path(&format!("{folder}/{name}"));
    if profile == Profile::Cpu {
        url.set_query(Some(&format!("seconds={}", length.as_secs().max(1))));
    }
    let taken = get(client, spec, &url).await?;
    Ok(Taken { content_type: "application/octet-stream".into(), extension: "pb.gz", ..taken })
}

/// A page.
pub(super) async fn page(client: &reqwest::Client, spec: &CaptureSpec, url: &url::Url) -> Result<Taken, String> {
    get(client, spec, url).await
}

async fn get(client: &reqwest::Client, spec: &CaptureSpec, url: &url::Url) -> Result<Taken, String> {
    let mut response = client.get(url.clone()).timeout(spec.longest()).send().await.map_err(told)?;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()));
    }
    let header = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    let content_type = header.unwrap_or("application/octet-stream").to_owned();
    let extension = match content_type.split(';').next().unwrap_or_default().trim() {
        "application/json" => "json",
        "text/html" => "html",
        kind if kind.starts_with("text/") => "txt",
        _ => "bin",
    };
    let mut data = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(told)? {
        if (data.len() + chunk.len()) as u64 > spec.limit {
            return Err(too_large(spec.limit));
        }
        data.extend_from_slice(&chunk);
    }
    if data.is_empty() {
        return Err("the answer is empty".into());
    }
    Ok(Taken { content_type, extension, data })
}

/// What went wrong, with its causes and without the address.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
