//! Asks a target for its version, so that a change of behaviour can be tied to a deploy. One request, two seconds, before a run.

use std::time::Duration;

use super::ProbeParts;
use crate::model::profile::Target;

/// Longest version that is kept, in characters.
const LONGEST: usize = 100;

/// The version that `target` tells; `None` when it has no version source or does not answer as expected (which is logged).
pub async fn ask(parts: &ProbeParts, target: &Target) -> Option<String> {
    let source = target.version.as_ref()?;
    let url = target.base_url.as_ref()?.join(&source.path).ok()?;
    let answer = parts.http.get(url).timeout(Duration::from_secs(2)).send().await;
    let version = match answer {
        Ok(response) if !response.status().is_success() => Err(format!("status {}", response.status().as_u16())),
        Ok(response) => match &source.header {
            Some(name) => response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
                .ok_or_else(|| format!("the answer has no header `{name}`")),
            None => response.text().await.map_err(|error| error.without_url().to_string()),
        },
        Err(error) => Err(error.without_url().to_string()),
    };
    match version {
        Ok(version) => Some(version.trim().chars().take(LONGEST).collect()),
        Err(error) => {
            tracing::warn!(target = target.name, error, "the target did not tell its version");
            None
        }
    }
}
